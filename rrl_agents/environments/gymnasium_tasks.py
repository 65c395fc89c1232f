"""Gymnasium environments, by id or made by a function in the user's own package.

    CartPole-v1                       an id of Gymnasium itself
    minigrid:MiniGrid-Empty-5x5-v0    an id that importing a package registers
    my_package:make_env               a function without arguments, or a class, that makes one

Observations are a Box of uint8 or floats with one to three axes, or Discrete, which becomes a
float32 vector with a 1 at the number. Actions are Discrete. An image is made gray, resized and
stacked by Gymnasium's own wrappers where the settings say so; the time limit is the environment's
own unless they set one. Importing and making an environment runs its code, so only what the user
has named is imported (`rrl_agents.plugins`).
"""

from __future__ import annotations

import functools
import hashlib
import inspect
import math
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
from gymnasium import spaces, wrappers

from rrl_agents import plugins
from rrl_agents.environments.game_names import gymnasium_task
from rrl_agents.environments.registry import EnvironmentConfig
from rrl_agents.environments.vector_environment import VectorEnvironment, one_by_one

BOUNDS: dict[str, tuple[tuple[float, ...], tuple[float, ...]]] = {
    "CartPole-v1": (
        (-2.4, -5.0, -math.pi / 12, -2 * math.pi),
        (2.4, 5.0, math.pi / 12, 2 * math.pi),
    ),
    "Acrobot-v1": ((-1.0,) * 4 + (-5.0,) * 2, (1.0,) * 4 + (5.0,) * 2),
    "MountainCar-v0": ((-1.2, -0.07), (0.6, 0.07)),
}
"""Values that MLPs see as -1 and +1: Dopamine's bounds for classic control."""

_DRAWN = "rgb_array"
"""The render mode that returns an array."""

_WRAP = (
    "write a function that wraps the environment, and give it as --environment.game "
    "my_package:make_env"
)


def make_gymnasium(config: EnvironmentConfig, num_envs: int, _: int) -> VectorEnvironment:
    """N environments of one id or one function.

    Raises:
        ValueError: There is no such environment, it fails, or its spaces are unsupported; says
            which wrapper helps.
    """
    return _made_one_by_one(config, num_envs, draws=False)


def make_drawing_gymnasium(config: EnvironmentConfig, num_envs: int, _: int) -> VectorEnvironment:
    """As `make_gymnasium`, with environments that render if they can.

    A function in the user's package decides itself whether its environment renders.
    """
    return _made_one_by_one(config, num_envs, draws=True)


def _made_one_by_one(config: EnvironmentConfig, num_envs: int, *, draws: bool) -> VectorEnvironment:
    name = gymnasium_task(config.game)
    low, high = BOUNDS.get(name, ((), ()))
    return one_by_one(
        functools.partial(_single, config, draws=draws),
        num_envs,
        name=name,
        max_episode_steps=config.max_episode_steps,
        stack_size=config.stack_size,
        frame_low=low,
        frame_high=high,
    )


def code_of(config: EnvironmentConfig) -> str:
    """Identifies the environment's code: module, class, and a digest of its file."""
    environment = _made(config)
    kind = type(environment.unwrapped)
    environment.close()
    file = inspect.getsourcefile(kind)
    digest = "" if file is None else hashlib.sha256(Path(file).read_bytes()).hexdigest()
    return f"{kind.__module__}.{kind.__qualname__} {digest}"


def _single(config: EnvironmentConfig, *, draws: bool) -> gymnasium.Env[Any, Any]:
    """One environment, with supported frames and actions."""
    environment = _with_discrete_actions(_made(config, draws=draws), config.game)
    if config.grayscale:
        _check_image(environment, config.game, "grayscale", axes=(3,))
        environment = wrappers.GrayscaleObservation(environment)
    if config.resize is not None:
        _check_image(environment, config.game, "resize", axes=(2, 3))
        environment = wrappers.ResizeObservation(environment, config.resize)
    return _with_frames(environment, config.game)


def _made(config: EnvironmentConfig, *, draws: bool = False) -> gymnasium.Env[Any, Any]:
    if ":" in config.game:
        plugins.check_allowed(config.game)
    if plugins.is_reference(config.game):
        make = plugins.load(config.game)
        try:
            made = make()
        except (Exception, SystemExit) as error:
            raise ValueError(f"{config.game} failed ({type(error).__name__}: {error})") from error
        if not isinstance(made, gymnasium.Env):
            raise ValueError(
                f"{config.game} made a {type(made).__name__}; it must make a gymnasium.Env"
            )
        return made
    make = functools.partial(
        gymnasium.make, config.game, max_episode_steps=config.max_episode_steps
    )
    try:
        found: gymnasium.Env[Any, Any] = make()
        if draws and _DRAWN in found.metadata.get("render_modes", ()):
            found.close()
            found = make(render_mode=_DRAWN)
        return found
    except (gymnasium.error.Error, ModuleNotFoundError) as error:
        reason = str(error).rstrip(".")
        raise ValueError(
            f"Gymnasium makes no environment {config.game!r}: {reason}. Of a package that "
            "registers ids when it is imported, write package:id, e.g. "
            "minigrid:MiniGrid-Empty-5x5-v0"
        ) from error


def _with_discrete_actions(
    environment: gymnasium.Env[Any, Any], game: str
) -> gymnasium.Env[Any, Any]:
    """The environment with actions 0 .. A - 1."""
    space = environment.action_space
    if not isinstance(space, spaces.Discrete):
        raise ValueError(
            f"{game} has actions {space}; students here choose among discrete ones: {_WRAP}, e.g. "
            "with gymnasium.wrappers.DiscretizeAction"
        )
    first = int(space.start)
    if first == 0:
        return environment
    return wrappers.TransformAction(
        environment, lambda action: action + first, spaces.Discrete(int(space.n))
    )


def _with_frames(environment: gymnasium.Env[Any, Any], game: str) -> gymnasium.Env[Any, Any]:
    """The environment with frames of uint8 or float32."""
    space = environment.observation_space
    if isinstance(space, spaces.Discrete):
        one_hot = wrappers.FlattenObservation(environment)
        return wrappers.DtypeObservation(one_hot, np.float32)
    if not isinstance(space, spaces.Box):
        raise ValueError(
            f"{game} has observations {space}; students here take one array: {_WRAP}, e.g. with "
            "gymnasium.wrappers.FlattenObservation, or with FilterObservation for a part of a Dict"
        )
    is_float = np.issubdtype(space.dtype, np.floating)
    if not 1 <= len(space.shape) <= 3 or not (is_float or space.dtype == np.uint8):
        raise ValueError(
            f"{game} has observations {space.dtype} {space.shape}; students here take uint8 "
            f"(pixels) or floats, of one to three axes: {_WRAP}, e.g. with "
            "gymnasium.wrappers.DtypeObservation or ReshapeObservation"
        )
    if is_float and space.dtype != np.float32:
        # DtypeObservation warns that the bounds lose digits.
        low, high = space.low.astype(np.float32), space.high.astype(np.float32)
        return wrappers.TransformObservation(
            environment,
            lambda seen: np.asarray(seen, np.float32),
            spaces.Box(low, high, space.shape, np.float32),
        )
    return environment


def _check_image(
    environment: gymnasium.Env[Any, Any], game: str, setting: str, *, axes: tuple[int, ...]
) -> None:
    space = environment.observation_space
    shape = getattr(space, "shape", None) or ()
    has_colours = len(shape) == 2 or shape[-1:] in ((1,), (3,), (4,))
    if space.dtype != np.uint8 or len(shape) not in axes or not has_colours:
        raise ValueError(
            f"environment.{setting} is for images uint8 [H, W, 3]; {game} has observations "
            f"{space}: leave it out"
        )

"""Station keeping with a stratospheric balloon (Bellemare et al., 2020): the package's simulator.

The Balloon Learning Environment (Greaves et al., 2021). A balloon rides the wind at an altitude of
its choice and is to stay within 50 km of a station: it goes down (0), stays (1) or goes up (2), a
decision every 3 minutes. An observation is float32 [1099]: the balloon's state, and the wind at 181
pressure levels with its uncertainty. The reward is 1 within the radius, at most 0.4 beyond it,
halved every 100 km; going down on scarce power costs up to 35% of it. A flight ends by the rules
when the balloon bursts, runs out of power or falls to zero pressure; the protocol cuts it off after
960 decisions, two days.

The package was written for older libraries; comments name what this module works around.
"""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import importlib
import importlib.util
import io
import json
import sys
import types
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import gymnasium
import jax
import numpy as np
from numpy.typing import NDArray

from rrl_agents.environments import balloon_shortcuts
from rrl_agents.environments.registry import EnvironmentConfig
from rrl_agents.environments.vector_environment import VectorEnvironment, one_by_one

OBSERVATION_SIZE = 1_099
NUM_ACTIONS = 3
"""Down, stay, up: the package's `AltitudeControlCommand`."""

STATION_RADIUS_METRES = 50_000.0
"""The metric TWR50 is the share of a flight's steps within this distance."""

_INPUTS = Path(__file__).with_name("balloon_inputs.json")
"""What networks see as -1 and +1: each element's mean less and plus its standard deviation, which
counts as at least 0.05, in 100 flights of Perciatelli44 with a tenth of the actions random.
Elements of the raw observation are not centred and differ in spread; networks that see them so
learn above all to repeat the last action."""

_PACKAGE = "balloon_learning_environment"
_NOT_INSTALLED = (
    f"the balloon environment needs {_PACKAGE}, which is not installed: run "
    "`make setup` in a checkout of the repository"
)


def make_balloon(config: EnvironmentConfig, num_envs: int, _: int) -> VectorEnvironment:
    """N balloons, flown one after the other in this process.

    Raises:
        ValueError: the package is not installed.
    """
    bounds = json.loads(_INPUTS.read_text())
    return one_by_one(
        Balloon,
        num_envs,
        name="balloon",
        max_episode_steps=config.episode_steps,
        stack_size=1,
        frame_low=tuple(bounds["low"]),
        frame_high=tuple(bounds["high"]),
    )


class Balloon(gymnasium.Env[NDArray[np.float32], np.int64]):
    """One balloon.

    The `info` of a step has "metrics" with "twr50", 1 within 50 km of the station and 0 beyond: its
    mean over a flight is the flight's TWR50. And "position", the balloon's place east and north of
    the station in metres, and its pressure in pascals.

    Raises:
        ValueError: the package is not installed.
    """

    def __init__(self) -> None:
        self.observation_space = gymnasium.spaces.Box(
            -np.inf, np.inf, (OBSERVATION_SIZE,), np.float32
        )
        self.action_space = gymnasium.spaces.Discrete(NUM_ACTIONS)
        package_file()

    @functools.cached_property
    def _flight(self) -> Any:
        """The simulator, made for the first flight: it uses JAX, after which no process may fork.

        A launcher makes environments only for their shapes, and then starts processes.
        """
        return _package_environment()

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[NDArray[np.float32], dict[str, Any]]:
        """Start a flight; with a seed, always the same one."""
        super().reset(seed=seed, options=options)
        with _older_libraries():
            observation = self._flight.reset(seed=seed)
        return observation.astype(np.float32), {}

    def step(
        self, action: np.int64
    ) -> tuple[NDArray[np.float32], float, bool, bool, dict[str, Any]]:
        """Fly for 3 minutes."""
        with _older_libraries():
            observation, reward, ended, _ = self._flight.step(int(action))
        balloon = self._flight.get_simulator_state().balloon_state
        east, north = balloon.x.meters, balloon.y.meters
        info = {
            "metrics": {"twr50": float(np.hypot(east, north) <= STATION_RADIUS_METRES)},
            "position": (east, north, balloon.pressure),
        }
        return observation.astype(np.float32), float(reward), bool(ended), False, info


def package_file(*parts: str) -> Path:
    """A file of the installed package, without importing it.

    Raises:
        ValueError: the package is not installed.
    """
    found = importlib.util.find_spec(_PACKAGE)
    if found is None or found.origin is None:
        raise ValueError(_NOT_INSTALLED)
    return Path(found.origin).parent.joinpath(*parts)


@contextlib.contextmanager
def _older_libraries() -> Iterator[None]:
    """Use the JAX random numbers that the package's wind was made with, and one BLAS thread.

    The wind model's matrices are small: more threads cost twice as much as they help.
    """
    with jax.threefry_partitionable(False), _thread_pools().limit(limits=1, user_api="blas"):
        yield


@functools.cache
def _thread_pools() -> Any:
    """The process's libraries with threads; finding them takes longer than a step."""
    from threadpoolctl import ThreadpoolController

    return ThreadpoolController()


def _package_environment() -> Any:
    """The package's environment, without its registry, which would import all its agents."""
    with package_imports():
        from balloon_learning_environment.env import balloon_env

        # Otherwise imported lazily, at the first reset.
        importlib.import_module("tensorflow_probability.substrates.jax.distributions")
        balloon_shortcuts.install()
    with _older_libraries():
        return balloon_env.BalloonEnv(seed=0)


@contextlib.contextmanager
def package_imports() -> Iterator[None]:
    """A block in which the package, written for older libraries, can be imported.

    Raises:
        ValueError: the package is not installed.
    """
    package_file()
    with _hashable_defaults(), _without_tensorflow(), _in_silence():
        yield


@contextlib.contextmanager
def _without_tensorflow() -> Iterator[None]:
    """Make the package open the wind model as a plain file, and log nothing to TensorBoard.

    For these two it imports all of TensorFlow, 7 s of CPU. TensorFlow Probability, which it needs,
    imports TensorFlow if present but works without it.
    """
    files: Any = types.ModuleType(f"{_PACKAGE}.models.models")
    files.load_offlineskies22 = package_file("models", "offlineskies22_decoder.msgpack").read_bytes
    logs: Any = types.ModuleType("flax.metrics.tensorboard")
    logs.SummaryWriter = object
    # The import system treats None as a missing module. This also hides an installed TensorFlow:
    # TensorFlow Probability refuses to work with an older one.
    others: dict[str, Any] = {"tensorflow": None, files.__name__: files, logs.__name__: logs}
    found = {name: sys.modules[name] for name in others if name in sys.modules}
    sys.modules.update(others)
    try:
        yield
    finally:
        for name in others:
            del sys.modules[name]
        sys.modules.update(found)


@contextlib.contextmanager
def _in_silence() -> Iterator[None]:
    """Import the package without Gym's deprecation notice and warnings about old functions."""
    with warnings.catch_warnings(), contextlib.redirect_stderr(io.StringIO()):
        warnings.simplefilter("ignore")
        # It has its own warning filters, which take precedence over ours.
        importlib.import_module("gym")
        warnings.simplefilter("ignore")
        yield


@contextlib.contextmanager
def _hashable_defaults() -> Iterator[None]:
    """Make dataclasses accept the package's defaults.

    From Python 3.11 on, a default whose class defines `__eq__` without `__hash__` counts as mutable
    and is refused. The package has such units of length and time, which do not change.
    """
    original = dataclasses.dataclass
    unhashable: list[Any] = []

    def dataclass(cls: type | None = None, /, **options: Any) -> Any:
        def make(cls: type) -> Any:
            kinds: list[Any] = [type(default) for default in vars(cls).values()]
            for kind in kinds:
                if kind.__hash__ is None and kind.__module__.startswith(_PACKAGE):
                    kind.__hash__ = object.__hash__
                    unhashable.append(kind)
            return original(cls, **options)

        return make if cls is None else make(cls)

    library: Any = dataclasses
    library.dataclass = dataclass
    try:
        yield
    finally:
        library.dataclass = original
        for kind in unhashable:
            kind.__hash__ = None

"""Environments by name: their configs, how to make them, and their random returns.

Each is one entry of `ENVIRONMENTS`. Libraries are imported on first use, because ale-py, Gymnasium
and MinAtar are slow to import. Other packages declare theirs, each an `Environment`, in the entry
point group `rrl.environments`.
"""

from __future__ import annotations

import dataclasses
import pkgutil
import sys
from collections.abc import Callable
from typing import TYPE_CHECKING, cast

from rrl_agents.environments import game_names
from rrl_agents.environments.score_tables import random_returns
from rrl_agents.plugins import Registry
from rrl_agents.ranges import check_range, check_ranges

if TYPE_CHECKING:
    from rrl_agents.environments.vector_environment import VectorEnvironment


_MAX_SIDE = 1_024
"""Upper bound of the sides of a resized image, pixels."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class EnvironmentConfig:
    """The environment to play.

    Attributes:
        name: "atari", "minatar", "balloon", "gymnasium" for any Gymnasium environment, "catch" for
            tests and trial runs, or the name or package:attribute of an `Environment` of another
            package.
        game: The game in snake_case or CamelCase; "balloon" and "catch" ignore it. For "gymnasium":
            an id ("LunarLander-v3"); package:id, if the package registers the id when imported; or
            package:function, your own function without arguments that makes the environment.
        max_episode_steps: Decisions after which an episode is truncated; None for the environment's
            own limit (Atari: 27,000; MinAtar: 5,000; balloon: 960; Catch: none).
        sticky_action_probability: Probability that Atari or MinAtar repeats the last
            action, in [0, 1]. None for the usual protocols: 0.25 for Atari, 0.1 for MinAtar. Other
            environments have no sticky actions.
        clip_rewards: Whether training clips rewards to [-1, 1]; None for the environment's
            protocol, which does so for Atari and MinAtar. Returns and scores are never clipped.
        random_return: Mean return of the uniformly random policy, which has score 0; None looks it
            up, or measures it if unknown.
        balls: Balls per episode of Catch.
        stack_size: Frames stacked in one observation of Catch and Gymnasium, padded with zeros at
            the start of an episode; Atari always stacks 4, MinAtar none.
        grayscale: Whether to convert Gymnasium's images [H, W, 3] to gray, [H, W].
        resize: Height and width to resize Gymnasium's images to, by area interpolation; None keeps
            their size.
    """

    name: str = "atari"
    game: str = "pong"
    max_episode_steps: int | None = None
    sticky_action_probability: float | None = None
    clip_rewards: bool | None = None
    random_return: float | None = None
    balls: int = 1
    stack_size: int = 1
    grayscale: bool = False
    resize: tuple[int, int] | None = None

    def __post_init__(self) -> None:
        """Refuse environments that cannot be played."""
        task_name(self.name, self.game)
        check_ranges(self, "sticky_action_probability", least=0, most=1)
        check_ranges(self, "max_episode_steps", "balls", least=1)
        check_ranges(self, "random_return")
        check_ranges(self, "stack_size", least=1, most=16)
        if self.sticky_action_probability and not self.environment.sticky_action_probability:
            raise ValueError(
                f"sticky_action_probability is {self.sticky_action_probability}, but {self.name} "
                "has no sticky actions: leave it out"
            )
        for side in self.resize or ():
            check_range("resize", side, least=1, most=_MAX_SIDE)
        if (self.grayscale or self.resize is not None) and not self.environment.has_image_settings:
            raise ValueError(
                f"grayscale and resize are for images of gymnasium, and {self.name} has a protocol "
                "of its own: leave them out"
            )

    @property
    def environment(self) -> Environment:
        """The environment's entry in the table."""
        return ENVIRONMENTS[self.name]

    @property
    def episode_steps(self) -> int:
        """Decisions after which an episode is truncated; the environment's own by default."""
        own = self.max_episode_steps
        return self.environment.episode_steps if own is None else own

    @property
    def sticky_actions(self) -> float:
        """Probability that an action is repeated, in [0, 1]; the environment's own by default.

        0 if actions cannot be sticky.
        """
        own = self.sticky_action_probability
        return self.environment.sticky_action_probability or 0.0 if own is None else own

    @property
    def clips_rewards(self) -> bool:
        """Whether training clips rewards; by default the environment's own protocol decides."""
        return self.environment.clips_rewards if self.clip_rewards is None else self.clip_rewards


@dataclasses.dataclass(frozen=True, kw_only=True)
class Environment:
    """One entry of `ENVIRONMENTS`.

    Attributes:
        summary: One line for lists.
        function: "module:name" of its function `(config, num_envs, num_threads) ->
            VectorEnvironment`; games written in Python ignore the threads.
        random_source: Origin of the random policy's return, in words; the number is in
            `score_tables`. Empty if there is none.
        episode_steps: Decisions after which its protocol truncates an episode; by default none
            beyond the game's own limit.
        games: Names of its games; empty if there is only one.
        sticky_action_probability: Its protocol's probability; None if actions cannot be sticky.
        clips_rewards: Whether its protocol clips the rewards of training to [-1, 1].
        open_games: How to name a game if there is no list of games; else empty.
        has_image_settings: Whether it reads the config's `grayscale` and `resize`.
        episodes_are_counted: Whether runs also show their progress in episodes of `episode_steps`,
            because play is slow and episodes are about equally long.
        steps_are_costly: Whether steps are so slow that batching them saves nothing: N environments
            of one game cost no more than one environment of N games.
        drawing_function: As `function`, for environments that render if they can; empty if
            `function` makes these already, or none render.
    """

    summary: str
    function: str
    random_source: str = ""
    episode_steps: int = sys.maxsize
    games: Callable[[], tuple[str, ...]] = lambda: ()
    sticky_action_probability: float | None = None
    clips_rewards: bool = False
    open_games: str = ""
    has_image_settings: bool = False
    episodes_are_counted: bool = False
    steps_are_costly: bool = False
    drawing_function: str = ""


def make_environment(
    config: EnvironmentConfig, num_envs: int, *, num_threads: int = 1
) -> VectorEnvironment:
    """Build N environments.

    Args:
        config: The environment to play.
        num_envs: Number of environments N, at least 1.
        num_threads: Threads of Atari's emulators, at least 1; the others need none.

    Raises:
        ValueError: When a number is not positive, the environment is not installed, or there is
            none of that name.
    """
    check_range("num_envs", num_envs, least=1)
    check_range("num_threads", num_threads, least=1)
    make = pkgutil.resolve_name(config.environment.function)
    return cast("VectorEnvironment", make(config, num_envs, num_threads))


def make_drawing_environment(config: EnvironmentConfig) -> VectorEnvironment:
    """Build one environment that renders, if it can: see `VectorEnvironment.draw`.

    Raises:
        ValueError: As `make_environment`.
    """
    entry = config.environment
    make = pkgutil.resolve_name(entry.drawing_function or entry.function)
    return cast("VectorEnvironment", make(config, 1, 1))


def known_random_return(config: EnvironmentConfig) -> float | None:
    """Mean return of the uniformly random policy, undiscounted sum of raw rewards.

    A value in the config takes precedence. Catch's is exact for whole episodes, Atari's comes from
    the papers' table, the others were measured under their own protocols.

    Returns:
        The return; None if it is unknown for this game or protocol and must be measured.
    """
    if config.random_return is not None:
        return config.random_return
    returns, entry = random_returns(config.name), config.environment
    has_games = bool(entry.open_games or entry.games())
    game = game_names.find_name(config.game, returns) if has_games else ""
    if game is None or game not in returns:
        return None
    known, sticky = returns[game], entry.sticky_action_probability or 0.0
    is_of_this = config.sticky_actions == sticky and config.episode_steps >= known.longest_episode
    if known.longest_episode and not is_of_this:
        return None
    return known.mean * (config.balls if config.name == "catch" else 1)


def random_source(config: EnvironmentConfig) -> str:
    """Origin of `known_random_return`, in words."""
    if config.random_return is not None:
        return "given in the settings"
    source = config.environment.random_source
    own = dataclasses.replace(config, sticky_action_probability=None, max_episode_steps=None)
    protocol = (own.sticky_actions, own.episode_steps)
    if config.name == "atari" and (config.sticky_actions, config.episode_steps) != protocol:
        # The other environments refuse numbers measured under another protocol.
        source += (
            f"; of another protocol than these scores: sticky actions {protocol[0]}, episodes of "
            f"up to {protocol[1]:,} steps"
        )
    return source


def task_name(name: str, game: str) -> str:
    """The task in one word: "pong" (Atari), "minatar_breakout", "CartPole-v1".

    Args:
        name: Name of the environment.
        game: Its game in any spelling; ignored if it has only one.

    Raises:
        ValueError: When there is no such environment or game.
    """
    if name not in ENVIRONMENTS:
        raise ValueError(f"environment {name!r} is unknown; choose one of {tuple(ENVIRONMENTS)}")
    if ENVIRONMENTS[name].open_games:
        return game_names.gymnasium_task(game)
    games = ENVIRONMENTS[name].games()
    if not games:
        return name
    known = game_names.known_game(game, games)
    return known if name == "atari" else f"{name}_{known}"


def find_task(task: str) -> tuple[str, str]:
    """Environment name and game of a task: the inverse of `task_name`.

    Args:
        task: "pong" (Atari), "minatar_breakout", "CartPole-v1"; an Atari game in any spelling.

    Raises:
        ValueError: When there is no such task.
    """
    if ":" not in task and task in ENVIRONMENTS and not ENVIRONMENTS[task].games():
        return task, ""
    for name in ENVIRONMENTS:
        if task.startswith(f"{name}_"):
            game = game_names.find_name(task.removeprefix(f"{name}_"), ENVIRONMENTS[name].games())
            if game is not None:
                return name, game
    atari = game_names.find_name(task, ENVIRONMENTS["atari"].games())
    if atari is not None:
        return "atari", atari
    return "gymnasium", game_names.gymnasium_task(task)


_HERE = "rrl_agents.environments"
_MEASURED = f"measured under this protocol ({_HERE.replace('.', '/')}/random_returns.csv)"

_BUILT_IN = {
    "atari": Environment(
        summary="Atari 2600 games under Dopamine's protocol: 4 stacked gray 84x84 frames",
        function=f"{_HERE}.atari:make_atari",
        # Half an hour of play.
        episode_steps=27_000,
        random_source="table of the code released with Agarwal et al., 2022 (arXiv:2206.01626)",
        games=game_names.rom_names,
        sticky_action_probability=0.25,
        clips_rewards=True,
        steps_are_costly=True,
    ),
    "minatar": Environment(
        summary="MinAtar's five miniature Atari games: 10x10 grids of object channels",
        function=f"{_HERE}.minatar:make_minatar",
        # MinAtar has none, and a good policy can play Breakout and Space Invaders forever, so that
        # an evaluation would never end. This is twice the length of Freeway, the one game with a
        # time limit.
        episode_steps=5_000,
        random_source=_MEASURED,
        games=lambda: game_names.MINATAR_GAMES,
        sticky_action_probability=0.1,
        clips_rewards=True,
    ),
    "gymnasium": Environment(
        summary="any Gymnasium environment with array observations and discrete actions",
        function=f"{_HERE}.gymnasium_tasks:make_gymnasium",
        drawing_function=f"{_HERE}.gymnasium_tasks:make_drawing_gymnasium",
        random_source=_MEASURED,
        open_games="its id, package:id, or package:function of your own",
        has_image_settings=True,
    ),
    "balloon": Environment(
        summary="station keeping with a stratospheric balloon: vectors of 1,099 numbers",
        function=f"{_HERE}.balloon:make_balloon",
        # Two days of 3 minutes each.
        episode_steps=960,
        episodes_are_counted=True,
        steps_are_costly=True,
        random_source=_MEASURED,
    ),
    "catch": Environment(
        summary="a ball to catch on a 10x5 grid, for tests and trial runs",
        function=f"{_HERE}.catch:make_catch",
        random_source="exact, by arithmetic",
    ),
}

ENVIRONMENTS: Registry[Environment] = Registry("rrl.environments", Environment, _BUILT_IN)
"""The environments by name."""

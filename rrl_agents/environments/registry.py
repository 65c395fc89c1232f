"""Environments by name: what a config may say, what an actor or evaluator plays, and its scores.

Each is one entry of `ENVIRONMENTS`. What is played is imported when it is: ale-py, Gymnasium and
MinAtar take their time. Packages declare theirs, each an `Environment`, in the group
`rrl.environments` of entry points.
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
    """What is played.

    Attributes:
        name: "atari", "minatar", "balloon", "gymnasium" for all that Gymnasium makes, "catch" for
            tests and trial runs, or the name or package:attribute of an `Environment` of another
            package.
        game: Game in snake_case or CamelCase; "balloon" and "catch" ignore it. Of "gymnasium"
            an id ("LunarLander-v3"), package:id of one that importing the package registers, or
            package:function of your own, called without arguments.
        max_episode_steps: Decisions after which an episode is cut off; None for the environment's
            own limit (Atari: 27,000; MinAtar: 5,000; balloon: 960; Catch: none).
        sticky_action_probability: Probability that Atari or MinAtar repeats the last action, in
            [0, 1]; None for that of the papers' protocols, 0.25 of Atari and 0.1 of MinAtar. The
            others have no sticky actions.
        clip_rewards: Whether training sees rewards clipped to [-1, 1]; None for the environment's
            protocol, which clips those of Atari and MinAtar. Returns and scores are raw.
        random_return: Mean return of the uniformly random policy, the zero of every score; None
            for the known one, or else for what it is measured to be.
        balls: Balls per episode of Catch.
        stack_size: Frames in one observation of Catch and Gymnasium; Atari always stacks 4, MinAtar
            none. An episode starts padded with zeros.
        grayscale: Whether Gymnasium's images [H, W, 3] are made gray, [H, W].
        resize: Height and width that Gymnasium's images are scaled to, by area; None keeps theirs.
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
        """Refuse what cannot be played."""
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
        """Decisions after which an episode is cut off, the environment's own where not set."""
        own = self.max_episode_steps
        return self.environment.episode_steps if own is None else own

    @property
    def sticky_actions(self) -> float:
        """Probability that an action is repeated, in [0, 1], the environment's own where not set.

        0 where actions cannot be sticky.
        """
        own = self.sticky_action_probability
        return self.environment.sticky_action_probability or 0.0 if own is None else own

    @property
    def clips_rewards(self) -> bool:
        """Whether training sees clipped rewards, the environment's own protocol where not set."""
        return self.environment.clips_rewards if self.clip_rewards is None else self.clip_rewards


@dataclasses.dataclass(frozen=True, kw_only=True)
class Environment:
    """One name that an `EnvironmentConfig` may hold.

    Attributes:
        summary: What it is, in one line.
        function: "module:name" of its function `(config, num_envs, num_threads) ->
            VectorEnvironment`; one whose games are written in Python has no use for threads.
        random_source: Where the return of the uniformly random policy comes from, in words; the
            number is in `score_tables`. Empty where there is none.
        episode_steps: Decisions after which its protocol cuts an episode off; by default never, or
            as the game itself does.
        games: Names of its games; empty where it is one game.
        sticky_action_probability: Of its protocol; None where actions cannot be sticky.
        clips_rewards: Whether its protocol clips the rewards of training to [-1, 1].
        open_games: How its game is named where there is no list of them; empty where there is.
        has_image_settings: Whether it reads the config's `grayscale` and `resize`.
        episodes_are_counted: Whether play is so slow, and episodes so much of one length, that runs
            show their progress in episodes of `episode_steps`, too.
        steps_are_costly: Whether a step costs so much more than a call that N environments of one
            game cost no more than one of N games.
        drawing_function: As `function`, for environments that draw themselves where they can; empty
            where `function` makes these already, or none does.
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
        config: What is played.
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
    """Build one environment that draws itself, where it can: see `VectorEnvironment.draw`.

    Raises:
        ValueError: As `make_environment`.
    """
    entry = config.environment
    make = pkgutil.resolve_name(entry.drawing_function or entry.function)
    return cast("VectorEnvironment", make(config, 1, 1))


def known_random_return(config: EnvironmentConfig) -> float | None:
    """Mean return of the uniformly random policy, undiscounted sum of raw rewards.

    The config's own value where it has one. Catch's is exact for whole episodes, Atari's comes from
    the papers' table, the others were measured under their own protocols.

    Returns:
        The return; None where it is not known of this game or protocol, and has to be measured.
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
    """Where `known_random_return` comes from, in words."""
    if config.random_return is not None:
        return "given in the settings"
    source = config.environment.random_source
    own = dataclasses.replace(config, sticky_action_probability=None, max_episode_steps=None)
    protocol = (own.sticky_actions, own.episode_steps)
    if config.name == "atari" and (config.sticky_actions, config.episode_steps) != protocol:
        # The other environments refuse what was measured under another protocol.
        source += (
            f"; of another protocol than these scores: sticky actions {protocol[0]}, episodes of "
            f"up to {protocol[1]:,} steps"
        )
    return source


def task_name(name: str, game: str) -> str:
    """What is played, in one word: "pong" (of Atari), "minatar_breakout", "CartPole-v1".

    Args:
        name: Name of the environment.
        game: Its game in any spelling; ignored where it is one game.

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
    """Name and game of the environment that `task_name` calls so.

    Args:
        task: "pong" (of Atari), "minatar_breakout", "CartPole-v1"; an Atari game in any spelling.

    Raises:
        ValueError: When no environment can be called so.
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
        # MinAtar has none, and a good policy can play Breakout and Space Invaders without end: an
        # evaluation would never be done. Twice the length of Freeway, the one game that ends by
        # the clock.
        episode_steps=5_000,
        random_source=_MEASURED,
        games=lambda: game_names.MINATAR_GAMES,
        sticky_action_probability=0.1,
        clips_rewards=True,
    ),
    "gymnasium": Environment(
        summary="any environment of Gymnasium: an array to observe, discrete actions",
        function=f"{_HERE}.gymnasium_tasks:make_gymnasium",
        drawing_function=f"{_HERE}.gymnasium_tasks:make_drawing_gymnasium",
        random_source=_MEASURED,
        open_games="its id, package:id, or package:function of your own",
        has_image_settings=True,
    ),
    "balloon": Environment(
        summary="station keeping by a stratospheric balloon: a vector of 1,099 numbers",
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

"""Environments by name: what a config may say, what an actor or evaluator plays, and its scores.

Each is one entry of `ENVIRONMENTS`. What is played is imported when it is: ale-py, Gymnasium and
MinAtar take their time.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable

from rrl_agents.environments import game_names, score_tables
from rrl_agents.environments.interface import VectorEnvironment
from rrl_agents.environments.score_tables import MeasuredReturn


@dataclasses.dataclass(frozen=True, kw_only=True)
class EnvironmentConfig:
    """What is played.

    Attributes:
        name: "atari", "minatar", "cartpole", or "catch" for tests and trial runs.
        game: Game in snake_case or CamelCase; "cartpole" and "catch" have no games and ignore it.
        max_episode_steps: Decisions after which an episode is cut off; None for the environment's
            own limit (Atari: 27,000; MinAtar: 5,000; CartPole: 500; Catch: none).
        sticky_action_probability: Probability that Atari or MinAtar repeats the last action, in
            [0, 1]; None for that of the papers' protocols, 0.25 of Atari and 0.1 of MinAtar. The
            others have no sticky actions.
        clip_rewards: Whether training sees rewards clipped to [-1, 1]; None for the environment's
            protocol, which clips those of Atari and MinAtar. Returns and scores are raw.
        random_return: Mean return of the uniformly random policy, the zero of every score; None
            for the known one (`random_return`).
        balls: Balls per episode of Catch.
        stack_size: Frames in one observation of Catch; Atari always stacks 4, the others none.
    """

    name: str = "atari"
    game: str = "pong"
    max_episode_steps: int | None = None
    sticky_action_probability: float | None = None
    clip_rewards: bool | None = None
    random_return: float | None = None
    balls: int = 1
    stack_size: int = 1

    def __post_init__(self) -> None:
        """Refuse what cannot be played."""
        task_name(self.name, self.game)
        self._check_sticky_actions()
        if self.max_episode_steps is not None and self.max_episode_steps < 1:
            raise ValueError(f"max_episode_steps is {self.max_episode_steps}; use 1 or more")
        if self.random_return is not None and not math.isfinite(self.random_return):
            raise ValueError(f"random_return is {self.random_return}; use a finite number")
        if self.balls < 1:
            raise ValueError(f"balls is {self.balls}; use 1 or more")
        if not 1 <= self.stack_size <= 16:
            raise ValueError(f"stack_size is {self.stack_size}; use 1 to 16")

    @property
    def sticky_actions(self) -> float:
        """Probability that an action is repeated, in [0, 1], the environment's own where not set.

        0 where actions cannot be sticky.
        """
        if self.sticky_action_probability is not None:
            return self.sticky_action_probability
        own = environment_of(self.name).sticky_action_probability
        return 0.0 if own is None else own

    @property
    def clips_rewards(self) -> bool:
        """Whether training sees clipped rewards, the environment's own protocol where not set."""
        if self.clip_rewards is not None:
            return self.clip_rewards
        return environment_of(self.name).clips_rewards

    def _check_sticky_actions(self) -> None:
        probability = self.sticky_action_probability
        if probability is None:
            return
        if not 0.0 <= probability <= 1.0:
            raise ValueError(f"sticky_action_probability is {probability}; use 0 to 1")
        if probability > 0.0 and environment_of(self.name).sticky_action_probability is None:
            raise ValueError(
                f"sticky_action_probability is {probability}, but {self.name} has no sticky "
                "actions: leave it out"
            )


@dataclasses.dataclass(frozen=True, kw_only=True)
class Environment:
    """One name that an `EnvironmentConfig` may hold.

    Attributes:
        summary: What it is, in one line.
        make: Builds N of them, with so many threads where it has any.
        random_return: Mean return of the uniformly random policy; raises ValueError where it is
            not known of this game or protocol.
        random_source: Where that return comes from, in words.
        games: Names of its games; empty where it is one game.
        game_name: The one of `games` that a spelling means; raises ValueError for others. None
            where it is one game.
        sticky_action_probability: Of its protocol; None where actions cannot be sticky.
        clips_rewards: Whether its protocol clips the rewards of training to [-1, 1].
    """

    summary: str
    make: Callable[[EnvironmentConfig, int, int], VectorEnvironment]
    random_return: Callable[[EnvironmentConfig], float]
    random_source: Callable[[EnvironmentConfig], str]
    games: Callable[[], tuple[str, ...]] = lambda: ()
    game_name: Callable[[str], str] | None = None
    sticky_action_probability: float | None = None
    clips_rewards: bool = False


def make_environment(
    config: EnvironmentConfig, num_envs: int, *, num_threads: int = 1
) -> VectorEnvironment:
    """Build N environments.

    Args:
        config: What is played.
        num_envs: Number of environments N, at least 1.
        num_threads: Threads of Atari's emulators, at least 1; the others need none.

    Raises:
        ValueError: When a number is not positive, or the environment is not installed.
    """
    if num_envs < 1 or num_threads < 1:
        raise ValueError(f"num_envs is {num_envs}, num_threads {num_threads}; use 1 or more")
    return ENVIRONMENTS[config.name].make(config, num_envs, num_threads)


def random_return(config: EnvironmentConfig) -> float:
    """Mean return of the uniformly random policy, undiscounted sum of raw rewards.

    The config's own value where it has one. Catch's is exact for whole episodes, Atari's comes from
    the papers' table, those of MinAtar and CartPole were measured under their own protocols.

    Raises:
        ValueError: When it is not known of this game or protocol; says how to give it.
    """
    if config.random_return is not None:
        return config.random_return
    return ENVIRONMENTS[config.name].random_return(config)


def random_source(config: EnvironmentConfig) -> str:
    """Where `random_return` comes from, in words."""
    if config.random_return is not None:
        return "given in the settings"
    return ENVIRONMENTS[config.name].random_source(config)


def games(name: str) -> tuple[str, ...]:
    """Names of an environment's games, as configs may have them; empty where it is one game.

    Raises:
        ValueError: When there is no such environment.
    """
    return environment_of(name).games()


def environment_of(name: str) -> Environment:
    """The environment of that name.

    Raises:
        ValueError: When there is none.
    """
    if name not in ENVIRONMENTS:
        raise ValueError(f"environment {name!r} is unknown; choose one of {tuple(ENVIRONMENTS)}")
    return ENVIRONMENTS[name]


def task_name(name: str, game: str) -> str:
    """What is played, in one word: "pong" (of Atari), "minatar_breakout", "cartpole".

    Args:
        name: Name of the environment.
        game: Its game in any spelling; ignored where it is one game.

    Raises:
        ValueError: When there is no such environment or game.
    """
    environment = environment_of(name)
    if environment.game_name is None:
        return name
    known = environment.game_name(game)
    return known if name == "atari" else f"{name}_{known}"


def _atari(config: EnvironmentConfig, num_envs: int, num_threads: int) -> VectorEnvironment:
    from rrl_agents.environments import atari

    return atari.AtariEnvironment(
        config.game,
        num_envs,
        num_threads=num_threads,
        max_episode_steps=config.max_episode_steps,
        sticky_action_probability=config.sticky_actions,
    )


def _minatar(config: EnvironmentConfig, num_envs: int, _: int) -> VectorEnvironment:
    from rrl_agents.environments import minatar

    return minatar.make_minatar(
        config.game,
        num_envs,
        max_episode_steps=config.max_episode_steps,
        sticky_action_probability=config.sticky_actions,
    )


def _cartpole(config: EnvironmentConfig, num_envs: int, _: int) -> VectorEnvironment:
    from rrl_agents.environments import cartpole

    return cartpole.make_cartpole(num_envs, max_episode_steps=config.max_episode_steps)


def _catch(config: EnvironmentConfig, num_envs: int, _: int) -> VectorEnvironment:
    from rrl_agents.environments import catch

    return catch.CatchEnvironment(
        num_envs,
        balls=config.balls,
        stack_size=config.stack_size,
        max_episode_steps=config.max_episode_steps,
    )


_REMEDY = "play the random policy yourself, and set the environment's random_return to its mean"


def _atari_random_return(config: EnvironmentConfig) -> float:
    table = score_tables.ATARI_RANDOM_RETURNS
    name = game_names.find_name(config.game, table)
    if name is None:
        raise ValueError(
            f"the papers' table has no random-policy return of {config.game!r}, so its scores "
            f"cannot be normalised: {_REMEDY}"
        )
    return table[name]


def _atari_random_source(config: EnvironmentConfig) -> str:
    source = "table of the code released with Agarwal et al., 2022 (arXiv:2206.01626)"
    sticky, steps = score_tables.ATARI_STICKY_ACTION_PROBABILITY, score_tables.ATARI_EPISODE_STEPS
    if config.sticky_actions == sticky and config.max_episode_steps in (None, steps):
        return source
    # The other environments refuse what was measured under another protocol.
    return (
        f"{source}; of another protocol than these scores: sticky actions {sticky}, episodes of up "
        f"to {steps:,} steps"
    )


def _minatar_random_return(config: EnvironmentConfig) -> float:
    if config.sticky_actions != score_tables.MINATAR_STICKY_ACTION_PROBABILITY:
        raise ValueError(
            "MinAtar's random-policy returns were measured with sticky_action_probability "
            f"{score_tables.MINATAR_STICKY_ACTION_PROBABILITY}, not {config.sticky_actions}: "
            f"{_REMEDY}"
        )
    name = game_names.minatar_name(config.game)
    return _measured(config, score_tables.MINATAR_RANDOM_RETURNS[name])


def _catch_random_return(config: EnvironmentConfig) -> float:
    from rrl_agents.environments import catch

    return config.balls * catch.RANDOM_RETURN_PER_BALL


def _measured(config: EnvironmentConfig, measured: MeasuredReturn) -> float:
    """Holds wherever no episode of the random policy would be cut off earlier."""
    limit = config.max_episode_steps
    if limit is not None and limit < measured.longest_episode:
        raise ValueError(
            f"max_episode_steps is {limit}, but episodes of the random policy last up to "
            f"{measured.longest_episode} decisions, and its known return is that of whole ones: "
            f"use {measured.longest_episode} or more, or {_REMEDY}"
        )
    return measured.mean


def _measured_here(config: EnvironmentConfig) -> str:
    del config
    return "measured under this protocol (rrl_agents/environments/score_tables.py)"


ENVIRONMENTS: dict[str, Environment] = {
    "atari": Environment(
        summary="Atari 2600 games under Dopamine's protocol: 4 stacked gray 84x84 frames",
        make=_atari,
        random_return=_atari_random_return,
        random_source=_atari_random_source,
        games=game_names.rom_names,
        game_name=game_names.rom_name,
        sticky_action_probability=score_tables.ATARI_STICKY_ACTION_PROBABILITY,
        clips_rewards=True,
    ),
    "minatar": Environment(
        summary="MinAtar's five miniature Atari games: 10x10 grids of object channels",
        make=_minatar,
        random_return=_minatar_random_return,
        random_source=_measured_here,
        games=lambda: game_names.MINATAR_GAMES,
        game_name=game_names.minatar_name,
        sticky_action_probability=score_tables.MINATAR_STICKY_ACTION_PROBABILITY,
        clips_rewards=True,
    ),
    "cartpole": Environment(
        summary="Gymnasium's CartPole-v1: a vector of 4 numbers",
        make=_cartpole,
        random_return=lambda config: _measured(config, score_tables.CARTPOLE_RANDOM_RETURN),
        random_source=_measured_here,
    ),
    "catch": Environment(
        summary="a ball to catch on a 10x5 grid, for tests and trial runs",
        make=_catch,
        random_return=_catch_random_return,
        random_source=lambda config: "exact, by arithmetic",
    ),
}
"""The environments by name."""

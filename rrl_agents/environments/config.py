"""What is played, as a run's config says it."""

from __future__ import annotations

import dataclasses
import math

from rrl_agents.environments.kinds import environment_kind, task_name


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
            for the known one (`registry.random_return`).
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
        own = environment_kind(self.name).sticky_action_probability
        return 0.0 if own is None else own

    @property
    def clips_rewards(self) -> bool:
        """Whether training sees clipped rewards, the environment's own protocol where not set."""
        if self.clip_rewards is not None:
            return self.clip_rewards
        return environment_kind(self.name).clips_rewards

    def _check_sticky_actions(self) -> None:
        probability = self.sticky_action_probability
        if probability is None:
            return
        if not 0.0 <= probability <= 1.0:
            raise ValueError(f"sticky_action_probability is {probability}; use 0 to 1")
        if probability > 0.0 and environment_kind(self.name).sticky_action_probability is None:
            raise ValueError(
                f"sticky_action_probability is {probability}, but {self.name} has no sticky "
                "actions: leave it out"
            )

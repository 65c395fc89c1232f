"""The facts of a teacher's card beside its network: how it was played, scored and paid for.

Scores are undiscounted sums of raw rewards, the same unit everywhere in the project.
"""

from __future__ import annotations

import dataclasses
import math

MAX_COUNT = 10**18
"""Bound of the counts of a card, which may come from anywhere."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class EvaluationScore:
    """How well a teacher played.

    Attributes:
        mean_return: Mean over the episodes of the undiscounted raw return.
        std_return: Population standard deviation over the same episodes, at least 0.
        episodes: Number of episodes, at least 1.
        epsilon: Probability of a uniformly random action while playing, in [0, 1].
        sticky_actions: Probability that the game repeats the last action, in [0, 1].
        interval: 95% confidence interval of the mean (low, high); None when nobody computed it.
        returns: Return of each episode; empty when only the mean is known.
        note: What a reader must know of how the episodes were chosen.
    """

    mean_return: float
    std_return: float
    episodes: int
    epsilon: float
    sticky_actions: float
    interval: tuple[float, float] | None = None
    returns: tuple[float, ...] = ()
    note: str = ""

    def __post_init__(self) -> None:
        """Refuse scores that no evaluation can give."""
        check_finite("mean_return", self.mean_return)
        check_finite("std_return", self.std_return)
        if self.std_return < 0:
            raise ValueError(f"std_return is {self.std_return}; it must be at least 0")
        if self.episodes < 1:
            raise ValueError(f"episodes is {self.episodes}; it must be at least 1")
        if self.returns and len(self.returns) != self.episodes:
            raise ValueError(
                f"returns holds {len(self.returns)} numbers for {self.episodes} episodes"
            )
        for field in ("epsilon", "sticky_actions"):
            check_probability(field, getattr(self, field))
        for value in self.returns:
            check_finite("returns", value)
        if self.interval is not None and not (
            math.isfinite(self.interval[0])
            and math.isfinite(self.interval[1])
            and self.interval[0] <= self.interval[1]
        ):
            raise ValueError(f"interval is {self.interval}; need finite (low, high), low first")


@dataclasses.dataclass(frozen=True, kw_only=True)
class PlayProtocol:
    """Under which rules the game was played; scores of different rules do not compare.

    Attributes:
        frames_per_step: Emulator frames that one decision lasts, at least 1.
        stack_size: Frames in one observation, at least 1.
        max_episode_steps: Decisions after which an episode is cut off, at least 1.
        sticky_actions: Probability that the game repeats the last action, in [0, 1].
        reward_clipping: Whether training saw rewards clipped to [-1, 1]; scores are never clipped.
        life_loss_ends: Whether training took a lost life for the end of an episode.
    """

    frames_per_step: int
    stack_size: int
    max_episode_steps: int
    sticky_actions: float
    reward_clipping: bool = True
    life_loss_ends: bool = False

    def __post_init__(self) -> None:
        """Refuse rules that no game has."""
        for field in ("frames_per_step", "stack_size", "max_episode_steps"):
            if not 1 <= getattr(self, field) <= MAX_COUNT:
                raise ValueError(f"{field} is {getattr(self, field)}; it must be at least 1")
        check_probability("sticky_actions", self.sticky_actions)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Compute:
    """What one generation cost, its ancestors not counted; None where nobody knows.

    Attributes:
        environment_frames: Emulator frames the agent itself played to learn.
        teacher_frames: Emulator frames its teacher played for it. Data recorded before was paid
            for by whoever recorded it, and is not counted again.
        gradient_updates: Gradient steps.
        hardware_seconds: Wall-clock seconds on the hardware named.
        hardware: What it ran on, in words; empty when unknown.
    """

    environment_frames: int | None = None
    teacher_frames: int | None = None
    gradient_updates: int | None = None
    hardware_seconds: float | None = None
    hardware: str = ""

    def __post_init__(self) -> None:
        """Refuse negative and absurd costs."""
        for field in ("environment_frames", "teacher_frames", "gradient_updates"):
            count = getattr(self, field)
            if count is not None and not 0 <= count <= MAX_COUNT:
                raise ValueError(f"{field} is {count}; it must lie in [0, {MAX_COUNT}]")
        seconds = self.hardware_seconds
        if seconds is not None and not 0 <= seconds <= MAX_COUNT:
            raise ValueError(f"hardware_seconds is {seconds}; it must lie in [0, {MAX_COUNT}]")


def check_finite(field: str, value: float) -> None:
    """Refuse a number that is infinite or none.

    Raises:
        ValueError: it is; the message names the field.
    """
    if not math.isfinite(value):
        raise ValueError(f"{field} is {value}; it must be finite")


def check_probability(field: str, value: float) -> None:
    """Refuse a number outside [0, 1].

    Raises:
        ValueError: it is; the message names the field.
    """
    if not 0 <= value <= 1:
        raise ValueError(f"{field} is {value}; it must lie in [0, 1]")

"""Rates and times left, from counters looked at now and then. Pure functions of what was seen."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import NamedTuple

WINDOW_SECONDS = 60.0
"""A rate looks back this far: long enough to be steady, short enough to follow a change."""


class Sample(NamedTuple):
    """A counter at a time.

    Attributes:
        seconds: A clock that never goes back.
        done: The counter, of one unit throughout.
    """

    seconds: float
    done: int


@dataclasses.dataclass(frozen=True, kw_only=True)
class StageProgress:
    """How far one stage is.

    Attributes:
        name: What the user reads, e.g. "offline".
        unit: What is counted, e.g. "updates".
        done: Counted so far.
        target: To be counted; 0 for a stage that this run has not.
    """

    name: str
    unit: str
    done: int
    target: int

    @property
    def fraction(self) -> float:
        """Share done, in [0, 1]; an empty stage is done."""
        return min(1.0, self.done / self.target) if self.target > 0 else 1.0


def extend_samples(
    samples: Sequence[Sample], sample: Sample, window_seconds: float = WINDOW_SECONDS
) -> tuple[Sample, ...]:
    """Adds a sample and forgets what no rate needs any more.

    Args:
        samples: Seen so far, oldest first.
        sample: Newest.
        window_seconds: How far a rate looks back.

    Returns:
        The samples to keep. A counter that fell belongs to a run that went back to a checkpoint:
        everything before is forgotten.
    """
    if samples and sample.done < samples[-1].done:
        return (sample,)
    begin = sample.seconds - window_seconds
    return (*(old for old in samples if old.seconds >= begin), sample)


def rate_per_second(samples: Sequence[Sample]) -> float | None:
    """Returns the mean rate from the oldest to the newest sample; None without two times."""
    if len(samples) < 2 or samples[-1].seconds <= samples[0].seconds:
        return None
    elapsed = samples[-1].seconds - samples[0].seconds
    return (samples[-1].done - samples[0].done) / elapsed


def seconds_left(stage: StageProgress, rate: float | None) -> float | None:
    """Returns the time a stage still needs at this rate; None where nobody can know."""
    remaining = max(0, stage.target - stage.done)
    if remaining == 0:
        return 0.0
    return None if rate is None or rate <= 0 else remaining / rate


def format_duration(seconds: float) -> str:
    """Returns "42 s", "3 min 05 s" or "2 h 07 min"."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02d} s"
    return f"{whole // 3600} h {whole % 3600 // 60:02d} min"

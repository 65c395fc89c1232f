"""What a worker tells of the run it is at."""

from __future__ import annotations

import dataclasses


@dataclasses.dataclass(frozen=True, kw_only=True)
class Doing:
    """How far a run is.

    Attributes:
        stage: Its stage, in words.
        updates: Gradient steps of both stages.
        updates_per_second: Their rate; 0 while it is not known.
        clocks: Everything that grows while a run is at work.
    """

    stage: str
    updates: int
    updates_per_second: float
    clocks: tuple[int, ...] = ()


@dataclasses.dataclass(frozen=True, kw_only=True)
class Ended:
    """How a run ended in a worker.

    Attributes:
        finished: Whether it is finished; False where it was stopped.
        error: Why it failed; None where it did not.
    """

    finished: bool
    error: str | None = None

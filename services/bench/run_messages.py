"""What bench and worker send each other, beside the run."""

from __future__ import annotations

import dataclasses

from rrl_agents.types import Progress

STOP = "stop"
"""Has a worker save a checkpoint and end."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class RunProgress:
    """How far a run is.

    Attributes:
        progress: The learner's.
        updates_per_second: Gradient steps; 0 while their rate is unknown.
    """

    progress: Progress
    updates_per_second: float


@dataclasses.dataclass(frozen=True, kw_only=True)
class RunResult:
    """How a run ended in a worker.

    Attributes:
        finished: Whether it is finished; False where it was stopped.
        error: Why it failed; None where it did not.
        died: Whether it is its worker that died; then the run can resume.
    """

    finished: bool
    error: str | None = None
    died: bool = False

"""What a worker reports of its run."""

from __future__ import annotations

import dataclasses

from rrl_agents.types import Progress


@dataclasses.dataclass(frozen=True, kw_only=True)
class RunProgress:
    """How far a run is.

    Attributes:
        progress: The learner's; it changes as long as the run is at work.
        updates_per_second: Gradient steps; 0 while their rate is unknown.
    """

    progress: Progress
    updates_per_second: float

    @property
    def updates(self) -> int:
        """Gradient steps of both stages."""
        return self.progress.learner_updates


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

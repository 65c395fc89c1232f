"""The learner's Prometheus metrics.

Most are read from the run's progress at each scrape. Counters never decrease, even if the process
rebuilds its learner and the clocks return to those of a checkpoint.
"""

from __future__ import annotations

import dataclasses
import threading
from collections.abc import Callable, Iterator

from prometheus_client import CollectorRegistry
from prometheus_client.core import Metric
from prometheus_client.registry import Collector

from rrl_agents.scores import score_if_known
from rrl_agents.types import Progress, Stage
from services.learner.evaluation_records import CLOCKS
from services.learner.metrics_log import MetricsLog
from services.learner.run_clock import RunClock
from services.learner.stage_transitions import StageTargets
from services.shared.compilations import compilations
from services.shared.metrics import CumulativeIncrease, counter, counters, gauge, gauges

_PREFIX = "rrl_learner_"
_COUNTED = {
    "rrl_learner_sample_wait_seconds": "Seconds that updates waited for a batch.",
    "rrl_learner_replay_losses": "Returns to a checkpoint because replay restarted with other "
    "tables.",
    "rrl_learner_replay_outages": "Waits of the learner because replay was unreachable.",
}
"""Metrics that are attributes of `LearnerMetrics`, whose names lack the prefix."""
_COMPILED = "Programs that XLA compiled in this process; should not grow after the first minute."

_SHOWN = {
    "rrl_learner_weights_version": "Version of the newest published weights.",
    "rrl_learner_weaning_weight": "Weight lambda of the teacher's loss, 0 to 1.",
    "rrl_learner_student_return": "Mean return of the student's newest evaluation.",
    "rrl_learner_teacher_return": "Mean return of the teacher.",
    "rrl_learner_random_return": "Mean return of random play.",
}
"""Metrics that are fields of the progress."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class ShownRun:
    """What a scrape reads from a learner.

    Attributes:
        clock: Progress of the run.
        log: Rates and losses.
        targets: How far each stage goes.
        actor_steps_target: Steps that the students play in the whole run.
        frames_per_step: Emulator frames of one step.
        awaits_evaluation: Returns whether the run waits for an evaluation, with nothing else to do.
    """

    clock: RunClock
    log: MetricsLog
    targets: StageTargets
    actor_steps_target: int
    frames_per_step: int
    awaits_evaluation: Callable[[], bool]


class LearnerMetrics(Collector):
    """The learner's part of a metrics page; safe to use from any thread.

    Args:
        registry: Registry to add the metrics to; must not have another learner's.

    Attributes:
        sample_wait_seconds, replay_losses, replay_outages: See `_COUNTED`; the learner adds to
            them.
    """

    def __init__(self, registry: CollectorRegistry) -> None:
        self._lock = threading.Lock()
        self._run: ShownRun | None = None
        clocks = ("learner_updates", "teacher_steps", "actor_steps")
        self._clocks = {name: CumulativeIncrease() for name in clocks}
        self.sample_wait_seconds = 0.0
        self.replay_losses = self.replay_outages = 0
        self._checkpoints = {"written": 0, "failed": 0}
        self._checkpoint_number = 0
        self._checkpoint_seconds: float | None = None
        self._checkpoint_time: float | None = None
        compilations()  # The first call starts the count.
        registry.register(self)

    def attach(self, run: ShownRun) -> None:
        """Report this learner from now on: the first of the process, or the next after a loss."""
        with self._lock:
            if self._run is not None:
                self._see(self._run.clock.progress)
            for name, rises in self._clocks.items():
                rises.rebase(getattr(run.clock.progress, name))
            self._run = run

    def restored(self, number: int, written_at: float) -> None:
        """Note the checkpoint that the learner resumes from, and its Unix time."""
        self._checkpoint_number, self._checkpoint_time = number, written_at

    def checkpoint_saved(self, number: int, *, seconds: float, written_at: float) -> None:
        """Count a saved checkpoint, with its duration and its Unix time."""
        self._checkpoints["written"] += 1
        self._checkpoint_seconds = seconds
        self._checkpoint_number, self._checkpoint_time = number, written_at

    def checkpoint_failed(self) -> None:
        """Count a checkpoint that could not be saved."""
        self._checkpoints["failed"] += 1

    def collect(self) -> Iterator[Metric]:
        """The page's content."""
        with self._lock:
            run = self._run
            progress = run.clock.progress if run is not None else None
            if progress is not None:
                self._see(progress)
        yield from self._counted(run.frames_per_step if run is not None else 1)
        if run is not None and progress is not None:
            yield from _of_log(run.log)
            yield from _of_progress(run, progress)

    def _see(self, progress: Progress) -> None:
        for name, rises in self._clocks.items():
            rises.observe(getattr(progress, name))

    def _counted(self, frames_per_step: int) -> Iterator[Metric]:
        totals = {name: rises.total for name, rises in self._clocks.items()}
        yield counter("rrl_learner_updates", "Gradient steps.", totals["learner_updates"])
        steps = {"teacher": totals["teacher_steps"], "student": totals["actor_steps"]}
        yield counters(
            "rrl_learner_agent_steps", "Decisions inserted into replay.", "player", steps
        )
        frames = {player: count * frames_per_step for player, count in steps.items()}
        yield counters("rrl_learner_frames", "Emulator frames of these steps.", "player", frames)
        for name, text in _COUNTED.items():
            yield counter(name, text, getattr(self, name.removeprefix(_PREFIX)))
        yield counter("rrl_learner_compilations", _COMPILED, compilations())
        yield counters("rrl_learner_checkpoints", "Checkpoints.", "result", self._checkpoints)
        yield gauge(
            "rrl_learner_checkpoint_number",
            "Number of the newest checkpoint.",
            self._checkpoint_number,
        )
        yield gauge(
            "rrl_learner_checkpoint_seconds",
            "Seconds that the newest checkpoint took.",
            self._checkpoint_seconds,
        )
        yield gauge(
            "rrl_learner_checkpoint_timestamp_seconds",
            "Unix time of the newest checkpoint.",
            self._checkpoint_time,
        )


def _of_log(log: MetricsLog) -> Iterator[Metric]:
    yield gauge(
        "rrl_learner_updates_per_second",
        "Gradient steps per second over the last stretch of updates.",
        log.updates_per_second,
    )
    yield gauges(
        "rrl_learner_loss",
        "Mean of a term's unweighted loss over the last stretch of updates.",
        "term",
        log.losses,
    )
    yield gauge(
        "rrl_learner_answered_share",
        "Share of rows that the teacher has labelled, over the last stretch of updates.",
        log.answered_share,
    )


def _of_progress(run: ShownRun, progress: Progress) -> Iterator[Metric]:
    yield gauges(
        "rrl_learner_stage",
        "1 for the stage that the run is in.",
        "stage",
        {stage.name.lower(): float(stage is progress.stage) for stage in Stage},
    )
    yield gauges(
        "rrl_learner_progress",
        "Clocks of the run; they decrease when it returns to a checkpoint.",
        "what",
        {name: getattr(progress, name) for name in CLOCKS},
    )
    yield gauges(
        "rrl_learner_targets",
        "Targets of the run's clocks.",
        "what",
        {**dataclasses.asdict(run.targets), "actor_steps": run.actor_steps_target},
    )
    yield gauge(
        "rrl_learner_awaits_evaluation",
        "1 while the run waits for an evaluation, with nothing else left to do.",
        float(run.awaits_evaluation()),
    )
    for name, text in _SHOWN.items():
        yield gauge(name, text, getattr(progress, name.removeprefix(_PREFIX)))
    yield gauge(
        "rrl_learner_normalised_score",
        "The student's return on the scale where random play is 0 and the teacher 1.",
        score_if_known(progress.student_return, progress.random_return, progress.teacher_return),
    )

"""The learner's Prometheus metrics.

Most are read from the run's progress at each scrape. Counters never fall, though the learner may be
rebuilt in its process and its clocks go back to a checkpoint.
"""

from __future__ import annotations

import dataclasses
import threading
from collections.abc import Iterator

from prometheus_client import CollectorRegistry
from prometheus_client.core import Metric
from prometheus_client.registry import Collector

from rrl_agents.scores import score_if_known
from rrl_agents.types import Progress, Stage
from services.learner.metrics_log import MetricsLog
from services.learner.run_clock import RunClock
from services.learner.stages import StageTargets
from services.shared.metrics import CumulativeIncrease, counter, counters, gauge, gauges


@dataclasses.dataclass(frozen=True, kw_only=True)
class _Training:
    """What a scrape reads."""

    clock: RunClock
    log: MetricsLog
    targets: StageTargets
    actor_steps_target: int
    frames_per_step: int


class LearnerMetrics(Collector):
    """The learner's part of a page; every method may be called from any thread.

    Args:
        registry: Holds no other learner's metrics.
    """

    def __init__(self, registry: CollectorRegistry) -> None:
        self._lock = threading.Lock()
        self._training: _Training | None = None
        clocks = ("learner_updates", "teacher_steps", "actor_steps")
        self._clocks = {name: CumulativeIncrease() for name in clocks}
        self._sample_wait_seconds = 0.0
        self._checkpoints = {"written": 0, "failed": 0}
        self._checkpoint_number = 0
        self._checkpoint_seconds: float | None = None
        self._checkpoint_time: float | None = None
        self._replay_losses = self._replay_outages = 0
        registry.register(self)

    def attach(
        self,
        clock: RunClock,
        log: MetricsLog,
        *,
        targets: StageTargets,
        actor_steps_target: int,
        frames_per_step: int,
    ) -> None:
        """Report a learner from now on: the first of the process, or the next after a loss.

        Args:
            clock: Its progress, restored.
            log: Its rates and losses.
            targets: How far each stage goes.
            actor_steps_target: Steps that the students are to play.
            frames_per_step: Emulator frames of one step.
        """
        with self._lock:
            if self._training is not None:
                self._see(self._training.clock.progress)
            for name, rises in self._clocks.items():
                rises.rebase(getattr(clock.progress, name))
            self._training = _Training(
                clock=clock,
                log=log,
                targets=targets,
                actor_steps_target=actor_steps_target,
                frames_per_step=frames_per_step,
            )

    def sampled(self, seconds: float) -> None:
        """Count the wait for a batch."""
        self._sample_wait_seconds += seconds

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

    def replay_lost(self) -> None:
        """Count a loss of replay, after which the learner resumes from its newest checkpoint."""
        self._replay_losses += 1

    def waited_for_replay(self) -> None:
        """Count an outage of replay."""
        self._replay_outages += 1

    def collect(self) -> Iterator[Metric]:
        """The page's content."""
        with self._lock:
            training = self._training
            progress = training.clock.progress if training is not None else None
            if progress is not None:
                self._see(progress)
        yield from self._counted(training.frames_per_step if training is not None else 1)
        if training is not None and progress is not None:
            yield from _rates(training)
            yield from _clocks(training, progress)
            yield from _scores(progress)

    def _see(self, progress: Progress) -> None:
        for name, rises in self._clocks.items():
            rises.observe(getattr(progress, name))

    def _counted(self, frames_per_step: int) -> Iterator[Metric]:
        totals = {name: rises.total for name, rises in self._clocks.items()}
        yield counter("rrl_learner_updates", "Gradient steps.", totals["learner_updates"])
        steps = {"teacher": totals["teacher_steps"], "student": totals["actor_steps"]}
        yield counters("rrl_learner_agent_steps", "Decisions put into replay.", "player", steps)
        frames = {player: count * frames_per_step for player, count in steps.items()}
        yield counters("rrl_learner_frames", "Emulator frames of these.", "player", frames)
        yield counter(
            "rrl_learner_sample_wait_seconds",
            "Seconds that updates waited for a batch.",
            self._sample_wait_seconds,
        )
        yield counter(
            "rrl_learner_replay_losses",
            "Times that replay restarted with other tables, and the run went back to a checkpoint.",
            self._replay_losses,
        )
        yield counter(
            "rrl_learner_replay_outages",
            "Times that replay was unreachable, and the learner waited.",
            self._replay_outages,
        )
        yield counters("rrl_learner_checkpoints", "Checkpoints.", "result", self._checkpoints)
        yield gauge("rrl_learner_checkpoint_number", "Newest checkpoint.", self._checkpoint_number)
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


def _rates(training: _Training) -> Iterator[Metric]:
    log = training.log
    yield gauge(
        "rrl_learner_updates_per_second",
        "Gradient steps per second over the last stretch of them.",
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
        "Share of rows with an answer of the teacher over the last stretch of updates.",
        log.answered_share,
    )


def _clocks(training: _Training, progress: Progress) -> Iterator[Metric]:
    yield gauges(
        "rrl_learner_stage",
        "1 for the stage that the run is in.",
        "stage",
        {stage.name.lower(): float(stage is progress.stage) for stage in Stage},
    )
    yield gauges(
        "rrl_learner_progress",
        "Clocks of the run; they fall when it goes back to a checkpoint.",
        "what",
        {
            "teacher_steps": progress.teacher_steps,
            "offline_updates": progress.offline_updates,
            "online_updates": progress.online_updates,
            "actor_steps": progress.actor_steps,
        },
    )
    yield gauges(
        "rrl_learner_targets",
        "How far the run goes.",
        "what",
        {**dataclasses.asdict(training.targets), "actor_steps": training.actor_steps_target},
    )
    yield gauge(
        "rrl_learner_weights_version", "Newest published weights.", progress.weights_version
    )
    yield gauge(
        "rrl_learner_weaning_weight",
        "Weight of the teacher's term, 0 to 1.",
        progress.weaning_weight,
    )


def _scores(progress: Progress) -> Iterator[Metric]:
    yield gauge(
        "rrl_learner_student_return",
        "Mean return of the student's newest evaluation.",
        progress.student_return,
    )
    yield gauge(
        "rrl_learner_teacher_return", "Mean return of the teacher.", progress.teacher_return
    )
    yield gauge("rrl_learner_random_return", "Mean return of random play.", progress.random_return)
    yield gauge(
        "rrl_learner_normalised_score",
        "The student's return on a scale of 0, random play, to 1, the teacher.",
        _normalised(progress),
    )


def _normalised(progress: Progress) -> float | None:
    return score_if_known(progress.student_return, progress.random_return, progress.teacher_return)

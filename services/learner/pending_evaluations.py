"""Evaluations of a run: which weights are due, and which returns the evaluator reported.

The training loop requests an evaluation of a snapshot; the evaluator's reports arrive on gRPC
threads. Each report updates the progress, which weaning reads, and adds a line to the run's
records.

A resumed run weans exactly as an uninterrupted one. A checkpoint keeps the weights whose evaluation
is pending (`state`), and after a resume these are due again. If a result arrived after the
checkpoint, it is read from the records; only weights without a result are played again.
"""

from __future__ import annotations

import dataclasses
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import fmean

from rrl_agents.types import Progress, Stage
from services.learner.checkpoint_records import RunRecord
from services.learner.codec import EvaluationReport
from services.learner.evaluation_records import (
    CLOCKS,
    EvaluationRecord,
    append_record,
    count_lines,
    read_records,
)
from services.learner.published_weights import PublishedWeights, Snapshot
from services.learner.run_clock import RunClock

EVALUATIONS_FILE = "metrics/evaluations.jsonl"
"""Path of the records in a run's folder."""


class UnknownWeights(Exception):
    """A report is about weights that are not due for evaluation, or no longer."""


class PendingEvaluations:
    """Publishes weights to evaluate and records their returns; safe to use from any thread.

    Args:
        run: Folder of the run, for the records.
        clock: Progress of the run.
        session: Name of this learner's session.

    Attributes:
        session: Name of this learner's session.
        weights: The weights that the evaluator fetches.
        final_is_done: Whether the result of the final weights has been recorded.
        newest_metrics: Name of a metric of the environment -> its mean in the student's newest
            evaluation of this session.
    """

    def __init__(self, run: Path, clock: RunClock, session: str) -> None:
        self._records = run / EVALUATIONS_FILE
        self._clock = clock
        self.session = session
        self._lock = threading.Lock()
        # By version, in the order of the requests. At most two: an evaluator finishes the weights
        # that it is playing, then takes the newest published ones.
        self._due: dict[int, Snapshot] = {}
        # Version that the last session's evaluator was playing; it comes before newer ones.
        self._played_before: int | None = None
        self.final_is_done = False
        self.newest_metrics: Mapping[str, float] = {}
        self.weights = PublishedWeights()
        self._recall_teacher()

    @property
    def is_pending(self) -> bool:
        """Whether any weights have no result yet."""
        return bool(self._due)

    @property
    def newest(self) -> Snapshot | None:
        """The weights whose evaluation was requested last, if it has no result yet."""
        with self._lock:
            return next(reversed(self._due.values()), None)

    def resume(self, due: Sequence[Snapshot], lines: int) -> None:
        """Restore a checkpoint's state.

        If the records have results of the due weights, these count as in the last session. The
        remaining weights are published: first those that the evaluator was playing, then the next
        ones. Final weights replace the others.

        Args:
            due: The checkpoint's due weights.
            lines: `RunRecord.evaluation_lines` of the checkpoint; earlier lines are about other
                weights, even if the version is the same.

        Raises:
            UserError: the records are damaged.
        """
        with self._lock:
            recorded = read_records(self._records)[lines:] if due else ()
            left = [self._of_this_session(one) for one in due if not self._recall(one, recorded)]
            if self._clock.progress.stage is Stage.FINAL_EVALUATION:
                left = [one for one in left if one.final]
                # Final weights are requested when the stage starts: if they are not due, they have
                # their result.
                self.final_is_done = not left
            self._due = {one.version: one for one in left}
            if left:
                self._played_before = left[0].version
                self.weights.publish(left[0])

    def request(self, snapshot: Snapshot) -> None:
        """Request an evaluation; results of the weights being played are still accepted."""
        with self._lock:
            playing = self._played_before or self.weights.last_sent
            self._due = {
                version: one for version, one in self._due.items() if version == playing
            } | {snapshot.version: snapshot}
            if self._played_before is None or snapshot.final:
                self.weights.publish(snapshot)

    def record(self, report: EvaluationReport) -> Progress:
        """Record the evaluator's returns.

        Returns:
            The progress after the report.

        Raises:
            UnknownWeights: the weights are not due.
        """
        with self._lock:
            if report.weights_version == 0:
                progress = self._clock.change(teacher_return=report.mean_return)
                self._append(report, progress, self._clock.seconds, played=progress)
                return progress
            snapshot = self._due_for(report)
            progress = self._clock.take_return(report.mean_return, snapshot.progress)
            # If the disk is full, this raises; weaning has the result already, and the evaluator
            # may report it again.
            self._append(
                report,
                progress,
                snapshot.seconds,
                played=snapshot.progress,
                final=snapshot.final,
            )
            self._remove(snapshot)
            self.newest_metrics = report.mean_metrics
            # Set this last: the run may finish as soon as it is true.
            self.final_is_done |= snapshot.final
            return progress

    def state(self) -> tuple[RunRecord, tuple[Snapshot, ...]]:
        """The content of a checkpoint at this moment; no result arrives while it is read.

        Returns:
            The record of a checkpoint, whose progress includes all results so far; and the weights
            without a result, in the order they were requested.
        """
        with self._lock:
            due = tuple(self._due.values())
            record = RunRecord(
                progress=self._clock.progress,
                seconds=self._clock.seconds,
                due=tuple(one.record for one in due),
                evaluation_lines=count_lines(self._records),
            )
            return record, due

    def _due_for(self, report: EvaluationReport) -> Snapshot:
        version = report.weights_version
        if version not in self._due:
            raise UnknownWeights(
                f"weights {version} are not due for evaluation; fetch those that are"
            )
        snapshot = self._due[version]
        # In a session whose work was lost, the same version may have been other weights.
        if report.session and report.session not in snapshot.sessions:
            raise UnknownWeights(
                f"weights {version} of an earlier session are not due for evaluation; fetch those "
                "that are"
            )
        return snapshot

    def _remove(self, snapshot: Snapshot) -> None:
        """Publish the weights that are due next, so that none are played twice.

        An evaluator plays weights in order, so results of earlier requests will not arrive.
        """
        requested = list(self._due)
        later = requested[requested.index(snapshot.version) + 1 :]
        self._due = {version: self._due[version] for version in later}
        self._played_before = None
        newest = self._due[later[-1]] if later else None
        if self.weights.version != (newest.version if newest is not None else 0):
            self.weights.publish(newest)

    def _recall(self, snapshot: Snapshot, recorded: Sequence[EvaluationRecord]) -> bool:
        """Take the result of weights from the records; returns whether there is one."""
        for record in recorded:
            if (
                record.player == "student"
                and record.weights_version == snapshot.version
                and record.final == snapshot.final
            ):
                self._clock.take_return(fmean(record.episode_returns), snapshot.progress)
                return True
        return False

    def _of_this_session(self, snapshot: Snapshot) -> Snapshot:
        return dataclasses.replace(snapshot, sessions=(*snapshot.sessions, self.session))

    def _recall_teacher(self) -> None:
        """Take the teacher's result from the records, if it arrived after the newest checkpoint.

        Raises:
            UserError: the records are damaged.
        """
        if self._clock.progress.teacher_return is not None:
            return
        played = [one for one in read_records(self._records) if one.player == "teacher"]
        if played:
            self._clock.change(teacher_return=fmean(played[-1].episode_returns))

    def _append(
        self,
        report: EvaluationReport,
        progress: Progress,
        seconds: float,
        *,
        played: Progress,
        final: bool = False,
    ) -> None:
        """Add a line to the records.

        Args:
            report: Returns of the evaluation.
            progress: Progress after the report, for the weaning weight.
            seconds: Wall-clock seconds of the run at the clocks of `played`.
            played: Clocks when the weights that played were published.
            final: Whether the evaluation of these weights ends the run.
        """
        append_record(
            self._records,
            EvaluationRecord(
                player="teacher" if report.weights_version == 0 else "student",
                weights_version=report.weights_version,
                stage=played.stage.name.lower(),
                **{name: getattr(played, name) for name in CLOCKS},
                weaning_weight=progress.weaning_weight,
                episode_returns=report.episode_returns,
                episode_steps=report.episode_steps,
                episode_metrics=report.episode_metrics,
                epsilon=report.epsilon,
                seconds_since_start=seconds,
                final=final,
            ),
        )

"""Evaluations of a run: which weights are due, and what came back.

The training loop offers snapshots; the evaluator's reports come in on gRPC threads. Each report
becomes progress (weaning reads it) and a line in the run's records.

A run that resumes weans as one that was never interrupted: a checkpoint keeps the weights whose
evaluation had not come back (`noted`), and these alone are due again. What came back after the
checkpoint is on disk and taken from there; only what did not is played again.
"""

from __future__ import annotations

import dataclasses
import threading
from collections.abc import Sequence
from pathlib import Path
from statistics import fmean

from rrl_agents.types import Progress, Stage
from services.learner.codec import EvaluationReport
from services.learner.evaluation_records import (
    EvaluationRecord,
    append_record,
    count_lines,
    read_records,
)
from services.learner.run_clock import RunClock
from services.learner.weight_store import Offer, Snapshot

EVALUATIONS_FILE = "metrics/evaluations.jsonl"
"""The records, under a run's folder."""


class UnknownWeights(Exception):
    """An evaluation names weights that are not, or no longer, due."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class DeskNote:
    """What a checkpoint keeps of the evaluations, and the clocks of the same moment.

    Attributes:
        progress: Clocks and returns, with every result that is not due any more taken in.
        seconds: Wall-clock seconds of all sessions of the run.
        due: Weights whose result has not come back, in the order they were asked for.
        lines: Lines of the records' file.
    """

    progress: Progress
    seconds: float
    due: tuple[Snapshot, ...]
    lines: int


class EvaluationDesk:
    """Hands out weights to evaluate and takes returns in; safe to use from any thread.

    Args:
        run: Run directory, for the records.
        clock: Progress of the run.
        session: Of this learner.
    """

    def __init__(self, run: Path, clock: RunClock, session: str) -> None:
        self._records = run / EVALUATIONS_FILE
        self._clock = clock
        self._session = session
        self._lock = threading.Lock()
        # By version, in the order they were asked for. At most two: an evaluator plays weights to
        # their end, and then the newest on offer.
        self._due: dict[int, Snapshot] = {}
        # What the last session's evaluator was playing: it is played before anything newer.
        self._played_before: int | None = None
        self._final_is_done = False
        self.offer = Offer()
        self._recall_teacher()

    @property
    def final_is_done(self) -> bool:
        """Whether the evaluation of the final weights has been taken in."""
        return self._final_is_done

    @property
    def is_waiting(self) -> bool:
        """Whether weights are being evaluated, or are to be."""
        return bool(self._due)

    def resume(self, due: Sequence[Snapshot], lines: int) -> None:
        """Go on from a checkpoint's note.

        Results of these weights that are on disk are taken in, as they were in the last session.
        What is left is offered: first what the evaluator was playing, then what it would have
        played next. Final weights supersede the others.

        Args:
            due: As noted.
            lines: As noted. Lines before are of other weights, whatever version they name.

        Raises:
            UserError: the records are damaged.
        """
        with self._lock:
            recorded = read_records(self._records)[lines:] if due else ()
            left = [self._again(one) for one in due if not self._recall(one, recorded)]
            if self._clock.progress.stage is Stage.FINAL_EVALUATION:
                left = [one for one in left if one.final]
                # Final weights are asked for as the phase begins: where they are not due, they
                # have been played.
                self._final_is_done = not left
            self._due = {one.version: one for one in left}
            if left:
                self._played_before = left[0].version
                self.offer.publish(left[0])

    def recall_final(self) -> None:
        """Take the last result of a run from its records, for a checkpoint without a note.

        Raises:
            UserError: the records are damaged.
        """
        with self._lock:
            progress = self._clock.progress
            for record in read_records(self._records):
                if record.final and record.learner_updates == progress.learner_updates:
                    self._clock.take_return(fmean(record.episode_returns), progress)
                    self._final_is_done = True
                    return

    def ask_for(self, snapshot: Snapshot) -> None:
        """Have weights evaluated; those that are being played are still taken."""
        with self._lock:
            playing = self._played_before or self.offer.handed_out
            self._due = {
                version: one for version, one in self._due.items() if version == playing
            } | {snapshot.version: snapshot}
            if self._played_before is None or snapshot.final:
                self.offer.publish(snapshot)

    def take(self, report: EvaluationReport) -> Progress:
        """Take returns in.

        Returns:
            The progress after it.

        Raises:
            UnknownWeights: they are of weights that are not due.
        """
        with self._lock:
            if report.weights_version == 0:
                return self._take_teacher(report)
            snapshot = self._due_for(report)
            progress = self._clock.take_return(report.mean_return, snapshot.progress)
            # Where the disk is full, weaning has still heard of it, and the same report may come
            # again.
            self._append(
                report,
                played=snapshot.progress,
                seconds=snapshot.seconds,
                weaning_weight=progress.weaning_weight,
                final=snapshot.final,
            )
            self._remove(snapshot)
            # Set last: the run may finish as soon as it is.
            self._final_is_done |= snapshot.final
            return progress

    def note(self) -> DeskNote:
        """What a checkpoint of this moment is to keep; no result comes in between."""
        with self._lock:
            return DeskNote(
                progress=self._clock.progress,
                seconds=self._clock.seconds,
                due=tuple(self._due.values()),
                lines=count_lines(self._records),
            )

    def _take_teacher(self, report: EvaluationReport) -> Progress:
        progress = self._clock.take_teacher_return(report.mean_return)
        self._append(
            report,
            played=progress,
            seconds=self._clock.seconds,
            weaning_weight=progress.weaning_weight,
            final=False,
        )
        return progress

    def _due_for(self, report: EvaluationReport) -> Snapshot:
        version = report.weights_version
        if version not in self._due:
            raise UnknownWeights(
                f"weights {version} are not due for evaluation; ask for those that are"
            )
        snapshot = self._due[version]
        # The same version of a session that the run has gone back behind is of other weights.
        if report.session and report.session not in snapshot.sessions:
            raise UnknownWeights(
                f"weights {version} of an earlier session are not due for evaluation; ask for "
                "those that are"
            )
        return snapshot

    def _remove(self, snapshot: Snapshot) -> None:
        """Offer what is due now: whoever asks anew must not play what has been played.

        An evaluator plays one after the other: what was asked for earlier does not come any more.
        """
        asked = list(self._due)
        later = asked[asked.index(snapshot.version) + 1 :]
        self._due = {version: self._due[version] for version in later}
        self._played_before = None
        newest = self._due[later[-1]] if later else None
        if self.offer.version != (newest.version if newest is not None else 0):
            self.offer.publish(newest)

    def _recall(self, snapshot: Snapshot, recorded: Sequence[EvaluationRecord]) -> bool:
        """Take the result of weights from records that followed their note; whether it was there.

        It came back in a session whose later checkpoints, if any, are not resumed from.
        """
        for record in recorded:
            if (
                record.player == "student"
                and record.weights_version == snapshot.version
                and record.final == snapshot.final
            ):
                self._clock.take_return(fmean(record.episode_returns), snapshot.progress)
                return True
        return False

    def _again(self, snapshot: Snapshot) -> Snapshot:
        return dataclasses.replace(snapshot, sessions=(*snapshot.sessions, self._session))

    def _recall_teacher(self) -> None:
        """Take the teacher's result from the records where it came after the newest checkpoint.

        Raises:
            UserError: the records are damaged.
        """
        if self._clock.progress.teacher_return is not None:
            return
        played = [one for one in read_records(self._records) if one.player == "teacher"]
        if played:
            self._clock.take_teacher_return(fmean(played[-1].episode_returns))

    def _append(
        self,
        report: EvaluationReport,
        *,
        played: Progress,
        seconds: float,
        weaning_weight: float,
        final: bool,
    ) -> None:
        """Write a line of the records: the clocks are of the weights that played."""
        append_record(
            self._records,
            EvaluationRecord(
                player="teacher" if report.weights_version == 0 else "student",
                weights_version=report.weights_version,
                stage=played.stage.name.lower(),
                teacher_steps=played.teacher_steps,
                offline_updates=played.offline_updates,
                online_updates=played.online_updates,
                actor_steps=played.actor_steps,
                weaning_weight=weaning_weight,
                episode_returns=report.episode_returns,
                episode_steps=report.episode_steps,
                epsilon=report.epsilon,
                seconds_since_start=seconds,
                final=final,
            ),
        )

"""Evaluations of a run: which weights are due, and what came back.

The training loop offers snapshots; the evaluator's reports come in on gRPC threads. Each report
becomes progress (weaning reads it) and a line in the run's records.
"""

from __future__ import annotations

from pathlib import Path
from statistics import fmean

from rrl_agents.types import Progress, Stage
from services.learner.codec import EvaluationReport
from services.learner.evaluation_records import EvaluationRecord, append_record, read_records
from services.learner.run_clock import RunClock
from services.learner.weight_store import Offer, Snapshot

EVALUATIONS_FILE = "metrics/evaluations.jsonl"
"""The records, under a run's folder."""


class UnknownWeights(Exception):
    """An evaluation names weights that are not, or no longer, due."""


class EvaluationDesk:
    """Hands out weights to evaluate and takes returns in.

    Args:
        run: Run directory, for the records.
        clock: Progress of the run.
    """

    def __init__(self, run: Path, clock: RunClock) -> None:
        self._records = run / EVALUATIONS_FILE
        self._clock = clock
        # Version -> the clocks of these weights, and whether they are the last.
        self._due: dict[int, tuple[Progress, bool]] = {}
        self._final_is_done = False
        self.offer = Offer()
        self._recall_final()

    @property
    def final_is_done(self) -> bool:
        """Whether the evaluation of the final weights has been taken in."""
        return self._final_is_done

    @property
    def is_waiting(self) -> bool:
        """Whether weights are being evaluated, or are to be."""
        return bool(self._due)

    def _recall_final(self) -> None:
        """Take the run's last result from its records, if it came after the last commit."""
        progress = self._clock.progress
        if progress.stage is not Stage.FINAL_EVALUATION:
            return
        for record in read_records(self._records):
            if record.final and record.learner_updates == progress.learner_updates:
                self._clock.take_return(
                    fmean(record.episode_returns), of_teacher=False, learned_online=True
                )
                self._final_is_done = True
                return

    def ask_for(self, snapshot: Snapshot) -> None:
        """Have weights evaluated; older ones that are being played are still taken."""
        self._due[snapshot.version] = (snapshot.progress, snapshot.final)
        self.offer.publish(snapshot)

    def take(self, report: EvaluationReport) -> Progress:
        """Take returns in.

        Returns:
            The progress after it.

        Raises:
            UnknownWeights: they are of weights that were not due in this session.
        """
        of_teacher = report.weights_version == 0
        if of_teacher:
            played, final = self._clock.progress, False
        elif report.weights_version in self._due:
            played, final = self._due[report.weights_version]
        else:
            raise UnknownWeights(
                f"weights {report.weights_version} are not due for evaluation; "
                "ask for those that are"
            )
        progress = self._clock.take_return(
            report.mean_return, of_teacher=of_teacher, learned_online=played.online_updates > 0
        )
        # Where the disk is full, weaning has still heard of it, and the same report may come again.
        append_record(
            self._records,
            EvaluationRecord(
                player="teacher" if of_teacher else "student",
                weights_version=report.weights_version,
                # The clocks of the weights that played, not of the moment they were reported.
                stage=played.stage.name.lower(),
                teacher_steps=played.teacher_steps,
                offline_updates=played.offline_updates,
                online_updates=played.online_updates,
                actor_steps=played.actor_steps,
                weaning_weight=progress.weaning_weight,
                episode_returns=report.episode_returns,
                episode_steps=report.episode_steps,
                epsilon=report.epsilon,
                seconds_since_start=self._clock.seconds,
                final=final,
            ),
        )
        self._due.pop(report.weights_version, None)
        # Set last: the run may finish as soon as it is.
        self._final_is_done |= final
        return progress

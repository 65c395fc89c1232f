"""The part of a run that the gRPC server's threads may use."""

from __future__ import annotations

from rrl_agents.reincarnation.recipe import Recipe
from rrl_agents.types import Progress
from services.learner.awaited import Awaited, awaited
from services.learner.codec import EvaluationReport, progress_to_proto
from services.learner.metrics_log import MetricsLog
from services.learner.pending_evaluations import PendingEvaluations
from services.learner.published_weights import PublishedWeights
from services.learner.run_checkpoints import RunCheckpoints
from services.learner.run_clock import RunClock
from services.learner.stage_transitions import StageTargets
from services.learner.v1 import learner_pb2


class ServedRun:
    """A run as `weight_server` serves it.

    Args:
        targets: How far each stage goes.
        recipe: The method.
        clock: Progress of the run.
        acting: Weights for actors.
        evaluations: Pending evaluations.
        checkpoints: The run's checkpoints.
        curves: Rates and losses.
        pauses: Whether updates wait for each evaluation that is due.
        episode_steps: As in `LearnerConfig`.

    Attributes:
        session: Name of the session, which changes whenever a learner resumes the run.
        acting: Weights for actors.
        evaluation: Weights for the evaluator.
        actor_steps_target: Steps that the students play in the whole run.
    """

    def __init__(
        self,
        targets: StageTargets,
        recipe: Recipe,
        clock: RunClock,
        *,
        acting: PublishedWeights,
        evaluations: PendingEvaluations,
        checkpoints: RunCheckpoints,
        curves: MetricsLog,
        pauses: bool,
        episode_steps: int | None = None,
    ) -> None:
        self._targets = targets
        self._clock = clock
        self._evaluations = evaluations
        self._checkpoints = checkpoints
        self._curves = curves
        self._pauses = pauses
        self._episode_steps = episode_steps
        self.session = evaluations.session
        self.acting = acting
        self.evaluation = evaluations.weights
        q_learning = recipe.q_learning
        learned_from = targets.online_updates * q_learning.update_period
        self.actor_steps_target = q_learning.min_replay_size + learned_from

    @property
    def progress(self) -> Progress:
        """Clocks and returns of the run."""
        return self._clock.progress

    @property
    def awaited(self) -> Awaited:
        """The evaluation that the run waits for now, if any."""
        return awaited(self.progress, self._targets, self._evaluations.newest, pauses=self._pauses)

    def report_progress(self) -> learner_pb2.GetProgressResponse:
        """Progress with targets, rates and losses."""
        saved, waits_for = self._checkpoints.saved, self.awaited
        return learner_pb2.GetProgressResponse(
            progress=progress_to_proto(self.progress),
            teacher_steps_target=self._targets.teacher_steps,
            offline_updates_target=self._targets.offline_updates,
            actor_steps_target=self.actor_steps_target,
            updates_per_second=self._curves.updates_per_second,
            losses=self._curves.losses,
            seconds=self._clock.seconds,
            saved=None if saved is None else progress_to_proto(saved),
            checkpoint_failure=self._checkpoints.failure,
            awaited_updates=waits_for.updates,
            awaits_teacher_return=waits_for.teacher,
            evaluation_metrics=self._evaluations.newest_metrics,
            episode_steps=self._episode_steps or 0,
        )

    def take_evaluation(self, report: EvaluationReport) -> Progress:
        """Record returns: progress, weaning, and a line in the run's records.

        Raises:
            UnknownWeights: the weights are not due in this session.
        """
        return self._evaluations.record(report)

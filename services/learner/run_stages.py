"""Takes a run through its stages, and says when its student is evaluated."""

from __future__ import annotations

import logging

from rrl_agents.scores import check_scale
from rrl_agents.types import Progress, Stage
from services.learner.config import LearnerConfig
from services.learner.evaluation_schedule import EvaluationSchedule
from services.learner.run_clock import RunClock
from services.learner.stages import next_stage
from services.shared.errors import UserError


class RunStages:
    """The stages of one run.

    Args:
        config: Targets of the stages, and periods of the evaluations.
        clock: Progress of the run.
    """

    def __init__(self, config: LearnerConfig, clock: RunClock) -> None:
        self._targets = config.targets
        self._clock = clock
        self.evaluations = EvaluationSchedule(
            targets=config.targets,
            offline_period=config.offline_evaluation_period,
            online_period=config.online_evaluation_period,
        )

    def advance(self, *, last_evaluation_done: bool) -> Stage | None:
        """Enter the stage that the clocks call for.

        Args:
            last_evaluation_done: Whether the final weights' result is there.

        Returns:
            The stage that the run has just entered; None where it stays in the present one.

        Raises:
            UserError: the teacher is no better than random play.
        """
        progress = self._clock.progress
        stage = next_stage(progress, self._targets, last_evaluation_done=last_evaluation_done)
        if stage is progress.stage:
            return None
        _check_scale(progress)
        logging.getLogger(__name__).info("%s is over: %s", progress.stage.name, stage.name)
        self._clock.enter(stage)
        return stage


def _check_scale(progress: Progress) -> None:
    """Refuse a measured teacher no better than random play: scores would have no meaning.

    Raises:
        UserError: the teacher's return is not above the random policy's.
    """
    if progress.teacher_return is None:
        return
    try:
        check_scale(progress.random_return, progress.teacher_return)
    except ValueError as error:
        raise UserError(f"{error}, in another run") from error

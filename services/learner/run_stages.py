"""Moves a run through its stages, and decides when its student is evaluated."""

from __future__ import annotations

import logging

from rrl_agents.scores import check_scale
from rrl_agents.types import Progress, Stage
from services.learner.config import LearnerConfig
from services.learner.run_clock import RunClock
from services.learner.stage_transitions import next_stage
from services.shared.errors import UserError


class RunStages:
    """The stages of one run.

    Args:
        config: Targets of the stages, and periods of the evaluations.
        clock: Progress of the run.
    """

    def __init__(self, config: LearnerConfig, clock: RunClock) -> None:
        self._config = config
        self._clock = clock

    def advance(self, *, last_evaluation_done: bool) -> Stage | None:
        """Enter the stage that the clocks require.

        Args:
            last_evaluation_done: Whether the evaluation of the final weights has a result.

        Returns:
            The stage that the run has just entered; None if it stays in the present one.

        Raises:
            UserError: the teacher, once measured, is no better than random play, so that scores
                have no scale.
        """
        progress, targets = self._clock.progress, self._config.targets
        stage = next_stage(progress, targets, last_evaluation_done=last_evaluation_done)
        if stage is progress.stage:
            return None
        if progress.teacher_return is not None:
            try:
                check_scale(progress.random_return, progress.teacher_return)
            except ValueError as error:
                raise UserError(f"{error}, in another run") from error
        logging.getLogger(__name__).info("%s has ended; now %s", progress.stage.name, stage.name)
        self._clock.change(stage=stage)
        return stage

    def evaluation_is_due(self, progress: Progress) -> bool:
        """Whether the last update completes an evaluation period.

        False at the end of a stage, as the next stage starts with an evaluation.
        """
        done, target, period = self._updates(progress)
        return done % period == 0 and done < target

    def next_block(self, progress: Progress) -> range:
        """The updates of the next block, which ends early at an evaluation or the stage's end.

        Returns:
            The numbers of the updates, counted over all stages from 0; empty at the end of the
            stage.
        """
        done, target, period = self._updates(progress)
        left = min(target - done, period - done % period)
        first = progress.learner_updates
        return range(first, first + min(left, self._config.updates_per_block))

    def _updates(self, progress: Progress) -> tuple[int, int, int]:
        """Updates of the present stage so far, their target, and the evaluation period."""
        config, targets = self._config, self._config.targets
        if progress.stage is Stage.OFFLINE:
            return (
                progress.offline_updates,
                targets.offline_updates,
                config.offline_evaluation_period,
            )
        return progress.online_updates, targets.online_updates, config.online_evaluation_period

"""When the student is evaluated: decided by the updates of a stage alone."""

from __future__ import annotations

import dataclasses

from rrl_agents.types import Progress, Stage
from services.learner.stages import StageTargets


@dataclasses.dataclass(frozen=True, kw_only=True)
class EvaluationSchedule:
    """Periods of the evaluations.

    Attributes:
        targets: How far each stage goes.
        offline_period: Updates between two evaluations in the offline stage.
        online_period: Updates between two evaluations in the online stage.
    """

    targets: StageTargets
    offline_period: int
    online_period: int

    def is_due(self, progress: Progress) -> bool:
        """Whether an update completes a period; a stage's end counts as the next one's start."""
        if progress.stage is Stage.OFFLINE:
            done, target = progress.offline_updates, self.targets.offline_updates
            period = self.offline_period
        else:
            done, target = progress.online_updates, self.targets.online_updates
            period = self.online_period
        return done % period == 0 and done < target

    @staticmethod
    def is_due_on_entering(stage: Stage) -> bool:
        """Whether the first weights of a stage are evaluated."""
        return stage in (Stage.ONLINE, Stage.FINAL_EVALUATION)

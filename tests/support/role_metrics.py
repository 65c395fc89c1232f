"""The metrics pages of all roles, made as the roles make them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from prometheus_client import CollectorRegistry, Metric

from rrl_agents.types import Progress
from services.actor.behaviours import Annotator
from services.actor.metrics import ActorMetrics
from services.evaluator.metrics import EvaluatorMetrics
from services.learner.metrics import LearnerMetrics, ShownRun
from services.learner.metrics_log import MetricsLog
from services.learner.run_clock import RunClock
from services.learner.stage_transitions import StageTargets
from services.recorded_data.metrics import ImporterMetrics
from services.replay.config import ReplayConfig
from services.replay.item_layout import ItemLayout
from services.replay.metrics import ReplayMetrics
from services.replay.role import ReplayRole
from services.shared.metrics import make_registry
from services.teacher.metrics import TeacherMetrics
from services.tracking.run_tracking import RunTracking


def learner(registry: CollectorRegistry, folder: Path) -> None:
    log = MetricsLog(RunTracking((), folder), period_updates=1)
    log.close()
    LearnerMetrics(registry).attach(
        ShownRun(
            clock=RunClock(Progress(random_return=0.0, teacher_return=1.0), lambda _: 1.0),
            log=log,
            targets=StageTargets(teacher_steps=1, offline_updates=1, online_updates=1),
            actor_steps_target=1,
            frames_per_step=4,
            awaits_evaluation=lambda: False,
        )
    )


def replay(registry: CollectorRegistry, folder: Path) -> None:
    layout = ItemLayout(
        frame_shape=(2, 2), stack_size=1, n_step=1, num_actions=2, clips_rewards=False
    )
    config = ReplayConfig(layout=layout, checkpoint_root=folder)
    ReplayMetrics(registry).attach(ReplayRole(config, folder))


def actor(registry: CollectorRegistry, folder: Path) -> None:
    ActorMetrics(registry).attach(Annotator(), frames_per_step=1)


def evaluator(registry: CollectorRegistry, folder: Path) -> None:
    EvaluatorMetrics(registry)


def importer(registry: CollectorRegistry, folder: Path) -> None:
    ImporterMetrics(registry)


def teacher(registry: CollectorRegistry, folder: Path) -> None:
    TeacherMetrics(registry)


ROLES: dict[str, Callable[[CollectorRegistry, Path], None]] = {
    "learner": learner,
    "replay": replay,
    "actor": actor,
    "evaluator": evaluator,
    "importer": importer,
    "teacher": teacher,
}


def families(role: str, folder: Path) -> list[Metric]:
    """All of a page but information and the process's own."""
    # The teacher has an info of its own: the versions that it serves.
    registry = CollectorRegistry() if role == "teacher" else make_registry(role, "mine")
    ROLES[role](registry, folder)
    # An info is made a name by its ending, "_info".
    return [
        family
        for family in registry.collect()
        if not family.name.startswith("process_") and family.type != "info"
    ]

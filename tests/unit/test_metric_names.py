"""One scheme for the names of all metrics: `rrl_<role>_<what>_<unit>`, counters in `_total`."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import pytest
from prometheus_client import CollectorRegistry, Metric

from rrl_agents.types import Progress
from services.actor.behaviours import Annotator
from services.actor.metrics import ActorMetrics
from services.evaluator.metrics import EvaluatorMetrics
from services.learner.metrics import LearnerMetrics, ShownRun
from services.learner.metrics_log import MetricsLog
from services.learner.run_clock import RunClock
from services.learner.stages import StageTargets
from services.recorded_data.metrics import ImporterMetrics
from services.replay.config import ReplayConfig
from services.replay.item_layout import ItemLayout
from services.replay.metrics import ReplayMetrics
from services.replay.role import ReplayRole
from services.shared.metrics import make_registry
from services.teacher.metrics import TeacherMetrics

SERVICES = Path(__file__).parents[2] / "services"

ROLE_OF_ROOM = {"recorded_data": "importer"}
"""Of rooms whose role has another name."""

FOREIGN_UNITS = ("_ms", "_milliseconds", "_minutes", "_hours", "_kb", "_mib", "_percent")
"""Prometheus's base units are seconds and bytes; shares are of 1."""


def learner(registry: CollectorRegistry, folder: Path) -> None:
    log = MetricsLog(folder, period_updates=1, resumed_at=None)
    log.close()
    LearnerMetrics(registry).attach(
        ShownRun(
            clock=RunClock(Progress(random_return=0.0, teacher_return=1.0), lambda _: 1.0),
            log=log,
            targets=StageTargets(teacher_steps=1, offline_updates=1, online_updates=1),
            actor_steps_target=1,
            frames_per_step=4,
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
    # The teacher has an info of its own: the versions that it serves.
    registry = CollectorRegistry() if role == "teacher" else make_registry(role, "mine")
    ROLES[role](registry, folder)
    # An info is made a name by its ending, "_info".
    return [
        family
        for family in registry.collect()
        if not family.name.startswith("process_") and family.type != "info"
    ]


@pytest.mark.parametrize("role", ROLES)
def test_every_name_has_its_role_and_base_units(role: str, tmp_path: Path) -> None:
    found = families(role, tmp_path)
    assert found
    for family in found:
        assert re.fullmatch(rf"rrl_{role}(_[a-z0-9]+)+", family.name), family.name
        assert not family.name.endswith(FOREIGN_UNITS), family.name
        # Counters get their ending on the page.
        assert not family.name.endswith("_total"), family.name
        assert family.documentation.endswith("."), family.name


@pytest.mark.parametrize("role", ROLES)
def test_labels_are_few_and_small_words(role: str, tmp_path: Path) -> None:
    for family in families(role, tmp_path):
        for sample in family.samples:
            assert all(re.fullmatch("[a-z_]+", label) for label in sample.labels), sample
            assert len(sample.labels) <= 5


def test_no_name_is_anywhere_but_in_its_roles_module() -> None:
    """Whoever counts calls a method; a name spelt twice would come apart."""
    made = re.compile(
        r'(?:gauge|counter|histogram|Family|Counter|Gauge|Histogram)s?\(\s*f?"(rrl_\w+)'
    )
    for file in SERVICES.rglob("*.py"):
        if "cli" in file.parts:
            continue
        for name in made.findall(file.read_text(encoding="utf-8")):
            role = name.split("_")[1]
            assert file.name == "metrics.py", (file, name)
            assert role == ROLE_OF_ROOM.get(file.parent.name, file.parent.name), (file, name)

"""The learner's page, read by prometheus_client's own parser."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.parser import text_string_to_metric_families

from rrl_agents.training.update_step import UpdateMetrics
from rrl_agents.types import Progress, Stage
from services.learner.metrics import LearnerMetrics, ShownRun
from services.learner.metrics_log import MetricsLog
from services.learner.run_clock import RunClock
from services.learner.stage_transitions import StageTargets
from services.tracking.run_tracking import RunTracking

TARGETS = StageTargets(teacher_steps=100, offline_updates=20, online_updates=50)
FRAMES_PER_STEP = 4


class Pages:
    """A learner's metrics, and the page as it is now."""

    def __init__(self, folder: Path) -> None:
        self._registry = CollectorRegistry()
        self.metrics = LearnerMetrics(self._registry)
        self.log = MetricsLog(RunTracking((), folder), period_updates=2)
        self.awaits = False

    def attach(self, **progress: float) -> RunClock:
        """Show a run of this progress; gives its clock."""
        clock = RunClock(Progress(random_return=-1.0), lambda _: 0.25)
        known = {"random_return": -1.0, "weaning_weight": 0.25} | progress
        clock.restore(Progress(**known, stage=Stage.OFFLINE), seconds=0.0)  # type: ignore[arg-type]
        self.metrics.attach(
            ShownRun(
                clock=clock,
                log=self.log,
                targets=TARGETS,
                actor_steps_target=300,
                frames_per_step=FRAMES_PER_STEP,
                awaits_evaluation=lambda: self.awaits,
            )
        )
        return clock

    def read(self) -> dict[str | tuple[str, ...], float]:
        """Values by name, or by name and labels, without `rrl_learner_`."""
        families = text_string_to_metric_families(generate_latest(self._registry).decode())
        found: dict[str | tuple[str, ...], float] = {}
        for sample in (sample for family in families for sample in family.samples):
            name, labels = sample.name.removeprefix("rrl_learner_"), sample.labels.values()
            found[(name, *labels) if labels else name] = sample.value
        return found


@pytest.fixture
def pages(tmp_path: Path) -> Iterator[Pages]:
    made = Pages(tmp_path)
    yield made
    made.log.close()


def test_a_learner_that_is_not_yet_there_has_only_counters_at_zero(pages: Pages) -> None:
    page = pages.read()
    assert page["updates_total"] == page["checkpoints_total", "failed"] == 0
    assert page["checkpoint_number"] == 0
    assert not {"checkpoint_timestamp_seconds", "student_return", "weaning_weight"} & page.keys()


def test_the_page_tells_where_a_run_stands(pages: Pages) -> None:
    pages.attach(teacher_return=3.0, student_return=0.0, weights_version=7)
    page = pages.read()
    stages = {stage.name.lower(): page["stage", stage.name.lower()] for stage in Stage}
    assert [name for name, value in stages.items() if value] == ["offline"]
    assert page["weights_version"] == 7 and page["weaning_weight"] == 0.25
    # (0 - -1) / (3 - -1)
    assert page["normalised_score"] == 0.25
    assert page["targets", "online_updates"] == 50 and page["targets", "actor_steps"] == 300


@pytest.mark.parametrize("known", [{}, {"teacher_return": -1.0}])
def test_a_score_without_a_scale_is_not_on_the_page(pages: Pages, known: dict[str, float]) -> None:
    pages.attach(student_return=0.0, **known)
    page = pages.read()
    assert page["student_return"] == 0.0 and "normalised_score" not in page


def test_counters_begin_at_zero_and_go_on_where_the_run_goes_back(pages: Pages) -> None:
    first = pages.attach(offline_updates=10, teacher_steps=40)
    assert pages.read()["updates_total"] == 0
    first.count_updates()
    first.change(teacher_steps=100, actor_steps=5)
    # Lost replay: the next learner stands on the checkpoint at 10 updates, and plays on.
    pages.metrics.replay_losses += 1
    second = pages.attach(offline_updates=10, teacher_steps=40)
    second.count_updates()
    second.count_updates()
    second.change(teacher_steps=50, actor_steps=8)
    page = pages.read()
    assert page["updates_total"] == 1 + 2
    assert page["agent_steps_total", "teacher"] == 60 + 10
    assert page["agent_steps_total", "student"] == 5 + 8
    assert page["frames_total", "student"] == FRAMES_PER_STEP * 13
    assert page["progress", "offline_updates"] == 12
    assert page["replay_losses_total"] == 1


def test_checkpoints_and_waits_are_counted(pages: Pages) -> None:
    metrics = pages.metrics
    metrics.restored(4, 1000.0)
    assert pages.read()["checkpoint_timestamp_seconds"] == 1000.0
    metrics.checkpoint_saved(5, seconds=0.5, written_at=2000.0)
    metrics.checkpoint_failed()
    metrics.sample_wait_seconds += 0.75
    metrics.replay_outages += 1
    page = pages.read()
    assert (
        page.items()
        >= {
            ("checkpoints_total", "written"): 1,
            ("checkpoints_total", "failed"): 1,
            "checkpoint_number": 5,
            "checkpoint_seconds": 0.5,
            "checkpoint_timestamp_seconds": 2000.0,
            "sample_wait_seconds_total": 0.75,
            "replay_outages_total": 1,
        }.items()
    )


def test_the_page_says_when_a_run_waits_for_an_evaluation(pages: Pages) -> None:
    pages.attach()
    assert pages.read()["awaits_evaluation"] == 0
    pages.awaits = True
    assert pages.read()["awaits_evaluation"] == 1


def test_programs_that_xla_compiles_are_counted(pages: Pages) -> None:
    before = pages.read()["compilations_total"]
    # Numbers that no other test has: nothing of it is compiled yet.
    program = jax.jit(lambda x: 41.5 * x + 17.25)
    program(np.float32(1.0))
    program(np.float32(2.0))
    assert pages.read()["compilations_total"] == before + 1


def test_losses_and_answers_are_means_of_a_stretch(pages: Pages) -> None:
    run = pages.attach()
    assert "answered_share" not in pages.read()
    losses = jnp.array([1.0, 3.0])
    block = UpdateMetrics(
        loss=losses,
        term_losses={"td": losses},
        mean_best_value=jnp.zeros(2),
        priorities=jnp.zeros((2, 2)),
    )
    pages.log.add(run.progress, block, answered=[1.0, 0.5], learning_rate=0.1)
    page = pages.read()
    assert page["loss", "td"] == 2.0
    assert page["answered_share"] == 0.75
    assert page["updates_per_second"] > 0

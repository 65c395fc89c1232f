"""The learner's page, read by prometheus_client's own parser."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path

import jax.numpy as jnp
import pytest
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.parser import text_string_to_metric_families

from rrl_agents.training.update_step import UpdateMetrics
from rrl_agents.types import Progress, Stage
from services.learner.metrics import LearnerMetrics, ShownRun
from services.learner.metrics_log import MetricsLog
from services.learner.run_clock import RunClock
from services.learner.stages import StageTargets

TARGETS = StageTargets(teacher_steps=100, offline_updates=20, online_updates=50)
FRAMES_PER_STEP = 4


class Page:
    def __init__(self, registry: CollectorRegistry) -> None:
        families = text_string_to_metric_families(generate_latest(registry).decode())
        self._values = {
            (sample.name, *sample.labels.values()): sample.value
            for family in families
            for sample in family.samples
        }

    def __getitem__(self, key: str | tuple[str, ...]) -> float:
        name, *labels = (key,) if isinstance(key, str) else key
        return self._values[(f"rrl_learner_{name}", *labels)]

    def __contains__(self, name: str) -> bool:
        return (f"rrl_learner_{name}",) in self._values


@pytest.fixture
def log(tmp_path: Path) -> Iterator[MetricsLog]:
    with contextlib.closing(MetricsLog(tmp_path, period_updates=2, resumed_at=None)) as log:
        yield log


def clock(**progress: float) -> RunClock:
    made = RunClock(Progress(random_return=-1.0), lambda _: 0.25)
    known = {"random_return": -1.0, "weaning_weight": 0.25} | progress
    made.restore(Progress(**known, stage=Stage.OFFLINE), seconds=0.0)  # type: ignore[arg-type]
    return made


def attach(metrics: LearnerMetrics, run: RunClock, log: MetricsLog) -> None:
    metrics.attach(
        ShownRun(
            clock=run,
            log=log,
            targets=TARGETS,
            actor_steps_target=300,
            frames_per_step=FRAMES_PER_STEP,
        )
    )


def test_a_learner_that_is_not_yet_there_has_only_counters_at_zero() -> None:
    registry = CollectorRegistry()
    LearnerMetrics(registry)
    page = Page(registry)
    assert page["updates_total"] == page["checkpoints_total", "failed"] == 0
    assert page["checkpoint_number"] == 0
    for unknown in ("checkpoint_timestamp_seconds", "student_return", "weaning_weight"):
        assert unknown not in page


def test_the_page_tells_where_a_run_stands(log: MetricsLog) -> None:
    registry = CollectorRegistry()
    metrics = LearnerMetrics(registry)
    run = clock(teacher_return=3.0, student_return=0.0, weights_version=7)
    attach(metrics, run, log)
    page = Page(registry)
    stages = {stage.name.lower(): page["stage", stage.name.lower()] for stage in Stage}
    assert stages == {
        "collect": 0,
        "offline": 1,
        "online": 0,
        "final_evaluation": 0,
        "finished": 0,
    }
    assert page["weights_version"] == 7 and page["weaning_weight"] == 0.25
    # (0 - -1) / (3 - -1)
    assert page["normalised_score"] == 0.25
    assert page["targets", "online_updates"] == 50 and page["targets", "actor_steps"] == 300


@pytest.mark.parametrize("teacher_return", [None, -1.0])
def test_a_score_without_a_scale_is_not_on_the_page(
    log: MetricsLog, teacher_return: float | None
) -> None:
    registry = CollectorRegistry()
    metrics = LearnerMetrics(registry)
    known = {} if teacher_return is None else {"teacher_return": teacher_return}
    attach(metrics, clock(student_return=0.0, **known), log)
    page = Page(registry)
    assert page["student_return"] == 0.0 and "normalised_score" not in page


def test_counters_begin_at_zero_and_go_on_where_the_run_goes_back(log: MetricsLog) -> None:
    registry = CollectorRegistry()
    metrics = LearnerMetrics(registry)
    first = clock(offline_updates=10, teacher_steps=40)
    attach(metrics, first, log)
    assert Page(registry)["updates_total"] == 0
    first.count_update()
    first.change(teacher_steps=100, actor_steps=5)
    # Lost replay: the next learner stands on the checkpoint at 10 updates, and plays on.
    metrics.replay_losses += 1
    second = clock(offline_updates=10, teacher_steps=40)
    attach(metrics, second, log)
    second.count_update()
    second.count_update()
    second.change(teacher_steps=50, actor_steps=8)
    page = Page(registry)
    assert page["updates_total"] == 1 + 2
    assert page["agent_steps_total", "teacher"] == 60 + 10
    assert page["agent_steps_total", "student"] == 5 + 8
    assert page["frames_total", "student"] == FRAMES_PER_STEP * 13
    assert page["progress", "offline_updates"] == 12
    assert page["replay_losses_total"] == 1


def test_checkpoints_and_waits_are_counted(log: MetricsLog) -> None:
    registry = CollectorRegistry()
    metrics = LearnerMetrics(registry)
    metrics.restored(4, 1000.0)
    assert Page(registry)["checkpoint_timestamp_seconds"] == 1000.0
    metrics.checkpoint_saved(5, seconds=0.5, written_at=2000.0)
    metrics.checkpoint_failed()
    metrics.sample_wait_seconds += 0.75
    metrics.replay_outages += 1
    page = Page(registry)
    assert (page["checkpoints_total", "written"], page["checkpoints_total", "failed"]) == (1, 1)
    assert (page["checkpoint_number"], page["checkpoint_seconds"]) == (5, 0.5)
    assert page["checkpoint_timestamp_seconds"] == 2000.0
    assert page["sample_wait_seconds_total"] == 0.75
    assert page["replay_outages_total"] == 1


def test_losses_and_answers_are_means_of_a_stretch(log: MetricsLog) -> None:
    registry = CollectorRegistry()
    metrics = LearnerMetrics(registry)
    run = clock()
    attach(metrics, run, log)
    assert "answered_share" not in Page(registry)
    for loss, answered in ((1.0, 1.0), (3.0, 0.5)):
        update = UpdateMetrics(
            loss=jnp.float32(loss),
            term_losses={"td": jnp.float32(loss)},
            mean_best_value=jnp.float32(0.0),
            priorities=jnp.zeros(2),
        )
        log.add(run.progress, update, answered=answered, learning_rate=0.1)
    page = Page(registry)
    assert page["loss", "td"] == 2.0
    assert page["answered_share"] == 0.75
    assert page["updates_per_second"] > 0

"""What roles show to Prometheus while they work, over real Reverb and gRPC."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator
from pathlib import Path

import jax
import numpy as np
import pytest
from prometheus_client import CollectorRegistry

from rrl_agents.types import Progress, Stage
from services.actor.behaviours import Annotator
from services.actor.metrics import ActorMetrics
from services.actor.weight_poller import WeightPoller
from services.learner.client import LearnerClient
from services.learner.codec import EvaluationReport
from services.learner.published_weights import PublishedWeights, Snapshot
from services.learner.v1 import learner_pb2
from services.learner.weight_server import weight_server
from services.recorded_data.metrics import ImporterMetrics
from services.replay.config import ReplayConfig
from services.replay.connection import TableCounts
from services.replay.item_layout import ItemLayout, StepRow
from services.replay.metrics import ReplayMetrics, replay_ratio
from services.replay.role import ReplayRole
from services.replay.table_names import STUDENT_TABLE, TEACHER_TABLE
from services.replay.writer import ReplayWriter
from tests.support.patience import PATIENCE_SECONDS, wait_until

LAYOUT = ItemLayout(frame_shape=(3, 2), stack_size=4, n_step=3, num_actions=2, clips_rewards=False)
PARAMS = {"params": {"bias": np.zeros(2, np.float32)}}


class RunInView:
    """A run that stands still, for a weight server to show."""

    def __init__(self) -> None:
        self.session = "one"
        self.acting, self.evaluation = PublishedWeights(), PublishedWeights()
        self.progress = Progress(random_return=0.0, stage=Stage.ONLINE, online_updates=100)

    def publish(self) -> None:
        version = self.progress.learner_updates + 1
        self.acting.publish(Snapshot(version=version, params=PARAMS, progress=self.progress))

    def report_progress(self) -> learner_pb2.GetProgressResponse:
        return learner_pb2.GetProgressResponse()

    def take_evaluation(self, report: EvaluationReport) -> Progress:
        return self.progress


@contextlib.contextmanager
def serving(run: RunInView, port: int = 0) -> Iterator[int]:
    server = weight_server(run, host="127.0.0.1", port=port)
    try:
        yield server.start()
    finally:
        server.stop(0.0)


def test_an_actor_tells_how_stale_its_weights_are() -> None:
    registry, run = CollectorRegistry(), RunInView()
    metrics = ActorMetrics(registry)

    def weights(what: str) -> float | None:
        return registry.get_sample_value(f"rrl_actor_weights_{what}")

    assert weights("version") is None and weights("age_seconds") is None
    run.publish()
    with serving(run) as port:
        client = LearnerClient(f"127.0.0.1:{port}")
        poller = WeightPoller(client, period_seconds=0.01)
        metrics.poller = poller
        # 100 updates are behind weights of version 101.
        wait_until(lambda: weights("version") == 101)
        assert weights("lag_updates") == 0
        # Placed when they come; placed by each forward pass they would be copied each time.
        latest = poller.latest
        assert latest is not None and isinstance(latest.params["params"]["bias"], jax.Array)
        # The learner continues without publishing.
        run.progress = Progress(random_return=0.0, stage=Stage.ONLINE, online_updates=130)
        wait_until(lambda: weights("lag_updates") == 30)
        assert (weights("age_seconds") or 0.0) < 5.0
    # The learner is gone: the weights grow old.
    wait_until(lambda: (weights("age_seconds") or 0.0) > 0.2)
    poller.close()
    client.close()
    metrics.poller = None
    assert weights("age_seconds") is None


def test_an_actor_counts_its_play_and_its_queries() -> None:
    registry, annotator = CollectorRegistry(), Annotator()
    metrics = ActorMetrics(registry)
    value = registry.get_sample_value
    assert value("rrl_actor_queries_total", {"result": "unanswered"}) == 0
    metrics.attach(annotator, frames_per_step=4)
    metrics.stepped(8)
    metrics.stepped(7)
    metrics.finished_episode(-3.0)
    metrics.waited_to_insert(0.5)
    annotator.answered_queries += 1
    assert value("rrl_actor_steps_total") == 15
    assert value("rrl_actor_frames_total") == 4 * 15
    assert value("rrl_actor_episodes_total") == 1
    assert value("rrl_actor_episode_return") == -3.0
    assert value("rrl_actor_insert_wait_seconds_total") == 0.5
    assert value("rrl_actor_queries_total", {"result": "answered"}) == 1


def test_the_importer_shows_what_is_in_the_table_and_what_it_wrote_itself() -> None:
    registry = CollectorRegistry()
    metrics = ImporterMetrics(registry)
    metrics.target, metrics.in_table = 100, 40
    metrics.count_written(25)
    value = registry.get_sample_value
    assert value("rrl_importer_rows_total") == 25
    assert value("rrl_importer_rows_in_table") == 65
    assert value("rrl_importer_rows_target") == 100


@pytest.fixture
def role(tmp_path: Path) -> Iterator[ReplayRole]:
    role = ReplayRole(config(tmp_path), tmp_path / "checkpoints")
    yield role
    role.stop()


def config(folder: Path) -> ReplayConfig:
    return ReplayConfig(
        layout=LAYOUT,
        checkpoint_root=folder / "working",
        min_student_size=2,
        samples_per_insert=4.0,
        error_buffer=40.0,
        teacher_capacity=1000,
        student_capacity=500,
    )


def write(role: ReplayRole, table: str, steps: int) -> None:
    with contextlib.closing(ReplayWriter(role.address, table, LAYOUT, 1)) as writer:
        for number in range(steps):
            frame = np.zeros(LAYOUT.frame_shape, np.uint8)
            writer.append(0, StepRow(frame, 0, 0.0, number == steps - 1, None))
        writer.end_episode(0, None)
        assert writer.flush(10)


def test_replay_counts_items_checkpoints_and_restores(role: ReplayRole, tmp_path: Path) -> None:
    registry = CollectorRegistry()
    metrics = ReplayMetrics(registry)
    value = registry.get_sample_value
    assert value("rrl_replay_serving") == 0
    metrics.attach(role)
    assert value("rrl_replay_serving") == 0
    role.start()
    write(role, TEACHER_TABLE, 5)
    write(role, STUDENT_TABLE, 3)
    assert value("rrl_replay_serving") == 1
    # From empty tables on, all that is in them has been counted.
    assert value("rrl_replay_inserted_total", {"table": "teacher"}) == 5
    assert value("rrl_replay_items", {"table": "student"}) == 3
    assert value("rrl_replay_capacity_items", {"table": "student"}) == 500
    assert value("rrl_replay_sampled_total", {"table": "student"}) == 0
    assert value("rrl_replay_samples_per_insert_target") == 4.0
    assert value("rrl_replay_samples_per_insert") is None
    assert role.served is not None
    role.save(role.served.generation, 1, [])
    assert value("rrl_replay_checkpoints_total", {"result": "written"}) == 1
    assert value("rrl_replay_checkpoint_number") == 1
    assert (value("rrl_replay_checkpoint_seconds") or 0.0) > 0.0
    write(role, TEACHER_TABLE, 2)
    role.restore(1)
    assert value("rrl_replay_restores_total") == 1
    # Reverb is asked at most once a second.
    wait_until(lambda: value("rrl_replay_items", {"table": "teacher"}) == 5)
    inserted = value("rrl_replay_inserted_total", {"table": "teacher"})
    assert inserted is not None and inserted >= 5


def test_pages_can_be_asked_for_while_tables_are_loaded(role: ReplayRole, tmp_path: Path) -> None:
    registry = CollectorRegistry()
    metrics = ReplayMetrics(registry)
    metrics.attach(role)
    role.start()
    stop = threading.Event()
    found: list[float | None] = []

    def scrape() -> None:
        while not stop.is_set():
            found.append(registry.get_sample_value("rrl_replay_serving"))

    reader = threading.Thread(target=scrape)
    reader.start()
    role.restore(0)
    stop.set()
    reader.join(PATIENCE_SECONDS)
    assert not reader.is_alive() and found and set(found) <= {0.0, 1.0}


@pytest.mark.parametrize(
    ("inserted", "sampled", "ratio"), [(0, 0, None), (20, 0, None), (30, 80, 8.0), (25, 20, 4.0)]
)
def test_the_replay_ratio_counts_from_the_minimum_size_on(
    inserted: int, sampled: int, ratio: float | None
) -> None:
    counts = TableCounts(
        size=inserted,
        inserted=inserted,
        sampled=sampled,
        takes_inserts=True,
        gives_samples=True,
    )
    assert replay_ratio(counts, 20) == ratio

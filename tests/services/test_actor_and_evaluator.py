"""A real actor and a real evaluator against real servers, on Catch."""

from __future__ import annotations

import contextlib
import dataclasses
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from prometheus_client import CollectorRegistry

from rrl_agents.checkpoints.hints import Hints
from rrl_agents.checkpoints.teacher_directory import load_teacher_directory
from rrl_agents.environments.registry import EnvironmentConfig
from rrl_agents.networks.registry import NetworkConfig
from rrl_agents.reincarnation.jsrl import JsrlConfig
from rrl_agents.reincarnation.qdagger import QDaggerConfig
from rrl_agents.training.q_learning_config import QLearningConfig
from rrl_agents.types import Params, Progress, Stage
from rrl_client import TeacherClient
from services.actor.config import ActorConfig
from services.actor.loop import build_actor
from services.evaluator.config import EvaluationProtocol, EvaluatorConfig
from services.evaluator.loop import build_evaluator
from services.evaluator.metrics import EvaluatorMetrics
from services.learner.codec import EvaluationReport, progress_to_proto
from services.learner.pending_evaluations import UnknownWeights
from services.learner.published_weights import PublishedWeights, Snapshot
from services.learner.v1 import learner_pb2
from services.learner.weight_server import weight_server
from services.library.teacher_references import import_reference
from services.replay.config import ReplayConfig
from services.replay.connection import table_counts
from services.replay.item_layout import ItemLayout
from services.replay.reader import ReplayReader
from services.replay.server import build_replay
from services.replay.table_names import STUDENT_TABLE, TEACHER_TABLE
from services.shared.addresses import free_port
from services.shared.call_limits import ServerLimits
from services.shared.cores import usable_cores
from services.shared.errors import UserError
from services.shared.grpc_server import GrpcServer, ListenAddress
from services.teacher.config import BatchingConfig, ModelConfig, TeacherConfig
from services.teacher.server import TeacherServer, build_teacher
from tests.support.patience import PATIENCE_SECONDS, wait_until

CATCH = EnvironmentConfig(name="catch")
STUDENT = NetworkConfig(name="mlp", features=(2,))
LAYOUT = ItemLayout(frame_shape=(10, 5), stack_size=1, n_step=1, num_actions=3, clips_rewards=False)


class Run:
    """A run whose clocks the test moves; a finished teacher's return ends nothing by itself."""

    def __init__(self, **progress: Any) -> None:
        self.acting = PublishedWeights()
        self.evaluation = PublishedWeights()
        self.progress = Progress(random_return=-0.6, **progress)
        self.reports: list[EvaluationReport] = []
        self.refuses: set[int] = set()
        self.session = "first"
        self.awaited_updates: int | None = None

    def move(self, **changes: Any) -> None:
        self.progress = dataclasses.replace(self.progress, **changes)

    def offer(self, version: int, params: Params, *, final: bool = False) -> None:
        snapshot = Snapshot(version=version, params=params, progress=self.progress, final=final)
        self.acting.publish(snapshot)
        self.evaluation.publish(snapshot)

    def report_progress(self) -> learner_pb2.GetProgressResponse:
        return learner_pb2.GetProgressResponse(
            progress=progress_to_proto(self.progress), awaited_updates=self.awaited_updates
        )

    def take_evaluation(self, report: EvaluationReport) -> Progress:
        if report.weights_version in self.refuses:
            raise UnknownWeights("not due")
        self.reports.append(report)
        if report.weights_version == 0:
            self.move(teacher_return=report.mean_return)
        return self.progress


@contextlib.contextmanager
def serving(run: Run, port: int = 0) -> Iterator[str]:
    server = weight_server(run, host="127.0.0.1", port=port)
    port = server.start()
    try:
        yield f"127.0.0.1:{port}"
    finally:
        server.stop(0.0)


@contextlib.contextmanager
def running(role: Any) -> Iterator[threading.Thread]:
    """The role's `run` on a thread, stopped at the end."""
    stop = threading.Event()
    thread = threading.Thread(target=role.run, args=(stop,), daemon=True)
    thread.start()
    try:
        yield thread
    finally:
        stop.set()
        thread.join(PATIENCE_SECONDS)
        assert not thread.is_alive()


def steady(count: Callable[[], int]) -> int:
    """A count that has not changed for two seconds."""
    newest, since = count(), time.monotonic()
    while time.monotonic() - since < 2.0:
        time.sleep(0.1)
        if (found := count()) != newest:
            newest, since = found, time.monotonic()
    return newest


@pytest.fixture
def teacher(catch_teacher: Path) -> Iterator[TeacherServer]:
    config = TeacherConfig(
        models=(ModelConfig(reference=str(catch_teacher)),),
        port=0,
        metrics_port=None,
        batching=BatchingConfig(buckets=(4,)),
    )
    server = build_teacher(config)
    server.start()
    server.wait_until_ready(PATIENCE_SECONDS)
    yield server
    server.stop()


@pytest.fixture
def undecided(catch_teacher: Path) -> Iterator[TeacherServer]:
    """The same scores as logits, at a temperature that leaves no preference."""
    imported = import_reference(str(catch_teacher), Hints(output="logits", temperature=1e6))
    config = TeacherConfig(
        models=(ModelConfig(reference=str(imported)),),
        port=0,
        metrics_port=None,
        batching=BatchingConfig(buckets=(4,)),
        backend="jax",
    )
    server = build_teacher(config)
    server.start()
    server.wait_until_ready(PATIENCE_SECONDS)
    yield server
    server.stop()


@pytest.fixture
def perfect(catch_teacher: Path) -> Params:
    return load_teacher_directory(catch_teacher).params


@pytest.fixture
def motionless(perfect: Params) -> Params:
    """Always stays: the paddle keeps to the column in the middle."""
    layers = perfect["params"]
    bias = np.asarray([0, 100, 0], np.float32)
    return {"params": {**layers, "Dense_1": {**layers["Dense_1"], "bias": bias}}}


def evaluator_config(learner: str, **changes: Any) -> EvaluatorConfig:
    settings: dict[str, Any] = {
        "environment": CATCH,
        "network": STUDENT,
        "protocol": EvaluationProtocol(
            episodes=10, final_episodes=30, teacher_episodes=20, epsilon=0.0, num_envs=4
        ),
        "seed": 1,
        "learner_address": learner,
        "teacher_address": None,
        "poll_seconds": 0.05,
    }
    return EvaluatorConfig(**(settings | changes))


def test_the_evaluator_reports_the_weights_due_and_ends_with_the_run(
    perfect: Params, motionless: Params, tmp_path: Path
) -> None:
    run = Run(teacher_return=1.0, stage=Stage.ONLINE)
    video = tmp_path / "films" / "student.gif"
    with (
        serving(run) as address,
        running(build_evaluator(evaluator_config(address, video=video))) as thread,
    ):
        run.offer(7, motionless)
        wait_until(lambda: len(run.reports) == 1)
        assert not video.exists()
        run.move(stage=Stage.FINAL_EVALUATION)
        run.offer(8, perfect, final=True)
        wait_until(lambda: len(run.reports) == 2)
        run.move(stage=Stage.FINISHED)
        thread.join(PATIENCE_SECONDS)
        assert not thread.is_alive()
    first, last = run.reports
    assert (first.weights_version, last.weights_version) == (7, 8)
    assert len(first.episode_returns) == 10
    assert set(first.episode_returns) <= {-1.0, 1.0}
    assert -1.0 in first.episode_returns
    assert last.episode_returns == (1.0,) * 30
    assert last.episode_steps == (9,) * 30
    assert last.epsilon == 0.0
    assert video.read_bytes().startswith(b"GIF8")


def test_the_evaluator_plays_a_teacher_whose_return_is_unknown(
    teacher: TeacherServer, motionless: Params
) -> None:
    run = Run()
    with serving(run) as address:
        config = evaluator_config(address, teacher_address=teacher.address)
        with running(build_evaluator(config)):
            run.offer(3, motionless)
            wait_until(lambda: len(run.reports) == 2)
    # The teacher comes first: no student's score means anything without it.
    first, second = run.reports
    assert (first.weights_version, second.weights_version) == (0, 3)
    assert first.episode_returns == (1.0,) * 20
    assert run.progress.teacher_return == 1.0


def test_the_evaluator_draws_the_actions_of_a_teacher_of_logits(
    undecided: TeacherServer,
) -> None:
    run = Run()
    with serving(run) as address:
        config = evaluator_config(address, teacher_address=undecided.address)
        with running(build_evaluator(config)):
            wait_until(lambda: len(run.reports) == 1)
    # At random the ball is caught in 2 of 5 episodes: 20 in a row would be 1e-8.
    assert set(run.reports[0].episode_returns) == {-1.0, 1.0}


def test_an_evaluation_under_way_is_dropped_for_the_final_one(
    perfect: Params, motionless: Params
) -> None:
    run = Run(teacher_return=1.0, stage=Stage.ONLINE)
    endless = EvaluationProtocol(
        episodes=10_000_000, final_episodes=5, teacher_episodes=1, epsilon=0.0, num_envs=4
    )
    with (
        serving(run) as address,
        running(build_evaluator(evaluator_config(address, protocol=endless))),
    ):
        run.offer(7, motionless)
        time.sleep(0.5)
        run.move(stage=Stage.FINAL_EVALUATION)
        run.offer(8, perfect, final=True)
        wait_until(lambda: len(run.reports) == 1)
    assert run.reports[0].weights_version == 8
    assert run.reports[0].episode_returns == (1.0,) * 5


def processor_share(seconds: float) -> float:
    """Cores that this process keeps busy for so long, by its processor time."""
    used, began = time.process_time(), time.monotonic()
    threading.Event().wait(seconds)
    return (time.process_time() - used) / (time.monotonic() - began)


def test_an_evaluation_keeps_to_its_share_of_the_machine(perfect: Params) -> None:
    run = Run(teacher_return=1.0, stage=Stage.OFFLINE)
    run.offer(3, perfect)
    metrics = EvaluatorMetrics(CollectorRegistry())
    share = 0.2
    endless = EvaluationProtocol(episodes=10_000_000, num_envs=4, max_share=share)
    with serving(run) as address:
        evaluator = build_evaluator(evaluator_config(address, protocol=endless), metrics)
        with running(evaluator):
            # A thousand steps: what comes before the first is not held to the share.
            wait_until(lambda: frames_of(metrics) > 1000, "it plays")
            found, played = processor_share(5.0), frames_of(metrics)
    # Half a second of credit, and what this test's own threads take.
    assert found <= 1.25 * share * usable_cores()
    assert played > 1000


def test_an_evaluation_that_the_run_waits_for_is_not_held_back(perfect: Params) -> None:
    run = Run(teacher_return=1.0, stage=Stage.ONLINE)
    run.offer(3, perfect)
    # At this share, 900 steps and more would take hours.
    slow = EvaluationProtocol(episodes=100, final_episodes=100, num_envs=2, max_share=1e-6)
    with (
        serving(run) as address,
        running(build_evaluator(evaluator_config(address, protocol=slow))),
    ):
        threading.Event().wait(2.0)
        assert run.reports == []
        run.awaited_updates = 20
        wait_until(lambda: run.reports, "the evaluation that is waited for is over")
        run.awaited_updates = None
        run.move(stage=Stage.FINAL_EVALUATION)
        run.offer(4, perfect, final=True)
        wait_until(lambda: len(run.reports) == 2, "the last evaluation is over")


def frames_of(metrics: EvaluatorMetrics) -> float:
    (frames,) = (one for one in metrics.collect() if one.name == "rrl_evaluator_frames")
    return frames.samples[0].value


def test_progress_that_cannot_be_read_ends_no_evaluation(
    perfect: Params, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Newer(Run):
        asked = 0

        def report_progress(self) -> learner_pb2.GetProgressResponse:
            self.asked += 1
            return learner_pb2.GetProgressResponse()  # of no stage that is known here

    monkeypatch.setattr("services.evaluator.loop._RUN_CHECK_SECONDS", 0.0)
    run = Newer(teacher_return=1.0, stage=Stage.ONLINE)
    with serving(run) as address, running(build_evaluator(evaluator_config(address))):
        run.offer(7, perfect)
        wait_until(lambda: len(run.reports) == 1)
    assert run.asked


def test_an_evaluator_ends_where_another_service_answers() -> None:
    listen = ListenAddress(host="127.0.0.1", port=0)
    limits = ServerLimits(
        calls=9, calls_per_connection=9, max_request_bytes=999, max_response_bytes=999
    )
    other = GrpcServer("another", "rrl.Other", listen, limits, lambda server, workers: None)
    try:
        evaluator = build_evaluator(evaluator_config(f"127.0.0.1:{other.start()}"))
        with pytest.raises(UserError, match="this server is not a learner; check the address"):
            evaluator.run(threading.Event())
    finally:
        other.stop(0.0)


def test_weights_that_turn_out_to_be_the_final_ones_are_played_again_as_such(
    perfect: Params,
) -> None:
    # An evaluation may be due anyhow after the last update. Final weights are played once only.
    run = Run(teacher_return=1.0, stage=Stage.ONLINE)
    with serving(run) as address, running(build_evaluator(evaluator_config(address))):
        run.offer(8, perfect)
        wait_until(lambda: len(run.reports) == 1)
        run.move(stage=Stage.FINAL_EVALUATION)
        run.offer(8, perfect, final=True)
        wait_until(lambda: len(run.reports) == 2)
        time.sleep(0.5)
    assert [len(report.episode_returns) for report in run.reports] == [10, 30]


def test_a_refused_evaluation_is_dropped_and_the_evaluator_continues(perfect: Params) -> None:
    run = Run(teacher_return=1.0, stage=Stage.ONLINE)
    run.refuses = {7}
    with serving(run) as address, running(build_evaluator(evaluator_config(address))):
        run.offer(7, perfect)
        time.sleep(0.5)
        run.offer(8, perfect)
        wait_until(lambda: len(run.reports) == 1)
    assert run.reports[0].weights_version == 8


def test_a_learner_that_comes_back_gets_the_same_weights_played_again(perfect: Params) -> None:
    # It resumed from a checkpoint older than the result that was reported to it.
    run = Run(teacher_return=1.0, stage=Stage.ONLINE)
    with contextlib.ExitStack() as roles:
        with serving(run) as address:
            roles.enter_context(running(build_evaluator(evaluator_config(address))))
            run.offer(7, perfect)
            wait_until(lambda: len(run.reports) == 1)
        # Back before anybody has asked: only the session tells.
        run.session = "second"
        with serving(run, port=int(address.rpartition(":")[2])):
            wait_until(lambda: len(run.reports) == 2)
    # Each result says whose weights it is of.
    reported = [(report.weights_version, report.session) for report in run.reports]
    assert reported == [(7, "first"), (7, "second")]


class BusyWeights(PublishedWeights):
    """Has no room to send weights in, for so many answers."""

    busy = 0

    def newer_than(self, known_version: int) -> tuple[Snapshot | None, bytes]:
        snapshot, weights = super().newer_than(known_version)
        if weights and self.busy:
            self.busy -= 1
            return snapshot, b""
        return snapshot, weights


def test_a_learner_that_comes_back_too_busy_to_give_its_weights_is_asked_again(
    perfect: Params,
) -> None:
    run = Run(teacher_return=1.0, stage=Stage.ONLINE)
    run.evaluation = offer = BusyWeights()
    with serving(run) as address, running(build_evaluator(evaluator_config(address))):
        run.offer(7, perfect)
        wait_until(lambda: len(run.reports) == 1)
        offer.busy = 2
        run.session = "second"
        wait_until(lambda: len(run.reports) == 2)
    assert offer.busy == 0


@pytest.fixture
def replay(tmp_path: Path) -> Iterator[str]:
    server = build_replay(
        ReplayConfig(
            layout=LAYOUT,
            checkpoint_root=tmp_path / "replay",
            min_student_size=1,
            error_buffer=1e9,
        )
    )
    server.start()
    yield server.address
    server.stop()


Q_LEARNING = QLearningConfig(n_step=1, min_replay_size=1)


def actor_config(**addresses: str | None) -> ActorConfig:
    return ActorConfig(
        environment=CATCH,
        method=QDaggerConfig(q_learning=Q_LEARNING),
        network=STUDENT,
        num_envs=4,
        index=0,
        seed=0,
        weights_period_seconds=0.05,
        collect_epsilon=0.0,
        **addresses,  # type: ignore[arg-type]
    )


def test_an_actor_plays_the_teacher_first_then_the_student_until_the_run_is_over(
    teacher: TeacherServer, replay: str, motionless: Params
) -> None:
    run = Run(teacher_return=1.0)
    with serving(run) as address:
        config = actor_config(
            learner_address=address, replay_address=replay, teacher_address=teacher.address
        )
        run.offer(1, motionless)
        with running(build_actor(config)) as thread:
            wait_until(lambda: table_counts(replay)[TEACHER_TABLE].inserted >= 400)
            assert table_counts(replay)[STUDENT_TABLE].inserted == 0
            run.move(stage=Stage.OFFLINE)
            collected = steady(lambda: table_counts(replay)[TEACHER_TABLE].inserted)
            # After its offline stage the student explores with 0.01 from the first step.
            run.move(stage=Stage.ONLINE)
            wait_until(lambda: table_counts(replay)[STUDENT_TABLE].inserted >= 400)
            run.move(stage=Stage.FINISHED)
            thread.join(PATIENCE_SECONDS)
            assert not thread.is_alive()
        assert table_counts(replay)[TEACHER_TABLE].inserted == collected
    reader = ReplayReader(replay, LAYOUT, 0.99, 256)
    taught = reader.sample(TEACHER_TABLE, timeout_seconds=PATIENCE_SECONDS).batch
    own = reader.sample(STUDENT_TABLE, timeout_seconds=PATIENCE_SECONDS).batch
    reader.close()
    # The teacher catches everything, and its table holds its greedy actions with its values.
    assert taught.n_step_return.min() == 0.0
    assert taught.has_teacher.all()
    np.testing.assert_array_equal(taught.action, taught.teacher_outputs.argmax(axis=1))
    # The student stays, in all but about 1 of 150 steps; the teacher labels its states too.
    assert np.mean(own.action == 1) > 0.9
    assert own.has_teacher.all()
    with TeacherClient(teacher.address) as client:
        values = client.evaluate(own.observation).action_values
    np.testing.assert_allclose(own.teacher_outputs, values, rtol=1e-6)


def test_the_actions_of_a_teacher_of_logits_are_drawn_and_its_logits_stored(
    undecided: TeacherServer, replay: str, motionless: Params
) -> None:
    run = Run(teacher_return=1.0)
    with serving(run) as address:
        config = actor_config(
            learner_address=address, replay_address=replay, teacher_address=undecided.address
        )
        run.offer(1, motionless)
        with running(build_actor(config)):
            wait_until(lambda: table_counts(replay)[TEACHER_TABLE].inserted >= 400)
    reader = ReplayReader(replay, LAYOUT, 0.99, 256)
    taught = reader.sample(TEACHER_TABLE, timeout_seconds=PATIENCE_SECONDS).batch
    reader.close()
    # Each of three actions a third of the time, whatever the logits; standard error 0.03.
    follows = taught.action == np.asarray(taught.teacher_outputs).argmax(axis=1)
    assert abs(np.mean(follows) - 1 / 3) < 0.12
    with TeacherClient(undecided.address) as client:
        logits = client.evaluate(taught.observation).action_values
    np.testing.assert_allclose(taught.teacher_outputs, logits, rtol=1e-6)


def test_a_weaned_actor_asks_no_more(
    teacher: TeacherServer, replay: str, motionless: Params
) -> None:
    run = Run(teacher_return=1.0, stage=Stage.ONLINE, weaning_weight=0.0)
    with serving(run) as address:
        config = actor_config(
            learner_address=address, replay_address=replay, teacher_address=teacher.address
        )
        run.offer(1, motionless)
        with running(build_actor(config)):
            wait_until(lambda: table_counts(replay)[STUDENT_TABLE].inserted >= 100)
    reader = ReplayReader(replay, LAYOUT, 0.99, 64)
    assert not reader.sample(
        STUDENT_TABLE, timeout_seconds=PATIENCE_SECONDS
    ).batch.has_teacher.any()
    reader.close()


def test_a_guide_takes_the_steps_that_are_its_own_and_nothing_is_labelled_for_it(
    teacher: TeacherServer, replay: str, motionless: Params
) -> None:
    run = Run(teacher_return=1.0, stage=Stage.ONLINE, actor_steps=10**6)
    # An episode of Catch lasts 9 decisions: half of all roll-ins cover it.
    guided = JsrlConfig(q_learning=Q_LEARNING, roll_in_steps=18, iteration_steps=10**9)
    with serving(run) as address:
        config = dataclasses.replace(
            actor_config(
                learner_address=address, replay_address=replay, teacher_address=teacher.address
            ),
            method=guided,
        )
        run.offer(1, motionless)
        with running(build_actor(config)):
            wait_until(lambda: table_counts(replay)[STUDENT_TABLE].inserted >= 3200)
        assert table_counts(replay)[TEACHER_TABLE].inserted == 0
    reader = ReplayReader(replay, LAYOUT, 0.99, 2048)
    played = reader.sample(STUDENT_TABLE, timeout_seconds=PATIENCE_SECONDS).batch
    reader.close()
    with TeacherClient(teacher.address) as client:
        best = client.evaluate(played.observation).action_values.argmax(axis=1)
    moves = best != 1
    # The student would stay where the teacher moves. Step t of an episode is the guide's with
    # probability (18 - t) / 19, t = 0 .. 8, the moves being among the first of them: about 0.9, of
    # 300 or so in 350 episodes.
    followed = np.mean(played.action[moves] == best[moves])
    assert 0.75 < followed < 0.98


def test_a_guide_that_is_unavailable_leaves_its_steps_to_the_student(
    teacher: TeacherServer, replay: str, motionless: Params
) -> None:
    run = Run(teacher_return=1.0, stage=Stage.ONLINE, actor_steps=10**6)
    always = JsrlConfig(q_learning=Q_LEARNING, roll_in_steps=10**6, iteration_steps=10**9)
    with serving(run) as address:
        config = dataclasses.replace(
            actor_config(
                learner_address=address, replay_address=replay, teacher_address=teacher.address
            ),
            method=always,
            teacher_timeout_seconds=0.2,
        )
        run.offer(1, motionless)
        with running(build_actor(config)):
            wait_until(lambda: table_counts(replay)[STUDENT_TABLE].inserted >= 100)
            teacher.stop()
            before = table_counts(replay)[STUDENT_TABLE].inserted
            wait_until(lambda: table_counts(replay)[STUDENT_TABLE].inserted >= before + 40)


@pytest.mark.parametrize(
    "method", [QDaggerConfig(q_learning=Q_LEARNING), JsrlConfig(q_learning=Q_LEARNING)]
)
def test_an_actor_without_the_address_of_the_teacher_it_is_to_ask_says_so(
    replay: str, motionless: Params, method: QDaggerConfig | JsrlConfig
) -> None:
    run = Run(teacher_return=1.0, stage=Stage.ONLINE)
    with serving(run) as address:
        config = dataclasses.replace(
            actor_config(learner_address=address, replay_address=replay, teacher_address=None),
            method=method,
        )
        run.offer(1, motionless)
        stop = threading.Event()
        in_vain = threading.Timer(PATIENCE_SECONDS, stop.set)
        in_vain.start()
        with pytest.raises(UserError, match="queries its teacher .*: give --teacher-address"):
            build_actor(config).run(stop)
        in_vain.cancel()
        # Weaned, and with the guide's time over, it needs none.
        run.move(weaning_weight=0.0, actor_steps=10**8)
        with running(build_actor(config)):
            wait_until(lambda: table_counts(replay)[STUDENT_TABLE].inserted >= 50)


def test_an_actor_whose_teacher_dies_continues_without_labels(
    teacher: TeacherServer, replay: str, motionless: Params
) -> None:
    run = Run(teacher_return=1.0, stage=Stage.ONLINE)
    with serving(run) as address:
        config = actor_config(
            learner_address=address, replay_address=replay, teacher_address=teacher.address
        )
        run.offer(1, motionless)
        with running(build_actor(config)):
            wait_until(lambda: table_counts(replay)[STUDENT_TABLE].inserted >= 100)
            teacher.stop(1.0)
            before = table_counts(replay)[STUDENT_TABLE].inserted
            wait_until(lambda: table_counts(replay)[STUDENT_TABLE].inserted >= before + 200)


def test_an_actor_that_starts_after_weaning_needs_no_teacher_to_be_there(
    replay: str, motionless: Params
) -> None:
    run = Run(teacher_return=1.0, stage=Stage.ONLINE, weaning_weight=0.0)
    with serving(run) as address:
        config = actor_config(
            learner_address=address,
            replay_address=replay,
            teacher_address=f"127.0.0.1:{free_port()}",
        )
        run.offer(1, motionless)
        with running(build_actor(config)):
            wait_until(lambda: table_counts(replay)[STUDENT_TABLE].inserted >= 100)


def test_an_actor_waits_for_a_teacher_that_is_asked_until_weaning_is_over(
    replay: str, motionless: Params
) -> None:
    run = Run(teacher_return=1.0, stage=Stage.ONLINE)
    with serving(run) as address:
        config = actor_config(
            learner_address=address,
            replay_address=replay,
            teacher_address=f"127.0.0.1:{free_port()}",
        )
        run.offer(1, motionless)
        with running(build_actor(config)):
            time.sleep(1.5)
            assert table_counts(replay)[STUDENT_TABLE].inserted == 0
            run.move(weaning_weight=0.0)
            wait_until(lambda: table_counts(replay)[STUDENT_TABLE].inserted >= 100)


def test_an_actor_refuses_a_teacher_of_another_game(
    replay: str, tmp_path: Path, motionless: Params
) -> None:
    teacher = build_teacher(
        TeacherConfig(
            models=(ModelConfig(reference="pong_dqn"),),
            port=0,
            metrics_port=None,
            batching=BatchingConfig(buckets=(1,)),
        )
    )
    teacher.start()
    teacher.wait_until_ready(PATIENCE_SECONDS)
    run = Run(teacher_return=1.0)
    try:
        with serving(run) as address:
            run.offer(1, motionless)
            config = actor_config(
                learner_address=address, replay_address=replay, teacher_address=teacher.address
            )
            with pytest.raises(UserError, match="has 6 actions, catch has 3"):
                build_actor(config).run(threading.Event())
    finally:
        teacher.stop()
    assert table_counts(replay)[TEACHER_TABLE].inserted == 0

"""The learner with a real replay server: commits to the bit, weights and returns over gRPC."""

from __future__ import annotations

import contextlib
import dataclasses
import math
import os
import shutil
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, NoReturn, cast

import grpc
import jax
import numpy as np
import pytest

from protos.rrl.learner.v1 import learner_pb2, learner_pb2_grpc
from rrl_agents.checkpoints.load_teacher import load_teacher
from rrl_agents.environments import catch
from rrl_agents.networks.registry import NetworkConfig
from rrl_agents.reincarnation.fine_tuning import FineTuningConfig
from rrl_agents.reincarnation.offline_pretraining import OfflinePretrainingConfig
from rrl_agents.reincarnation.qdagger import QDaggerConfig, WeaningConfig
from rrl_agents.training.q_learning_config import QLearningConfig
from rrl_agents.training.train_state import TrainState
from rrl_agents.types import Batch, Progress, Stage
from services.learner import loop
from services.learner.checkpointing import newest_commit
from services.learner.codec import EvaluationReport, progress_from_proto
from services.learner.config import InitialCheckpoint, LearnerConfig, ShardAddress
from services.learner.evaluation_records import read_records
from services.learner.loop import Learner, build_learner, run_learner
from services.learner.progress_client import EvaluationRefused, ProgressClient
from services.learner.replay_tie import ReplayLost, ReplayTie
from services.learner.stages import StageTargets
from services.learner.weight_client import LearnerUnavailable, Purpose, WeightClient
from services.replay.config import ReplayConfig, samples_per_insert
from services.replay.control_server import ControlServer
from services.replay.item_layout import ItemLayout, StepRow
from services.replay.reader import STUDENT_TABLE, TEACHER_TABLE, ReplayReader, table_counts
from services.replay.role import ReplayRole
from services.replay.writer import ReplayWriter
from services.shared.addresses import free_port
from services.shared.errors import UserError
from services.shared.locks import LEARNER_LOCK, is_locked, locked
from tests.support.patience import PATIENCE_SECONDS, wait_until

LAYOUT = ItemLayout(
    frame_shape=(catch.ROWS, catch.COLUMNS),
    stack_size=1,
    n_step=3,
    num_actions=catch.NUM_ACTIONS,
    clips_rewards=False,
)
METHOD = QDaggerConfig(
    q_learning=QLearningConfig(
        n_step=3, min_replay_size=32, target_update_steps=8, epsilon_decay_steps=100
    ),
    offline_updates=6,
    weaning=WeaningConfig(wean_steps=1_000_000),
)
EPISODES = 10
STEPS = EPISODES * (catch.ROWS - 1)
"""Decisions of one table; an episode of one ball lasts 9. The student's table takes 32 + 512 / 8 of
them before any is sampled."""


class Replay:
    """A replay role with its control, in this process."""

    def __init__(self, folder: Path, port: int = 0, control_port: int = 0) -> None:
        self._folder = folder
        self._role = ReplayRole(
            ReplayConfig(
                layout=LAYOUT,
                checkpoint_root=folder / "working",
                teacher_capacity=1000,
                student_capacity=1000,
                min_student_size=32,
                samples_per_insert=samples_per_insert(batch_size=32, update_period=4),
                port=port,
            ),
            folder / "commits",
        )
        self._control = ControlServer(self._role, host="127.0.0.1", port=control_port)
        self.port = self._role.start()
        self.control_port = self._control.start()
        self.address = self._role.address
        self.shard = ShardAddress(data=self.address, control=f"127.0.0.1:{self.control_port}")

    def stop(self) -> None:
        self._control.stop()
        self._role.stop()

    def cut_off(self) -> None:
        """Answer nobody's questions about the tables."""
        self._control.stop()

    def reach_again(self) -> None:
        self._control = ControlServer(self._role, host="127.0.0.1", port=self.control_port)
        self._control.start()

    def again(self) -> Replay:
        """Another one at the same ports, as after a kill."""
        self.stop()
        return Replay(self._folder, self.port, self.control_port)


def fill(address: str, table: str) -> None:
    """Play whole episodes; every row is labelled."""
    environment = catch.CatchEnvironment(1)
    random = np.random.default_rng(0)
    writer = ReplayWriter(address, table, LAYOUT, 1)
    observation = environment.reset(seed=0)
    for _ in range(EPISODES):
        terminated = False
        while not terminated:
            action = int(random.integers(catch.NUM_ACTIONS))
            step = environment.step(np.asarray([action], np.int64))
            terminated = bool(step.terminated[0])
            values = random.normal(size=catch.NUM_ACTIONS).astype(np.float32)
            row = StepRow(
                observation[0, ..., -1], action, float(step.reward[0]), terminated, values
            )
            writer.append(0, row)
            observation = step.observation
        writer.end_episode(0, None)
        observation = environment.step(np.zeros(1, np.int64)).observation
    assert writer.flush(timeout_seconds=PATIENCE_SECONDS)
    writer.close()


def config_of(run: Path, *replay: ShardAddress) -> LearnerConfig:
    return LearnerConfig(
        run=run,
        method=METHOD,
        network=NetworkConfig(name="mlp", features=(16,)),
        spec=catch.CatchEnvironment(1).spec,
        targets=StageTargets(teacher_steps=STEPS, offline_updates=6, online_updates=40),
        random_return=-0.6,
        teacher_return=1.0,
        seed=3,
        replay=replay,
        port=free_port(),
        publish_period_updates=1,
        offline_evaluation_period=3,
        online_evaluation_period=5,
    )


@dataclasses.dataclass
class Workplace:
    """One run with its replay server, and a learner that works in it."""

    run: Path
    replay: Replay
    learner: Learner
    config: LearnerConfig


@pytest.fixture
def workplace(tmp_path: Path) -> Iterator[Workplace]:
    run = tmp_path / "run"
    run.mkdir()
    replay = Replay(run / "replay")
    config = config_of(run, replay.shard)
    place = Workplace(run=run, replay=replay, learner=joined(config), config=config)
    yield place
    close(place.learner)
    place.replay.stop()


def joined(config: LearnerConfig) -> Learner:
    """A learner that stands on one commit with its replay."""
    learner = build_learner(config)
    assert learner._tie.join(learner.base_number, threading.Event())
    return learner


def close(learner: Learner) -> None:
    """End it without a word, as a kill does: nothing is committed."""
    learner._reader.close()
    learner._metrics.close()
    learner._tie.close()


def state_of(learner: Learner) -> TrainState:
    state: TrainState = jax.device_get(learner._state)
    return state


def work(learner: Learner, updates: int) -> None:
    """Step until so many updates are done."""
    stop = threading.Event()
    for _ in range(10 * updates + 100):
        if learner.progress.learner_updates >= updates:
            return
        learner.step(stop)
    raise AssertionError(f"still at {learner.progress}")


def assert_equal_trees(one: Any, other: Any) -> None:
    assert jax.tree.structure(one) == jax.tree.structure(other)
    for mine, theirs in zip(jax.tree.leaves(one), jax.tree.leaves(other), strict=True):
        assert mine.dtype == theirs.dtype
        np.testing.assert_array_equal(mine, theirs)


def transitions(address: str, table: str) -> set[tuple[bytes, ...]]:
    """All transitions of a table: its 10 x 9 are drawn often enough to see each."""
    reader = ReplayReader(address, LAYOUT, 0.99, 32)
    seen = set()
    # One of 90 is missed by 96 x 32 uniform draws with probability (1 - 1/90)^3072 = 1e-15.
    for _ in range(96):
        batch: Batch = reader.sample(table, timeout_seconds=PATIENCE_SECONDS).batch
        columns = [np.asarray(column) for column in batch]
        seen |= {tuple(column[i].tobytes() for column in columns) for i in range(32)}
    reader.close()
    return seen


def test_a_commit_brings_everything_back_to_the_bit(workplace: Workplace) -> None:
    learner, replay = workplace.learner, workplace.replay
    fill(replay.address, TEACHER_TABLE)
    fill(replay.address, STUDENT_TABLE)
    work(learner, 6 + 10)
    learner.commit()
    counts = table_counts(replay.address)
    committed, progress = state_of(learner), learner.progress
    assert progress.stage is Stage.ONLINE
    assert (progress.offline_updates, progress.online_updates) == (6, 10)
    # The teacher's table may be read without limit: all of it can be seen.
    contents = transitions(replay.address, TEACHER_TABLE)
    assert len(contents) == STEPS
    assert counts[TEACHER_TABLE].inserted == counts[STUDENT_TABLE].inserted == STEPS
    close(learner)

    commit = newest_commit(workplace.run)
    assert commit is not None
    workplace.replay = replay = replay.again()
    address = workplace.replay.address
    restored = table_counts(address)
    for table in (TEACHER_TABLE, STUDENT_TABLE):
        assert (restored[table].size, restored[table].inserted) == (STEPS, STEPS)
    # What the reader had fetched ahead counts as sampled, and may go on until the commit is made.
    assert 10 * 32 <= restored[STUDENT_TABLE].sampled <= counts[STUDENT_TABLE].sampled
    assert transitions(address, TEACHER_TABLE) == contents
    workplace.learner = joined(config_of(workplace.run, replay.shard))
    assert_equal_trees(state_of(workplace.learner), committed)
    assert workplace.learner.progress == progress
    assert commit.record.progress == progress
    # Not only alike: it goes on learning from there.
    work(workplace.learner, 6 + 12)
    assert int(state_of(workplace.learner).learner_updates) == 18


def test_the_target_network_is_synced_when_the_student_begins_to_play(
    workplace: Workplace,
) -> None:
    learner = workplace.learner
    fill(workplace.replay.address, TEACHER_TABLE)
    # 8 decisions are 2 updates: the target stands where the online network was after update 4.
    work(learner, 5)
    before = state_of(learner)
    kernel = "params", "Dense_0", "kernel"
    assert not np.array_equal(leaf(before.params, kernel), leaf(before.target_params, kernel))
    work(learner, 6)
    learner.step(threading.Event())
    assert learner.progress.stage is Stage.ONLINE
    after = state_of(learner)
    # The student's table is empty: no update has followed.
    assert int(after.learner_updates) == 6
    assert_equal_trees(after.target_params, after.params)


@contextlib.contextmanager
def another_learner(workplace: Workplace, **changes: Any) -> Iterator[Learner]:
    """A learner with other settings, in the place of the one that is there."""
    close(workplace.learner)
    workplace.learner = joined(dataclasses.replace(workplace.config, **changes))
    yield workplace.learner


def test_the_optimiser_begins_anew_after_offline_pretraining(workplace: Workplace) -> None:
    method = OfflinePretrainingConfig(q_learning=METHOD.q_learning, offline_updates=6)
    with another_learner(workplace, method=method) as learner:
        fill(workplace.replay.address, TEACHER_TABLE)
        work(learner, 6)
        assert int(state_of(learner).opt_state.count) == 6
        learner.step(threading.Event())
        assert learner.progress.stage is Stage.ONLINE
        assert int(state_of(learner).opt_state.count) == 0
        moments = jax.tree.leaves(state_of(learner).opt_state.mu)
        assert all((moment == 0.0).all() for moment in moments)


def test_fine_tuning_begins_with_the_teachers_parameters(
    workplace: Workplace, catch_teacher: Path
) -> None:
    teacher = load_teacher(catch_teacher)
    assert teacher.card.network is not None
    changes = {
        "method": FineTuningConfig(q_learning=METHOD.q_learning),
        "targets": StageTargets(teacher_steps=0, offline_updates=0, online_updates=40),
        "initial_checkpoint": InitialCheckpoint(path=str(catch_teacher)),
    }
    with another_learner(workplace, network=teacher.card.network, **changes) as learner:
        assert_equal_trees(state_of(learner).params, teacher.params)
        assert_equal_trees(state_of(learner).target_params, teacher.params)
    with pytest.raises(UserError, match="not of the student's architecture"):
        build_learner(dataclasses.replace(workplace.config, **changes))


def test_recorded_data_in_the_students_table_is_not_counted_as_its_play(
    workplace: Workplace,
) -> None:
    method = FineTuningConfig(q_learning=METHOD.q_learning)
    targets = StageTargets(teacher_steps=STEPS - 9, offline_updates=0, online_updates=40)
    with another_learner(workplace, method=method, targets=targets) as learner:
        learner.step(threading.Event())
        assert learner.progress.stage is Stage.COLLECT
        fill(workplace.replay.address, STUDENT_TABLE)
        # One episode more than what is reloaded.
        work(learner, 1)
        assert learner.progress.stage is Stage.ONLINE
        assert (learner.progress.teacher_steps, learner.progress.actor_steps) == (STEPS - 9, 9)


def test_updates_wait_for_an_evaluation_that_is_due_where_they_are_told_to(
    workplace: Workplace,
) -> None:
    with another_learner(workplace, pause_for_evaluation=True) as learner:
        fill(workplace.replay.address, TEACHER_TABLE)
        # The first evaluation is due after 3 updates.
        work(learner, 3)
        for _ in range(20):
            learner.step(threading.Event())
        assert learner.progress.learner_updates == 3
        report = EvaluationReport(
            weights_version=4, episode_returns=(0.0,), episode_steps=(9,), epsilon=0.001
        )
        learner.take_evaluation(report)
        work(learner, 4)


def test_an_evaluation_of_weights_that_learned_online_weans(workplace: Workplace) -> None:
    learner = workplace.learner
    fill(workplace.replay.address, TEACHER_TABLE)
    fill(workplace.replay.address, STUDENT_TABLE)
    # Due after 5 online updates; version 12 has had 6 + 5.
    work(learner, 6 + 5)
    report = EvaluationReport(
        weights_version=12, episode_returns=(1.0, -1.0), episode_steps=(9, 9), epsilon=0.001
    )
    # Mean 0: (0 + 0.6) / (1 + 0.6) = 0.375 of the way, so lambda is 0.625.
    assert learner.take_evaluation(report).weaning_weight == pytest.approx(0.625)


def leaf(params: Any, path: tuple[str, ...]) -> Any:
    for key in path:
        params = params[key]
    return params


def test_weights_and_returns_travel_over_grpc(workplace: Workplace) -> None:
    learner, run = workplace.learner, workplace.run
    address = f"localhost:{workplace.config.port}"
    stop = threading.Event()
    ended: list[BaseException | None] = []

    def work_in_a_thread() -> None:
        try:
            learner.run(stop)
            ended.append(None)
        except BaseException as error:
            ended.append(error)

    thread = threading.Thread(target=work_in_a_thread)
    thread.start()
    evaluations = WeightClient(address, Purpose.EVALUATE)
    acting = WeightClient(address, Purpose.ACT)
    results = ProgressClient(address)
    try:
        fill(workplace.replay.address, TEACHER_TABLE)
        due = wait_for(lambda: evaluations.fetch(0), lambda got: got.progress.stage is Stage.ONLINE)
        # The offline stage is over, and the student's table is empty: nothing moves.
        newest = wait_for(lambda: acting.fetch(0), lambda got: got.version == 7)
        assert_equal_trees(newest.params, dict(state_of(learner).params))
        assert acting.fetch(newest.version).params is None
        assert due.version == 7 and not due.final
        assert_equal_trees(due.params, newest.params)

        # Nobody played these weights, and these returns are none.
        report = EvaluationReport(
            weights_version=7, episode_returns=(1.0, -1.0), episode_steps=(9, 9), epsilon=0.001
        )
        with pytest.raises(EvaluationRefused, match="weights 99 are not due"):
            results.report(dataclasses.replace(report, weights_version=99))
        assert refused_by_the_server(address, [float("nan")]) is grpc.StatusCode.INVALID_ARGUMENT
        assert refused_by_the_server(address, []) is grpc.StatusCode.INVALID_ARGUMENT
        assert results.progress().progress.weaning_weight == 1.0

        # These weights have not learned online yet: their return is known, and weans nobody.
        progress = results.report(report)
        assert (progress.student_return, progress.online_return) == (0.0, None)
        assert progress.weaning_weight == acting.fetch(7).progress.weaning_weight == 1.0
        with pytest.raises(EvaluationRefused, match="weights 7 are not due"):
            results.report(report)
        (record,) = read_records(run / "metrics" / "evaluations.jsonl")
        assert (record.weights_version, record.episode_returns) == (7, (1.0, -1.0))
        assert record.stage == "online"

        # Meanwhile nobody else may work on this run, or listen on its port.
        assert is_locked(run / LEARNER_LOCK)
        with (
            pytest.raises(UserError, match="in use by another process"),
            locked(run / LEARNER_LOCK),
        ):
            pass
        other = run.parent / "other"
        other.mkdir()
        second = build_learner(dataclasses.replace(workplace.config, run=other))
        with pytest.raises(UserError, match=f"{workplace.config.port}.*in use"):
            second.run(threading.Event())
        close(second)
    finally:
        stop.set()
        thread.join(PATIENCE_SECONDS)
        for client in (evaluations, acting, results):
            client.close()
    assert ended == [None]
    # It stopped in order: with a commit, and the run free for the next.
    assert newest_commit(run) is not None
    assert not is_locked(run / LEARNER_LOCK)


def wait_for(ask: Any, is_it: Any) -> Any:
    """Ask until the answer is the wanted one."""
    pause = threading.Event()
    end = time.monotonic() + PATIENCE_SECONDS
    while time.monotonic() < end:
        try:
            if is_it(answer := ask()):
                return answer
        except Exception as error:
            if "did not answer" not in str(error):
                raise
        pause.wait(0.1)
    raise AssertionError(f"waited {PATIENCE_SECONDS:g} s in vain")


def refused_by_the_server(address: str, returns: list[float]) -> grpc.StatusCode:
    """The status of a report that no client of ours would send."""
    with grpc.insecure_channel(address) as channel:
        stub = learner_pb2_grpc.LearnerStub(channel)
        request = learner_pb2.ReportEvaluationRequest(
            weights_version=7, episode_returns=returns, episode_steps=[9] * len(returns)
        )
        with pytest.raises(grpc.RpcError) as refused:
            stub.ReportEvaluation(request, timeout=PATIENCE_SECONDS)
        return cast("grpc.StatusCode", refused.value.code())


def test_a_second_learner_of_a_run_is_refused(
    workplace: Workplace, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("services.learner.loop._LOCK_WAIT_SECONDS", 0.2)
    with (
        locked(workplace.run / LEARNER_LOCK),
        pytest.raises(UserError, match="in use by another process: wait for it, or stop it"),
    ):
        workplace.learner.run(threading.Event())
    # The other's event files have had no line from this one, that would hide what it writes.
    assert not (workplace.run / "metrics").exists()


def test_a_phase_entered_as_a_run_goes_on_is_committed_at_once(workplace: Workplace) -> None:
    fill(workplace.replay.address, TEACHER_TABLE)
    work(workplace.learner, 6)
    assert workplace.learner.progress.stage is Stage.OFFLINE
    workplace.learner.commit()
    close(workplace.learner)

    workplace.learner = build_learner(workplace.config)
    stop = threading.Event()
    thread = threading.Thread(target=workplace.learner.run, args=(stop,), daemon=True)
    thread.start()
    try:
        # Long before the period of 300 s is over, and before the stop, which commits too.
        wait_for(
            lambda: newest_commit(workplace.run),
            lambda found: found.record.progress.stage is Stage.ONLINE,
        )
    finally:
        stop.set()
        thread.join(PATIENCE_SECONDS)


@contextlib.contextmanager
def working(config: LearnerConfig) -> Iterator[Callable[[], Progress]]:
    """`run_learner` in a thread; gives what asks it for its progress."""
    stop = threading.Event()
    failures: list[BaseException] = []

    def work() -> None:
        try:
            run_learner(config, stop)
        except BaseException as error:
            failures.append(error)

    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    client = ProgressClient(f"localhost:{config.port}")
    try:
        yield lambda: progress_from_proto(client.progress().progress)
    finally:
        stop.set()
        thread.join(PATIENCE_SECONDS)
        client.close()
    assert not failures and not thread.is_alive()


@pytest.fixture
def unbound(workplace: Workplace) -> Workplace:
    """A place whose own learner is put away, with both tables filled."""
    close(workplace.learner)
    fill(workplace.replay.address, TEACHER_TABLE)
    fill(workplace.replay.address, STUDENT_TABLE)
    return workplace


def committed(config: LearnerConfig, *updates: int) -> int:
    """Commits after so many updates, by a learner that then ends as by a kill; the last's number.

    Entering a phase commits too.
    """
    learner = joined(config)
    for number in updates:
        work(learner, number)
        learner.commit()
    number = learner.base_number
    work(learner, updates[-1] + 2)
    assert learner.base_number == number
    close(learner)
    return number


def test_replay_that_comes_back_takes_the_learner_back_to_the_newest_commit(
    unbound: Workplace,
) -> None:
    committed(unbound.config, 8)
    with working(unbound.config) as progress:
        before = wait_for(progress, lambda got: got.learner_updates >= 10)
        # It has forgotten what came after the commit, which the learner has learned from.
        unbound.replay = unbound.replay.again()
        after = wait_for(progress, lambda got: got.learner_updates < before.learner_updates)
        assert after.learner_updates >= 8
        # Without a hand it goes on, as far as 90 steps allow.
        wait_for(progress, lambda got: got.learner_updates > 10)


def test_replay_that_was_only_out_of_reach_costs_nothing(unbound: Workplace) -> None:
    learner = joined(unbound.config)
    work(learner, 8)
    unbound.learner = learner
    unbound.replay.cut_off()
    learner._counted_at = -math.inf
    waiting = threading.Thread(target=learner.step, args=(threading.Event(),), daemon=True)
    waiting.start()
    waiting.join(0.5)
    assert waiting.is_alive() and learner.progress.learner_updates == 8
    unbound.replay.reach_again()
    waiting.join(PATIENCE_SECONDS)
    assert not waiting.is_alive()
    work(learner, 10)


def test_a_learner_that_comes_back_has_living_replay_fall_back(unbound: Workplace) -> None:
    committed(unbound.config, 8)
    commit = newest_commit(unbound.run)
    assert commit is not None
    fill(unbound.replay.address, TEACHER_TABLE)
    assert table_counts(unbound.replay.address)[TEACHER_TABLE].inserted == 2 * STEPS
    unbound.learner = learner = joined(unbound.config)
    assert table_counts(unbound.replay.address)[TEACHER_TABLE].inserted == STEPS
    assert learner.progress == commit.record.progress
    work(learner, 10)


def test_a_learner_that_is_told_to_stop_as_its_replay_is_lost_stops(
    unbound: Workplace, monkeypatch: pytest.MonkeyPatch
) -> None:
    stop = threading.Event()
    joined_by: list[ReplayTie] = []
    join = ReplayTie.join

    def noted(tie: ReplayTie, commit: int, stop: threading.Event) -> bool:
        joined_by.append(tie)
        return join(tie, commit, stop)

    def lost(tie: ReplayTie, commit: int, keep: Sequence[int]) -> int:
        stop.set()
        raise ReplayLost("replay came back with other tables")

    monkeypatch.setattr(ReplayTie, "join", noted)
    monkeypatch.setattr(ReplayTie, "checkpoint", lost)
    run_learner(unbound.config, stop)
    assert len(joined_by) == 1


@pytest.mark.parametrize("damage", [pytest.param("absent", marks=pytest.mark.slow), "cut short"])
def test_tables_that_cannot_be_loaded_take_all_back_to_the_commit_before(
    unbound: Workplace, damage: str
) -> None:
    number = committed(unbound.config, 8, 10)
    tables = unbound.run / "replay" / "commits" / f"{number:08d}"
    if damage == "absent":
        shutil.rmtree(tables)
    else:
        os.truncate(tables / "chunks.tfrecord", 1000)
    unbound.replay = unbound.replay.again()
    with working(unbound.config) as progress:
        seen = wait_for(progress, lambda got: got.learner_updates > 0)
        assert seen.learner_updates >= 8
        wait_for(progress, lambda got: got.learner_updates > 10)
    newest = newest_commit(unbound.run)
    assert newest is not None and newest.number == number + 1


def test_a_checkpoint_that_is_never_finished_leaves_tables_for_all_that_are_there(
    unbound: Workplace, monkeypatch: pytest.MonkeyPatch
) -> None:
    number = committed(unbound.config, 8, 10)

    def killed(*_: Any, **__: Any) -> NoReturn:
        raise OSError("ended in the middle of a checkpoint")

    with monkeypatch.context() as patch:
        # Replay has written its part of the next one.
        patch.setattr(loop, "write_commit", killed)
        learner = joined(unbound.config)
        work(learner, 12)
        learner.commit()
        close(learner)
    newest = newest_commit(unbound.run)
    assert newest is not None and newest.number == number
    # The newest one turns out to be damaged: the one before still has its tables.
    (newest.path / "record.json").write_text("")
    unbound.replay = unbound.replay.again()
    learner = joined(unbound.config)
    assert learner.progress.learner_updates == 8
    work(learner, 10)
    close(learner)


def test_a_run_whose_tables_are_all_gone_is_not_begun_anew(unbound: Workplace) -> None:
    committed(unbound.config, 8)
    shutil.rmtree(unbound.run / "replay" / "commits")
    with pytest.raises(UserError, match="holds no tables of checkpoint"):
        run_learner(unbound.config, threading.Event())
    assert newest_commit(unbound.run) is not None


def test_a_run_whose_commits_are_all_damaged_is_not_begun_anew(unbound: Workplace) -> None:
    committed(unbound.config, 8)
    for record in (unbound.run / "checkpoints").glob("*/record.json"):
        record.write_text("")
    stop = threading.Event()
    # One that begins anew would go on for ever.
    timer = threading.Timer(PATIENCE_SECONDS, stop.set)
    timer.start()
    try:
        with pytest.raises(UserError, match="none of the checkpoints"):
            run_learner(unbound.config, stop)
    finally:
        timer.cancel()


@contextlib.contextmanager
def no_place_for_checkpoints(run: Path) -> Iterator[None]:
    """A file where the folder of checkpoints was: writing one fails as on a full disk."""
    folder, aside = run / "checkpoints", run / "aside"
    folder.rename(aside)
    folder.touch()
    try:
        yield
    finally:
        folder.unlink()
        aside.rename(folder)


def short(config: LearnerConfig) -> LearnerConfig:
    """The same with one update of each kind."""
    return dataclasses.replace(
        config, targets=StageTargets(teacher_steps=STEPS, offline_updates=1, online_updates=1)
    )


def report_final(client: ProgressClient, updates: int) -> None:
    played = EvaluationReport(
        weights_version=updates + 1, episode_returns=(0.0,), episode_steps=(9,), epsilon=0.001
    )
    client.report(played)


def test_a_run_is_over_only_when_a_checkpoint_holds_its_end(
    unbound: Workplace, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("services.learner.loop._RETRY_SECONDS", 0.1)
    config = dataclasses.replace(short(unbound.config), farewell_seconds=None)
    with (
        working(config) as progress,
        contextlib.closing(ProgressClient(f"localhost:{config.port}")) as client,
    ):
        wait_for(progress, lambda got: got.stage is Stage.FINAL_EVALUATION)
        wait_for(client.progress, lambda got: got.saved.stage == Stage.FINAL_EVALUATION)
        with no_place_for_checkpoints(unbound.run):
            report_final(client, updates=2)
            failing = wait_for(client.progress, lambda got: got.checkpoint_failure)
            assert failing.progress.stage == Stage.FINISHED
            assert failing.saved.stage == Stage.FINAL_EVALUATION
        saved = wait_for(client.progress, lambda got: got.saved.stage == Stage.FINISHED)
        assert saved.checkpoint_failure == ""
    newest = newest_commit(unbound.run)
    assert newest is not None and newest.record.progress.stage is Stage.FINISHED


def test_a_learner_that_cannot_save_what_it_did_last_says_what_is_lost(unbound: Workplace) -> None:
    committed(unbound.config, 8)
    learner = joined(unbound.config)
    work(learner, 12)
    unbound.learner, stop = learner, threading.Event()
    stop.set()
    newest = newest_commit(unbound.run)
    assert newest is not None
    kept = newest.record.progress.learner_updates
    lost = rf"updates {kept + 1} to 12 are lost.*File exists.*newest checkpoint has {kept} updates"
    with no_place_for_checkpoints(unbound.run), pytest.raises(UserError, match=lost):
        learner._commit_the_end(stop)


def test_two_shards_are_learned_from_counted_and_committed_as_one(
    workplace: Workplace, tmp_path: Path
) -> None:
    close(workplace.learner)
    second = Replay(tmp_path / "second")
    try:
        for address in (workplace.replay.address, second.address):
            fill(address, TEACHER_TABLE)
            fill(address, STUDENT_TABLE)
        config = dataclasses.replace(
            workplace.config,
            replay=(workplace.replay.shard, second.shard),
            targets=StageTargets(teacher_steps=2 * STEPS, offline_updates=6, online_updates=40),
        )
        workplace.learner = learner = joined(config)
        work(learner, 6 + 8)
        assert learner.progress.actor_steps == learner.progress.teacher_steps == 2 * STEPS
        # Eight online batches of 32, from each shard in turn; the rest was fetched ahead.
        for address in (workplace.replay.address, second.address):
            assert table_counts(address)[STUDENT_TABLE].sampled >= 4 * 32
        learner.commit()
        close(learner)
        second = second.again()
        workplace.learner = learner = joined(config)
        assert learner.progress.actor_steps == 2 * STEPS
        work(learner, 6 + 10)
    finally:
        second.stop()


def is_gone(progress: Callable[[], Progress]) -> bool:
    try:
        progress()
    except LearnerUnavailable:
        return True
    return False


@pytest.mark.slow
@pytest.mark.parametrize("farewell_seconds", [0.5, None])
def test_a_finished_learner_answers_for_as_long_as_it_is_told_to(
    unbound: Workplace, farewell_seconds: float | None
) -> None:
    config = dataclasses.replace(short(unbound.config), farewell_seconds=farewell_seconds)
    with (
        working(config) as progress,
        contextlib.closing(ProgressClient(f"localhost:{config.port}")) as client,
    ):
        last = wait_for(progress, lambda got: got.stage is Stage.FINAL_EVALUATION)
        report_final(client, updates=last.learner_updates)
        wait_for(progress, lambda got: got.stage is Stage.FINISHED)
        if farewell_seconds is None:
            threading.Event().wait(1.5)
            assert progress().stage is Stage.FINISHED
        else:
            wait_until(lambda: is_gone(progress), "the learner has gone")


RETURNS = {4: -0.5, 7: 0.1, 12: 0.2, 17: -0.2, 19: 0.6}
"""What the weights of a short run return, by version."""


def result(version: int) -> EvaluationReport:
    return EvaluationReport(
        weights_version=version,
        episode_returns=(RETURNS[version],),
        episode_steps=(9,),
        epsilon=0.001,
    )


@contextlib.contextmanager
def another_run(folder: Path) -> Iterator[LearnerConfig]:
    """A run with both tables filled, of 6 and 12 updates, which waits for each evaluation."""
    run = folder / "run"
    run.mkdir(parents=True)
    replay = Replay(run / "replay")
    fill(replay.address, TEACHER_TABLE)
    fill(replay.address, STUDENT_TABLE)
    try:
        yield dataclasses.replace(
            config_of(run, replay.shard),
            targets=StageTargets(teacher_steps=STEPS, offline_updates=6, online_updates=12),
            pause_for_evaluation=True,
            farewell_seconds=None,
        )
    finally:
        replay.stop()


def evaluated_to_its_end(config: LearnerConfig) -> tuple[list[int], Progress]:
    """Train a run to its end; gives the versions that an evaluator had to play, and its end."""
    played: list[int] = []
    address = f"localhost:{config.port}"
    with (
        working(config) as progress,
        contextlib.closing(WeightClient(address, Purpose.EVALUATE)) as evaluations,
        contextlib.closing(ProgressClient(address)) as results,
    ):
        while wait_for(progress, lambda _: True).stage is not Stage.FINISHED:
            update = evaluations.fetch(0)
            if update.params is not None:
                results.report(dataclasses.replace(result(update.version), session=update.session))
                played.append(update.version)
            threading.Event().wait(0.01)
        return played, progress()


def interrupted(config: LearnerConfig, when: str) -> None:
    """Train until weights 12 are to be evaluated and a checkpoint is made, then end as by a kill.

    Args:
        config: Of the run.
        when: Whether the result comes in before the checkpoint, after it, or never.
    """
    learner = joined(config)
    stop = threading.Event()
    for _ in range(200):
        learner.step(stop)
        version = learner.evaluation.version
        if version == 12:
            break
        if version:
            learner.take_evaluation(result(version))
    if when == "before":
        learner.take_evaluation(result(12))
    learner.commit()
    if when == "after":
        learner.take_evaluation(result(12))
    close(learner)


@pytest.mark.parametrize(
    ("when", "left"),
    [("before", [17, 19]), ("after", [17, 19]), ("never", [12, 17, 19])],
)
def test_an_interrupted_run_weans_as_an_uninterrupted_one_does(
    tmp_path: Path, when: str, left: list[int]
) -> None:
    with another_run(tmp_path / "whole") as config:
        whole = config.run / "metrics" / "evaluations.jsonl"
        played, end = evaluated_to_its_end(config)
        assert played == list(RETURNS)
    with another_run(tmp_path / "interrupted") as config:
        parts = config.run / "metrics" / "evaluations.jsonl"
        interrupted(config, when)
        resumed, same_end = evaluated_to_its_end(config)
    # Only what was outstanding at the checkpoint and did not come back is played again.
    assert resumed == left
    seen = [
        [
            (one.weights_version, one.learner_updates, one.episode_returns, one.weaning_weight)
            for one in read_records(file)
        ]
        for file in (whole, parts)
    ]
    assert seen[0] == seen[1]
    # 1 - (0.2 + 0.6) / 1.6, 1 - (-0.2 + 0.6) / 1.6, 1 - (0.6 + 0.6) / 1.6
    assert [weight for *_, weight in seen[1]] == pytest.approx([1.0, 1.0, 0.5, 0.75, 0.25])
    for progress in (end, same_end):
        assert (progress.evaluations, progress.evaluated_updates) == (5, 18)
        assert (progress.online_return, progress.weaning_weight) == (0.6, pytest.approx(0.25))

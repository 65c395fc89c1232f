"""Recorded data through the real importer, teacher service and replay server.

The oracle is Dopamine's own reader of the same files.
"""

from __future__ import annotations

import contextlib
import dataclasses
import gzip
import hashlib
import logging
import multiprocessing
import os
import signal
import socket
import threading
import time
from collections.abc import Callable, Iterator
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from dopamine.replay_memory.circular_replay_buffer import OutOfGraphReplayBuffer, invalid_range
from numpy.typing import NDArray

from rrl_agents.checkpoints.dopamine_replay.rows import open_dopamine_replay
from rrl_agents.checkpoints.sealed_json import seal
from rrl_agents.checkpoints.teacher_directory import load_teacher_directory
from rrl_agents.environments import catch
from rrl_client import TeacherClient
from services.cli.teacher_label import label_rows
from services.library.catalogue import BUNDLED_DIRECTORY
from services.recorded_data.config import ImporterConfig
from services.recorded_data.dataset import RecordedData, check_data
from services.recorded_data.importer import build_importer
from services.replay.checkpoint import checkpoint_replay, link_checkpoint
from services.replay.config import ReplayConfig
from services.replay.connection import table_counts
from services.replay.failures import ReplayTimeout, WriterStopped
from services.replay.item_layout import ItemLayout, StepRow, decode_batch
from services.replay.reader import ReplayReader
from services.replay.reverb_library import reverb
from services.replay.server import build_replay
from services.replay.table_names import STUDENT_TABLE, TEACHER_TABLE
from services.replay.writer import ReplayWriter
from services.shared.addresses import free_port
from services.shared.errors import UserError
from services.teacher.config import ModelConfig, TeacherConfig
from services.teacher.server import TeacherServer, build_teacher
from tests.support.patience import PATIENCE_SECONDS, wait_until
from tests.support.recorded_catch import recorded_catch

FIXTURES = Path(__file__).parents[1] / "fixtures"
GAMMA = 0.99
CATCH = ItemLayout(
    frame_shape=(catch.ROWS, catch.COLUMNS),
    stack_size=1,
    n_step=3,
    num_actions=3,
    clips_rewards=False,
)
PONG = ItemLayout(frame_shape=(84, 84), stack_size=4, n_step=3, num_actions=6, clips_rewards=False)

Transition = tuple[bytes, int, float, float, bytes | None]
"""State, action, n-step return, discount, and the next state where it is bootstrapped from."""


def fixture(name: str) -> Path:
    return FIXTURES / name / "1" / "checkpoints"


def serve_teacher(checkpoint: str, port: int = 0) -> TeacherServer:
    server = build_teacher(
        TeacherConfig(
            models=(ModelConfig(reference=checkpoint),),
            port=port,
            metrics_port=None,
        )
    )
    server.start()
    return server


@pytest.fixture(scope="module")
def pong_teacher() -> Iterator[str]:
    server = serve_teacher("pong_dqn")
    server.wait_until_ready()
    yield server.address
    server.stop()


@contextlib.contextmanager
def serving_replay(tmp_path: Path, layout: ItemLayout, **changes: Any) -> Iterator[str]:
    settings = ReplayConfig(layout=layout, checkpoint_root=tmp_path / "replay")
    server = build_replay(dataclasses.replace(settings, **changes))
    server.start()
    yield server.address
    server.stop()


def inserted(address: str, table: str = TEACHER_TABLE) -> int:
    """Transitions that a table has ever taken."""
    return table_counts(address, timeout_seconds=PATIENCE_SECONDS)[table].inserted


def config(run: Path, data: RecordedData, layout: ItemLayout, **changes: Any) -> ImporterConfig:
    run.mkdir(exist_ok=True)
    return dataclasses.replace(
        ImporterConfig(
            data=data,
            transitions=data.transitions,
            layout=layout,
            run=run,
            labels=None,
            teacher=load_teacher_directory(BUNDLED_DIRECTORY / "pong_dqn").card,
            replay_address="",
            teacher_address="",
        ),
        **changes,
    )


def items_in(
    address: str, layout: ItemLayout, table: str = TEACHER_TABLE
) -> list[dict[str, NDArray[Any]]]:
    """Every item of a table, once: samples are drawn until each key was met."""
    size = table_counts(address)[table].size
    client = reverb.pybind.Client(address)
    sampler = client.NewSampler(table, -1, 100)
    found: dict[int, dict[str, NDArray[Any]]] = {}
    while len(found) < size:
        # Key, probability, size of the table, priority, times sampled; then the rows.
        key, _, _, _, _, rows = sampler.GetNextTrajectory()
        columns = layout.columns(np.asarray(rows)[None])
        found[int(key)] = {name: column[0] for name, column in columns.items()}
    return list(found.values())


def decoded(items: list[dict[str, NDArray[Any]]], layout: ItemLayout) -> list[Transition]:
    columns = {name: np.stack([item[name] for item in items]) for name in layout.item_columns()}
    batch = decode_batch(columns, layout, GAMMA)
    return [
        (
            batch.observation[row].tobytes(),
            int(batch.action[row]),
            round(float(batch.n_step_return[row]), 4),
            round(float(batch.discount[row]), 6),
            batch.next_observation[row].tobytes() if batch.discount[row] else None,
        )
        for row in range(len(items))
    ]


def transitions_by_dopamine(directory: Path, number: int, layout: ItemLayout) -> list[Transition]:
    """What Dopamine's own buffer gives for each index it calls valid, in the order of time."""
    observations = directory / f"$store$_observation_ckpt.{number}.gz"
    with gzip.open(observations) as file:
        capacity = len(np.load(file))
    buffer = OutOfGraphReplayBuffer(
        observation_shape=layout.frame_shape,
        stack_size=layout.stack_size,
        replay_capacity=capacity,
        batch_size=1,
        update_horizon=layout.n_step,
        gamma=GAMMA,
    )
    buffer.load(str(directory), str(number))
    # What the file brings is of its writer's n.
    buffer.invalid_range = invalid_range(
        buffer.cursor(), capacity, layout.stack_size, layout.n_step
    )
    return [
        transition
        for place in range(capacity)
        for transition in _transition(buffer, (place + buffer.cursor()) % capacity)
    ]


def _transition(buffer: Any, index: int) -> list[Transition]:
    stack = [(index - behind) % buffer._replay_capacity for behind in range(1, buffer._stack_size)]
    # Dopamine also samples padding that follows an end which is not terminal.
    if not buffer.is_valid_transition(index) or set(stack) & buffer.episode_end_indices:
        return []
    batch = buffer.sample_transition_batch(batch_size=1, indices=[index])
    named = dict(zip([e.name for e in buffer.get_transition_elements(1)], batch, strict=True))
    terminal = bool(named["terminal"][0])
    return [
        (
            named["state"][0].tobytes(),
            int(named["action"][0]),
            round(float(named["reward"][0]), 4),
            0.0 if terminal else round(GAMMA**buffer._update_horizon, 6),
            None if terminal else named["next_state"][0].tobytes(),
        )
    ]


@pytest.mark.parametrize(
    ("name", "number", "layout"),
    [
        # Full, its cursor in the middle, with episodes cut off.
        ("dopamine4.0.6_flax0.6.11_jaxarray", 1, PONG),
        # Not full, with n of another length than its writer's.
        ("dopamine2.0.5_tf1", 199, dataclasses.replace(PONG, n_step=5)),
    ],
)
def test_the_table_holds_the_transitions_of_dopamines_reader_and_the_teachers_scores(
    tmp_path: Path, pong_teacher: str, name: str, number: int, layout: ItemLayout
) -> None:
    directory = fixture(name)
    expected = transitions_by_dopamine(directory, number, layout)
    with serving_replay(tmp_path, layout) as address:
        settings = config(
            tmp_path / "run",
            check_data(str(directory), number, layout),
            layout,
            replay_address=address,
            teacher_address=pong_teacher,
        )
        assert settings.transitions == len(expected)
        build_importer(settings).run(threading.Event())
        items = items_in(address, layout)
    assert sorted(decoded(items, layout), key=repr) == sorted(expected, key=repr)
    assert all(item["has_teacher"] == 1 for item in items)
    states = np.stack([np.moveaxis(item["frame"][: layout.stack_size], 0, -1) for item in items])
    with TeacherClient(pong_teacher) as client:
        scores = client.evaluate(states).action_values
    np.testing.assert_allclose([item["teacher_outputs"] for item in items], scores, atol=1e-5)


class Processes:
    """Replay server and importer as processes of their own, and their addresses."""

    def __init__(self, tmp_path: Path, teacher: str, data: Path, checkpoint: Path) -> None:
        self._tmp_path = tmp_path
        self._running: list[BaseProcess] = []
        self.replay_config = ReplayConfig(
            layout=CATCH, checkpoint_root=tmp_path / "replay", port=free_port()
        )
        self.settings = config(
            tmp_path / "run",
            check_data(str(data), 7, CATCH),
            CATCH,
            teacher=load_teacher_directory(Path(checkpoint)).card,
            teacher_address=teacher,
        )

    @property
    def address(self) -> str:
        return f"localhost:{self.replay_config.port}"

    def fill(self, table: str, transitions: int) -> None:
        """Choose the table; its items may be looked at without limit once all are in."""
        self.settings = dataclasses.replace(self.settings, table=table)
        self.replay_config = dataclasses.replace(
            self.replay_config, min_student_size=transitions, error_buffer=1e9
        )

    def start_replay(self) -> BaseProcess:
        """Returns once it listens: gRPC, once refused, may pause for 20 s before its next try."""
        process = self._start(serve, self.replay_config)
        wait_until(lambda: listens(self.replay_config.port))
        return process

    def start_importer(self) -> BaseProcess:
        settings = dataclasses.replace(self.settings, replay_address=self.address)
        return self._start(import_all, settings, self._tmp_path)

    def log(self, importer: BaseProcess) -> str:
        file = self._tmp_path / f"{importer.pid}.log"
        return file.read_text() if file.exists() else ""

    def wait_for(self, items: int) -> int:
        """Wait until the table has taken so many items; returns how many it has."""
        end = time.monotonic() + PATIENCE_SECONDS
        while True:
            with contextlib.suppress(ReplayTimeout):
                if (found := inserted(self.address, self.settings.table)) >= items:
                    return found
            assert time.monotonic() < end
            time.sleep(0.002)

    def checkpoint(self, name: str) -> Path:
        link_checkpoint(checkpoint_replay(self.address), self._tmp_path / name)
        return self._tmp_path / name

    def restore(self, checkpoint: Path) -> BaseProcess:
        self.replay_config = dataclasses.replace(self.replay_config, restore_from=checkpoint)
        return self.start_replay()

    def _start(self, function: Callable[..., None], *arguments: Any) -> BaseProcess:
        process = multiprocessing.get_context("spawn").Process(target=function, args=arguments)
        process.start()
        self._running.append(process)
        return process

    def kill(self, *processes: BaseProcess) -> None:
        """SIGKILL."""
        for process in processes:
            process.kill()
            process.join()

    def close(self) -> None:
        self.kill(*self._running)


def listens(port: int) -> bool:
    with contextlib.suppress(OSError), socket.create_connection(("localhost", port), timeout=1.0):
        return True
    return False


def serve(config: ReplayConfig) -> None:
    server = build_replay(config)
    server.start()
    signal.pause()


def import_all(config: ImporterConfig, logs: Path) -> None:
    logging.basicConfig(filename=logs / f"{os.getpid()}.log", level=logging.INFO)
    build_importer(config).run(threading.Event())


@pytest.fixture(scope="module")
def catch_data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return recorded_catch(tmp_path_factory.mktemp("data") / "catch", rows=7000, capacity=5000)


@pytest.fixture(scope="module")
def much_catch_data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """So much that a process can be killed in the middle, and again a thousand rows later."""
    return recorded_catch(tmp_path_factory.mktemp("data") / "catch", rows=22_000, capacity=20_000)


@pytest.fixture
def catch_service(catch_teacher: Path) -> Iterator[TeacherServer]:
    server = serve_teacher(str(catch_teacher))
    server.wait_until_ready()
    yield server
    server.stop()


@pytest.fixture
def processes(
    tmp_path: Path, catch_service: TeacherServer, much_catch_data: Path, catch_teacher: Path
) -> Iterator[Processes]:
    running = Processes(tmp_path, catch_service.address, much_catch_data, catch_teacher)
    yield running
    running.close()


@pytest.mark.slow
def test_killed_at_any_moment_the_import_ends_with_every_transition_once(
    processes: Processes, much_catch_data: Path, caplog: pytest.LogCaptureFixture
) -> None:
    expected = transitions_by_dopamine(much_catch_data, 7, CATCH)
    replay = processes.start_replay()
    # Two importers of one run: one waits until the other is gone, and takes over.
    first, second = processes.start_importer(), processes.start_importer()
    processes.wait_for(1000)
    if "import" not in processes.log(first):
        first, second = second, first
    processes.kill(first)
    interrupted = processes.wait_for(1)
    processes.wait_for(interrupted + 1000)
    # In the middle of writing, as a learner's checkpoint is.
    checkpoint = processes.checkpoint("checkpoint")
    assert processes.wait_for(1) < len(expected)
    assert f"importing transitions {interrupted} to {len(expected)}" in processes.log(second)

    # All are killed, and the table falls back to the checkpoint.
    processes.kill(second, replay)
    with serving_replay(checkpoint.parent, CATCH, restore_from=checkpoint) as address:
        restored = inserted(address)
        assert interrupted < restored < len(expected)
        settings = dataclasses.replace(processes.settings, replay_address=address)
        with caplog.at_level(logging.INFO):
            build_importer(settings).run(threading.Event())
            # Once it holds all there is nothing to do.
            build_importer(settings).run(threading.Event())
        assert f"importing transitions {restored} to {len(expected)}" in caplog.text
        assert caplog.text.count("holds its") == 1
        items = items_in(address, CATCH)
        assert inserted(address) == len(expected)
    assert sorted(decoded(items, CATCH), key=repr) == sorted(expected, key=repr)


def catch_config(tmp_path: Path, data: Path, checkpoint: Path, **changes: Any) -> ImporterConfig:
    teacher = load_teacher_directory(Path(checkpoint)).card
    looked_at = check_data(str(data), None, CATCH)
    return config(tmp_path / "run", looked_at, CATCH, teacher=teacher, **changes)


def test_of_more_than_is_wanted_the_newest_transitions_are_taken(
    tmp_path: Path, catch_data: Path, catch_teacher: Path, catch_service: TeacherServer
) -> None:
    expected = transitions_by_dopamine(catch_data, 7, CATCH)[-500:]
    with serving_replay(tmp_path, CATCH) as address:
        settings = catch_config(
            tmp_path,
            catch_data,
            catch_teacher,
            transitions=500,
            replay_address=address,
            teacher_address=catch_service.address,
        )
        build_importer(settings).run(threading.Event())
        items = items_in(address, CATCH)
    assert sorted(decoded(items, CATCH), key=repr) == sorted(expected, key=repr)
    # Nor were the others labelled: a few rows more than transitions.
    scores = np.load(settings.run / "teacher_labels" / "scores.npy")
    assert 500 < len(scores) < 700


def test_the_students_table_is_filled_likewise_and_resumes_after_a_stop(
    tmp_path: Path, catch_data: Path, catch_teacher: Path, catch_service: TeacherServer
) -> None:
    expected = transitions_by_dopamine(catch_data, 7, CATCH)
    settings = catch_config(
        tmp_path,
        catch_data,
        catch_teacher,
        table=STUDENT_TABLE,
        teacher_address=catch_service.address,
    )
    # All of the table is looked at below, which takes far more samples than a learner's share.
    limits = {"min_student_size": len(expected), "error_buffer": 1e9}
    with serving_replay(tmp_path, CATCH, **limits) as address:
        stop = threading.Event()
        importer = build_importer(dataclasses.replace(settings, replay_address=address))
        thread = threading.Thread(target=importer.run, args=(stop,))
        thread.start()
        wait_until(lambda: inserted(address, STUDENT_TABLE) >= 1000)
        link_checkpoint(checkpoint_replay(address), tmp_path / "checkpoint")
        stop.set()
        thread.join(PATIENCE_SECONDS)
    with serving_replay(tmp_path, CATCH, restore_from=tmp_path / "checkpoint", **limits) as address:
        assert 1000 <= inserted(address, STUDENT_TABLE) < len(expected)
        settings = dataclasses.replace(settings, replay_address=address)
        build_importer(settings).run(threading.Event())
        items = items_in(address, CATCH, STUDENT_TABLE)
        assert inserted(address, STUDENT_TABLE) == len(expected)
        assert inserted(address, TEACHER_TABLE) == 0
    assert sorted(decoded(items, CATCH), key=repr) == sorted(expected, key=repr)


def test_behind_reloaded_data_the_replay_ratio_counts_from_the_students_first_step(
    tmp_path: Path, catch_data: Path, catch_teacher: Path, catch_service: TeacherServer
) -> None:
    # The table is full of reloaded data, as a million transitions fill one of a million.
    limits = {
        "student_capacity": 500,
        "min_student_size": 500,
        "samples_per_insert": 4.0,
        "error_buffer": 64.0,
    }
    with serving_replay(tmp_path, CATCH, **limits) as address:
        settings = catch_config(
            tmp_path,
            catch_data,
            catch_teacher,
            table=STUDENT_TABLE,
            transitions=500,
            replay_address=address,
            teacher_address=catch_service.address,
        )
        build_importer(settings).run(threading.Event())
        assert inserted(address, STUDENT_TABLE) == 500
        stop = threading.Event()
        writer = ReplayWriter(address, STUDENT_TABLE, CATCH, 1, should_stop=stop.is_set)
        thread = threading.Thread(target=play_until_stopped, args=(writer,))
        thread.start()
        # With nothing sampled, 64 / 4 = 16 steps, one more; then the actor waits.
        wait_until(lambda: inserted(address, STUDENT_TABLE) >= 516)
        time.sleep(0.3)
        assert inserted(address, STUDENT_TABLE) <= 517
        reader = ReplayReader(address, CATCH, GAMMA, 8)
        for _ in range(50):
            reader.sample(STUDENT_TABLE, timeout_seconds=PATIENCE_SECONDS)
            now = table_counts(address)[STUDENT_TABLE]
            assert abs(4 * (now.inserted - 500) - now.sampled) <= 64 + 4
            assert now.size == 500
        reader.close()
        stop.set()
        thread.join(PATIENCE_SECONDS)
        writer.close()


def test_a_student_that_begins_to_play_at_once_is_no_server_that_fell_back(
    tmp_path: Path,
    catch_data: Path,
    catch_teacher: Path,
    catch_service: TeacherServer,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    transitions, student_plays, played = 500, 3, threading.Event()
    with serving_replay(tmp_path, CATCH, min_student_size=transitions) as address:

        def count_late(config: ImporterConfig) -> int:
            """The importer's look at the table comes after the student's first steps."""
            if inserted(address, STUDENT_TABLE) == transitions and not played.is_set():
                played.set()
                writer = ReplayWriter(address, STUDENT_TABLE, CATCH, 1)
                for _ in range(student_plays):
                    writer.append(0, StepRow(np.zeros((10, 5), np.uint8), 0, 0.0, False, None))
                writer.end_episode(0, np.zeros((10, 5), np.uint8))
                assert writer.flush(20.0)
                writer.close()
            return inserted(address, STUDENT_TABLE)

        monkeypatch.setattr("services.recorded_data.transfer.inserted_items", count_late)
        settings = catch_config(
            tmp_path,
            catch_data,
            catch_teacher,
            table=STUDENT_TABLE,
            transitions=transitions,
            replay_address=address,
            teacher_address=catch_service.address,
        )
        build_importer(settings).run(threading.Event())
        assert inserted(address, STUDENT_TABLE) == transitions + student_plays
    assert "filling the table again" not in caplog.text


def play_until_stopped(writer: ReplayWriter) -> None:
    frame = np.zeros(CATCH.frame_shape, np.uint8)
    with contextlib.suppress(WriterStopped):
        while True:
            writer.append(0, StepRow(frame, 0, 0.0, False, None))


def test_labels_that_are_there_are_taken_and_the_teacher_is_not_asked_again(
    tmp_path: Path, catch_data: Path, catch_teacher: Path, catch_service: TeacherServer
) -> None:
    labels, _ = label_rows(open_dopamine_replay(catch_data), catch_service.address, beside=tmp_path)
    # Labels of their own, so that it shows where scores come from.
    scores = np.load(labels.directory / "scores.npy", mmap_mode="r+")
    scores[:] = np.arange(len(scores))[:, None]
    scores.flush()
    progress = labels.directory / "progress.json"
    digest = hashlib.sha256(scores.tobytes()).hexdigest()
    progress.write_text(seal({"rows": len(scores), "scores_sha256": digest}))
    with serving_replay(tmp_path, CATCH) as address:
        settings = catch_config(
            tmp_path,
            catch_data,
            catch_teacher,
            transitions=500,
            labels=labels.directory,
            replay_address=address,
            teacher_address=catch_service.address,
        )
        build_importer(settings).run(threading.Event())
        items = items_in(address, CATCH)
    newest = open_dopamine_replay(catch_data).transition_rows(CATCH.n_step)[-500:]
    assert sorted(item["teacher_outputs"][0] for item in items) == newest.tolist()


@pytest.mark.slow
def test_an_unavailable_teacher_is_waited_for(
    tmp_path: Path, catch_data: Path, catch_teacher: Path, caplog: pytest.LogCaptureFixture
) -> None:
    port, stop = free_port(), threading.Event()
    with serving_replay(tmp_path, CATCH) as address:
        settings = catch_config(
            tmp_path,
            catch_data,
            catch_teacher,
            replay_address=address,
            teacher_address=f"localhost:{port}",
            teacher_timeout_seconds=1.0,
        )
        thread = threading.Thread(target=build_importer(settings).run, args=(stop,), daemon=True)
        thread.start()
        wait_until(lambda: "waiting for the teacher" in caplog.text)
        stop.set()
        thread.join(PATIENCE_SECONDS)
        assert not thread.is_alive()

        thread = threading.Thread(
            target=build_importer(settings).run, args=(threading.Event(),), daemon=True
        )
        thread.start()
        server = serve_teacher(str(catch_teacher), port)
        wait_until(lambda: inserted(address) > 0)
        # Away in the middle of it, too.
        server.stop(0)
        caplog.clear()
        wait_until(lambda: "waiting for the teacher" in caplog.text)
        assert inserted(address) < settings.transitions
        server = serve_teacher(str(catch_teacher), port)
        thread.join(PATIENCE_SECONDS)
        assert not thread.is_alive()
        assert inserted(address) == settings.transitions
        assert all(item["has_teacher"] == 1 for item in items_in(address, CATCH))
        server.stop(0)


def test_scores_of_another_teacher_are_refused(
    tmp_path: Path, catch_data: Path, catch_teacher: Path, pong_teacher: str
) -> None:
    with serving_replay(tmp_path, CATCH) as address:
        settings = catch_config(
            tmp_path,
            catch_data,
            catch_teacher,
            replay_address=address,
            teacher_address=pong_teacher,
        )
        with pytest.raises(UserError, match="not this run's catch_by_hand .* serve that one"):
            build_importer(settings).run(threading.Event())


def test_data_that_changed_since_the_run_was_set_up_is_refused(
    tmp_path: Path, catch_data: Path, catch_teacher: Path
) -> None:
    with serving_replay(tmp_path, CATCH) as address:
        settings = catch_config(
            tmp_path,
            catch_data,
            catch_teacher,
            replay_address=address,
            teacher_address="localhost:1",
        )
        other = recorded_catch(tmp_path / "other", rows=3000, capacity=5000)
        changed = dataclasses.replace(settings.data, path=str(other))
        with pytest.raises(UserError, match="other data than when this run was set up"):
            build_importer(dataclasses.replace(settings, data=changed)).run(threading.Event())


@contextlib.contextmanager
def stopped(process: BaseProcess) -> Iterator[None]:
    """Suspend it for the body."""
    assert process.pid is not None
    os.kill(process.pid, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(process.pid, signal.SIGCONT)


@pytest.mark.slow
@pytest.mark.parametrize("table", [TEACHER_TABLE, STUDENT_TABLE])
def test_a_replay_server_that_falls_back_while_the_importer_runs_is_filled_again(
    processes: Processes, much_catch_data: Path, table: str
) -> None:
    expected = transitions_by_dopamine(much_catch_data, 7, CATCH)
    processes.fill(table, len(expected))
    replay, importer = processes.start_replay(), processes.start_importer()
    processes.wait_for(500)
    with stopped(importer):
        checkpoint = processes.checkpoint("checkpoint")
    processes.wait_for(2000)
    # Else it may be done before its server is gone.
    with stopped(importer):
        processes.kill(replay)
    processes.restore(checkpoint)
    importer.join(PATIENCE_SECONDS)
    assert importer.exitcode == 0
    assert "filling the table again" in processes.log(importer)
    assert inserted(processes.address, table) == len(expected)
    items = items_in(processes.address, CATCH, table)
    assert sorted(decoded(items, CATCH), key=repr) == sorted(expected, key=repr)

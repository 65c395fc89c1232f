"""The same-host path: a real listener and real clients over shared memory, some of them hostile.

The engine is a small one of this file: it answers every row with its sum and minus its sum, on a
thread, in batches of whatever is queued, while its gate is open.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import queue
import signal
import socket
import subprocess
import sys
import threading
import time
import types
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from rrl_client import Priority
from rrl_client.requests import Refusal, RefusalCode
from services.shared.errors import UserError
from services.teacher.batching.query import Query
from services.teacher.same_host import listener as listener_module
from services.teacher.same_host import wire
from services.teacher.same_host.connection import SameHostConnection
from services.teacher.same_host.dial import dial
from services.teacher.same_host.listener import SameHostConfig, SameHostListener
from tests.support.patience import PATIENCE_SECONDS

SHAPE = (4, 3)
HASH = "0123456789abcdef"


class RowSums:
    """Answers [sum, -sum] of each row."""

    def __init__(self) -> None:
        self.gate = threading.Event()
        self.gate.set()
        self.asked = 0
        self.taken: list[Query] = []
        self.wrong_value: float | None = None
        self._queue: queue.SimpleQueue[Query | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def describe(self, model: str = "", version: str = "") -> Any:
        if model not in ("", "sums"):
            raise Refusal(RefusalCode.NOT_FOUND, f"no model {model!r}; there is 'sums'")
        if version not in ("", "1"):
            raise Refusal(RefusalCode.NOT_FOUND, f"no version {version!r} of 'sums'")
        return types.SimpleNamespace(
            num_actions=2, observation_shape=SHAPE, observation_dtype="uint8"
        )

    def submit(self, query: Query, model: str = "", version: str = "") -> None:
        self.asked += 1
        if query.priority is Priority.EVALUATION:
            raise Refusal(RefusalCode.RESOURCE_EXHAUSTED, "no room for this priority", 0.5)
        self._queue.put(query)

    def stop(self) -> None:
        self.gate.set()
        self._queue.put(None)
        self._thread.join(PATIENCE_SECONDS)

    def answer(self, query: Query) -> None:
        sums = query.observations.sum(axis=(1, 2), dtype=np.float32)
        query.values[:, 0], query.values[:, 1] = sums, -sums
        if self.wrong_value is not None:
            query.values[0, 0] = self.wrong_value
        query.version, query.parameters_hash = 7, HASH

    def _run(self) -> None:
        # Waiting for the next, nothing here may hold a query: its memory would stay.
        while self._answer_next():
            pass

    def _answer_next(self) -> bool:
        batch = [self._queue.get()]
        with contextlib.suppress(queue.Empty):
            while True:
                batch.append(self._queue.get_nowait())
        queries = [query for query in batch if query is not None]
        self.taken = queries
        self.gate.wait()
        for query in queries:
            if query.cancelled:
                query.refusal = Refusal(RefusalCode.CANCELLED, "cancelled")
            elif query.deadline < time.monotonic():
                query.refusal = Refusal(RefusalCode.DEADLINE_EXCEEDED, "too late")
            else:
                self.answer(query)
        self.taken = []
        if queries:
            queries[0].sink.settled(queries)
        return None not in batch


class AtOnce(RowSums):
    """Answers within `submit`, so that nothing is ever under way."""

    def submit(self, query: Query, model: str = "", version: str = "") -> None:
        self.answer(query)
        query.sink.settled([query])


@pytest.fixture
def engine() -> Iterator[RowSums]:
    made = RowSums()
    yield made
    made.stop()


@pytest.fixture
def server(engine: RowSums, tmp_path: Path) -> Iterator[SameHostListener]:
    made = SameHostListener(engine, SameHostConfig(directory=tmp_path))
    yield made
    engine.gate.set()
    made.close()


def connect(server: SameHostListener, **options: Any) -> SameHostConnection:
    return SameHostConnection(server.socket_path, server.ticket, **options)


def raw_client(server: SameHostListener, rows: int = 8) -> socket.socket:
    connection, _ = dial(
        server.socket_path, wire.Hello(rows, server.ticket, "", ""), PATIENCE_SECONDS
    )
    connection.settimeout(PATIENCE_SECONDS)
    return connection


def random_rows(rows: int, seed: int = 0) -> NDArray[np.uint8]:
    return np.random.default_rng(seed).integers(0, 256, (rows, *SHAPE), np.uint8)


def sums_of(observations: NDArray[Any]) -> NDArray[np.float32]:
    sums = observations.reshape(len(observations), -1).astype(np.float32).sum(axis=1)
    return np.stack([sums, -sums], axis=1)


def soon(holds: Callable[[], bool]) -> bool:
    end = time.monotonic() + PATIENCE_SECONDS
    while not holds() and time.monotonic() < end:
        time.sleep(0.005)
    return holds()


def mappings() -> set[tuple[str, str]]:
    """Address range and inode of each region that is mapped."""
    lines = Path("/proc/self/maps").read_text().splitlines()
    fields = [line.split() for line in lines if "rrl-teacher-same-host" in line]
    return {(field[0], field[4]) for field in fields}


def descriptors() -> set[tuple[int, str]]:
    """Each open descriptor's number and what it stands for."""
    found = set()
    for number in os.listdir("/proc/self/fd"):
        # The listing's own descriptor is gone by now, as may be one of another test's threads.
        with contextlib.suppress(FileNotFoundError):
            found.add((int(number), os.readlink(f"/proc/self/fd/{number}")))
    return found


# What it is for.


@pytest.mark.parametrize("rows", [1, 2, 512])
def test_a_client_gets_the_values_of_its_rows(server: SameHostListener, rows: int) -> None:
    observations = random_rows(rows)
    with connect(server) as connection:
        answer = connection.submit(observations, PATIENCE_SECONDS).result()
    np.testing.assert_array_equal(answer.action_values, sums_of(observations))
    assert answer.action_values.dtype == np.float32
    assert (answer.teacher_version, answer.model_version) == (HASH, 7)


def test_many_queries_under_way_each_get_their_own_answer(
    server: SameHostListener, engine: RowSums
) -> None:
    engine.gate.clear()
    batches = [random_rows(1 + seed % 5, seed) for seed in range(100)]
    with connect(server) as connection:
        futures = [connection.submit(batch, PATIENCE_SECONDS) for batch in batches]
        assert not any(future.done() for future in futures)
        engine.gate.set()
        for batch, future in zip(reversed(batches), reversed(futures), strict=True):
            np.testing.assert_array_equal(future.result().action_values, sums_of(batch))
        assert all(future.done() for future in futures)


def test_queries_left_for_a_flush_go_as_one_packet(
    server: SameHostListener, engine: RowSums
) -> None:
    with connect(server) as connection:
        futures = [
            connection.submit(random_rows(1, i), PATIENCE_SECONDS, flush=False) for i in range(9)
        ]
        time.sleep(0.05)
        assert not engine.asked
        connection.flush()
        for seed, future in enumerate(futures):
            expected = sums_of(random_rows(1, seed))
            np.testing.assert_array_equal(future.result().action_values, expected)


def test_observations_can_be_written_where_they_are_read(server: SameHostListener) -> None:
    with connect(server, rows=4) as connection:
        unused = connection.reserve(2, 1.0)
        reservation = connection.reserve(2, 1.0)
        reservation.observations[:] = random_rows(2)
        answer = connection.submit_reserved(reservation, PATIENCE_SECONDS).result()
        connection.give_back(unused)
        np.testing.assert_array_equal(answer.action_values, sums_of(random_rows(2)))
        connection.submit(random_rows(4), PATIENCE_SECONDS).result()  # all rows are free again


def test_threads_share_a_connection(server: SameHostListener) -> None:
    right = []

    def ask(connection: SameHostConnection, seed: int) -> None:
        for turn in range(100):
            batch = random_rows(1 + (seed + turn) % 3, 1000 * seed + turn)
            values = connection.submit(batch, PATIENCE_SECONDS).result().action_values
            right.append(np.array_equal(values, sums_of(batch)))

    # 8 threads with up to 3 rows each, and room for 5: some wait for rows, some for answers.
    with connect(server, rows=5) as connection:
        threads = [threading.Thread(target=ask, args=(connection, seed)) for seed in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(PATIENCE_SECONDS)
    assert len(right) == 800 and all(right)


def test_a_callback_needs_nobody_who_waits(server: SameHostListener) -> None:
    called = threading.Event()
    with connect(server) as connection:
        future = connection.submit(random_rows(1), PATIENCE_SECONDS)
        future.add_done_callback(lambda _: called.set())
        assert called.wait(PATIENCE_SECONDS)
        again = []
        future.add_done_callback(again.append)
        assert again == [future]


def test_an_event_loop_reads_with_no_thread(server: SameHostListener) -> None:
    async def ask() -> list[NDArray[np.float32]]:
        loop = asyncio.get_running_loop()
        with connect(server, is_watched=True) as connection:
            loop.add_reader(connection.fileno(), connection.process_ready)
            answers = []
            for seed in range(20):
                answered = loop.create_future()
                future = connection.submit(random_rows(2, seed), PATIENCE_SECONDS, wait=False)
                future.add_done_callback(answered.set_result)
                answers.append((await answered).result().action_values)
            loop.remove_reader(connection.fileno())
        return answers

    before = {*threading.enumerate()}
    for seed, values in enumerate(asyncio.run(ask())):
        np.testing.assert_array_equal(values, sums_of(random_rows(2, seed)))
    assert {*threading.enumerate()} <= before


def test_a_client_that_reads_late_misses_nothing(tmp_path: Path) -> None:
    engine = AtOnce()
    server = SameHostListener(engine, SameHostConfig(directory=tmp_path))
    try:
        with connect(server, rows=512) as connection:
            # More answers than the socket holds (278 with Linux's default): the rest waits.
            futures = [
                connection.submit(random_rows(1, seed), PATIENCE_SECONDS) for seed in range(512)
            ]
            time.sleep(0.1)
            for seed, future in enumerate(futures):
                expected = sums_of(random_rows(1, seed))
                np.testing.assert_array_equal(future.result().action_values, expected)
    finally:
        server.close()
        engine.stop()


# What is refused.


def test_a_refusal_of_one_query_leaves_the_others(server: SameHostListener) -> None:
    with connect(server) as connection:
        refused = connection.submit(random_rows(1), PATIENCE_SECONDS, Priority.EVALUATION)
        fine = connection.submit(random_rows(1), PATIENCE_SECONDS, Priority.LABELLING)
        with pytest.raises(Refusal, match="no room for this priority") as caught:
            refused.result()
        assert caught.value.code is RefusalCode.RESOURCE_EXHAUSTED
        assert caught.value.retry_after_seconds == 0.5
        fine.result()


def test_a_cancelled_query_is_not_computed(server: SameHostListener, engine: RowSums) -> None:
    engine.gate.clear()
    with connect(server, rows=1) as connection:
        future = connection.submit(random_rows(1), PATIENCE_SECONDS)
        assert soon(lambda: len(engine.taken) == 1)
        query = engine.taken[0]
        assert future.cancel() and not future.cancel()
        with pytest.raises(Refusal) as caught:
            future.result()
        assert caught.value.code is RefusalCode.CANCELLED
        assert soon(lambda: query.cancelled)
        # Its rows are in the server's hands until it has settled the query.
        with pytest.raises(Refusal, match="1 rows are under way"):
            connection.submit(random_rows(1), PATIENCE_SECONDS, wait=False)
        engine.gate.set()
        connection.submit(random_rows(1), PATIENCE_SECONDS).result()


def test_the_server_tells_what_came_too_late(server: SameHostListener, engine: RowSums) -> None:
    engine.gate.clear()
    with connect(server) as connection:
        future = connection.submit(random_rows(1), 0.02)
        time.sleep(0.03)
        engine.gate.set()
        with pytest.raises(Refusal) as caught:
            future.result()
        assert caught.value.code is RefusalCode.DEADLINE_EXCEEDED


def test_a_silent_server_is_waited_for_until_the_deadline(
    server: SameHostListener, engine: RowSums
) -> None:
    engine.gate.clear()
    with connect(server) as connection:
        start = time.monotonic()
        future = connection.submit(random_rows(1), 2.0)
        with pytest.raises(TimeoutError):
            future.result(timeout_seconds=0.05)
        # The gate is closed: no answer comes.
        with pytest.raises(Refusal) as caught:
            future.result()
        assert caught.value.code is RefusalCode.DEADLINE_EXCEEDED
        assert time.monotonic() - start >= 2.0


def test_who_finds_no_free_rows_waits_until_the_deadline(
    server: SameHostListener, engine: RowSums
) -> None:
    engine.gate.clear()
    with connect(server, rows=2) as connection:
        connection.submit(random_rows(2), PATIENCE_SECONDS)
        with pytest.raises(Refusal, match="no room for 1 more") as caught:
            connection.submit(random_rows(1), 0.05)
        assert caught.value.code is RefusalCode.RESOURCE_EXHAUSTED
        threading.Timer(0.05, engine.gate.set).start()
        connection.submit(random_rows(1), PATIENCE_SECONDS).result()


def test_more_rows_than_granted_are_the_callers_mistake(engine: RowSums, tmp_path: Path) -> None:
    config = SameHostConfig(rows_per_connection=3, directory=tmp_path)
    server = SameHostListener(engine, config)
    try:
        with connect(server, rows=100) as connection:
            assert connection.layout.rows == 3
            with pytest.raises(ValueError, match="has 1 to 3 at once"):
                connection.submit(random_rows(4), PATIENCE_SECONDS)
            with pytest.raises(ValueError, match="has 1 to 3 at once"):
                connection.submit(random_rows(0), PATIENCE_SECONDS)
    finally:
        server.close()


@pytest.mark.parametrize(
    "wrong",
    [
        np.zeros((1, *SHAPE), np.float32),
        np.zeros((1, 3, 4), np.uint8),
        np.zeros(SHAPE, np.uint8),
        np.zeros((), np.uint8),
    ],
)
def test_observations_that_do_not_fit_are_not_sent(
    server: SameHostListener, wrong: NDArray[Any]
) -> None:
    with connect(server) as connection, pytest.raises(ValueError, match="the teacher takes uint8"):
        connection.submit(wrong, 1.0)


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_values_that_are_not_finite_are_no_answer(
    server: SameHostListener, engine: RowSums, value: float
) -> None:
    engine.wrong_value = value
    with connect(server) as connection, pytest.raises(Refusal, match="not finite"):
        connection.submit(random_rows(1), PATIENCE_SECONDS).result()


def test_values_whose_squares_overflow_are_an_answer(
    server: SameHostListener, engine: RowSums
) -> None:
    engine.wrong_value = 3e38  # squared it is beyond float32, whose largest is 3.4e38
    with connect(server) as connection:
        assert (
            connection.submit(random_rows(1), PATIENCE_SECONDS).result().action_values[0, 0]
            > 2.9e38
        )


@pytest.mark.parametrize(
    ("options", "code", "says"),
    [
        ({"model": "other"}, RefusalCode.NOT_FOUND, "no model 'other'"),
        ({"version": "2"}, RefusalCode.NOT_FOUND, "no version '2'"),
    ],
)
def test_what_is_not_served_is_refused_at_the_door(
    server: SameHostListener, options: dict[str, str], code: RefusalCode, says: str
) -> None:
    with pytest.raises(Refusal, match=says) as caught:
        connect(server, **options)
    assert caught.value.code is code
    connect(server, model="sums", version="1").close()


@pytest.mark.parametrize("ticket", [b"", b"x" * 32, b"x" * 64])
def test_a_wrong_ticket_opens_nothing(server: SameHostListener, ticket: bytes) -> None:
    with pytest.raises(Refusal, match="ticket") as caught:
        SameHostConnection(server.socket_path, ticket)
    assert caught.value.code is RefusalCode.FAILED_PRECONDITION
    assert server.shared_bytes == 0


def test_clients_beyond_the_limits_are_sent_to_grpc(engine: RowSums, tmp_path: Path) -> None:
    # One row is 12 bytes of observation and 8 of values; 64 are kept for alignment: 10 rows fit.
    config = SameHostConfig(max_connections=2, max_total_bytes=264, directory=tmp_path)
    server = SameHostListener(engine, config)
    try:
        with connect(server, rows=10) as first:
            assert first.layout.rows == 10
            with pytest.raises(Refusal, match="shared memory are taken") as caught:
                connect(server, rows=10)
            assert caught.value.code is RefusalCode.RESOURCE_EXHAUSTED
        assert soon(lambda: server.shared_bytes == 0)
        with (
            connect(server, rows=1),
            connect(server, rows=1),
            pytest.raises(Refusal, match="2 clients are connected already"),
        ):
            connect(server, rows=1)
    finally:
        server.close()


def test_nobody_at_the_path_is_unavailable(tmp_path: Path) -> None:
    with pytest.raises(Refusal, match="no teacher at") as caught:
        SameHostConnection(str(tmp_path / "nothing.sock"), b"ticket")
    assert caught.value.code is RefusalCode.UNAVAILABLE


@pytest.mark.parametrize("name", ["rows_per_connection", "max_connections", "max_total_bytes"])
def test_limits_of_nothing_are_refused(name: str) -> None:
    with pytest.raises(UserError, match=f"{name} is 0"):
        SameHostConfig(**{name: 0})


def test_a_directory_too_deep_for_a_socket_is_refused(engine: RowSums, tmp_path: Path) -> None:
    deep = tmp_path / ("d" * 100)
    deep.mkdir()
    with pytest.raises(UserError, match="too long for a socket"):
        SameHostListener(engine, SameHostConfig(directory=deep))
    assert not list(deep.iterdir())


# Ends.


def test_a_closed_server_fails_what_is_under_way_and_leaves_no_socket(
    server: SameHostListener, engine: RowSums
) -> None:
    engine.gate.clear()
    with connect(server) as connection:
        futures = [connection.submit(random_rows(1), PATIENCE_SECONDS) for _ in range(3)]
        assert soon(lambda: len(engine.taken) > 0)
        server.close()
        for future in futures:
            with pytest.raises(Refusal, match="the teacher stops") as caught:
                future.result()
            assert caught.value.code is RefusalCode.UNAVAILABLE
        assert connection.closed
        with pytest.raises(Refusal, match="the teacher stops"):
            connection.submit(random_rows(1), PATIENCE_SECONDS)
    assert not Path(server.socket_path).parent.exists()
    engine.gate.set()
    # Settled after the end: the sink takes it, and the memory is free.
    assert soon(lambda: server.shared_bytes == 0)


def test_closing_a_connection_wakes_who_waits(server: SameHostListener, engine: RowSums) -> None:
    engine.gate.clear()
    connection = connect(server)
    failures = []

    def wait() -> None:
        with pytest.raises(Refusal) as caught:
            connection.submit(random_rows(1), PATIENCE_SECONDS).result()
        failures.append(caught.value.code)

    threads = [threading.Thread(target=wait) for _ in range(3)]
    for thread in threads:
        thread.start()
    time.sleep(0.05)
    connection.close()
    for thread in threads:
        thread.join(PATIENCE_SECONDS)
    assert failures == [RefusalCode.UNAVAILABLE] * 3


def test_clients_that_come_and_go_leave_nothing(server: SameHostListener) -> None:
    opened, mapped = descriptors(), mappings()
    for seed in range(50):
        with connect(server) as connection:
            connection.submit(random_rows(3, seed), PATIENCE_SECONDS).result()
        del connection
    assert soon(lambda: descriptors() <= opened)  # fewer where an earlier test's are let go
    # Those of tests before may go meanwhile.
    assert soon(lambda: not mappings() - mapped)
    assert server.shared_bytes == 0


CLIENT = """
import sys, numpy as np
from services.teacher.same_host.connection import SameHostConnection
connection = SameHostConnection(sys.argv[1], bytes.fromhex(sys.argv[2]), rows=64)
futures = [connection.submit(np.ones((2, 4, 3), np.uint8), 60.0) for _ in range(32)]
print("asked", flush=True)
futures[0].result()
"""

SILENT_SERVER = """
import types
from services.teacher.same_host.listener import SameHostConfig, SameHostListener
class Silent:
    def describe(self, model, version):
        return types.SimpleNamespace(
            num_actions=2, observation_shape=(4, 3), observation_dtype="uint8")
    def submit(self, query, model, version):
        pass
listener = SameHostListener(Silent(), SameHostConfig())
print(listener.socket_path, listener.ticket.hex(), flush=True)
input()
listener.close()
"""


def python(program: str, *arguments: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", program, *arguments],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        cwd=Path(__file__).parents[2],
    )


def test_a_client_killed_with_queries_under_way_leaves_nothing(
    server: SameHostListener, engine: RowSums
) -> None:
    opened, mapped = descriptors(), mappings()
    engine.gate.clear()
    with python(CLIENT, server.socket_path, server.ticket.hex()) as client:
        assert client.stdout is not None
        assert client.stdout.readline() == "asked\n"
        assert soon(lambda: len(engine.taken) > 0)
        on_device = list(engine.taken)
        client.send_signal(signal.SIGKILL)
    assert soon(lambda: server.connections == 0)
    # The device may be reading: what it holds stays mapped, and nothing of it is wanted any more.
    assert all(query.cancelled for query in on_device)
    assert len(mappings() - mapped) == 1 and server.shared_bytes > 0
    assert on_device[0].observations.sum() == 24  # 2 rows of 4 * 3 ones: still readable
    on_device.clear()
    engine.gate.set()
    assert soon(lambda: server.shared_bytes == 0)
    # Those of tests before may go meanwhile.
    assert soon(lambda: not mappings() - mapped)
    assert soon(lambda: descriptors() <= opened)  # fewer where an earlier test's are let go


def test_a_killed_server_fails_its_clients_with_unavailable(tmp_path: Path) -> None:
    with python(SILENT_SERVER) as process:
        assert process.stdout is not None
        path, ticket = process.stdout.readline().split()
        with SameHostConnection(path, bytes.fromhex(ticket)) as connection:
            futures = [connection.submit(random_rows(1), PATIENCE_SECONDS) for _ in range(5)]
            called = threading.Event()
            futures[4].add_done_callback(lambda _: called.set())
            process.send_signal(signal.SIGKILL)
            for future in futures:
                with pytest.raises(Refusal) as caught:
                    future.result()
                assert caught.value.code is RefusalCode.UNAVAILABLE
            assert called.wait(PATIENCE_SECONDS)
            assert connection.closed
    # Nobody was left to remove it.
    Path(path).unlink()
    Path(path).parent.rmdir()


# Clients that do not keep to the protocol.


def goodbye_of(connection: socket.socket) -> str:
    """The reason of the GOODBYE that ends a connection; empty where it just ends."""
    reason = ""
    with contextlib.suppress(ConnectionResetError):
        while packet := connection.recv(wire.MAX_PACKET_BYTES):
            if wire.unpack_kind(packet) == wire.GOODBYE:
                reason = wire.unpack_failure(packet).reason
    return reason


@pytest.mark.parametrize(
    ("packet", "says"),
    [
        (b"x", "packet of 1 bytes"),
        (wire.KIND.pack(99), "kind 99 is not for a server"),
        (wire.KIND.pack(wire.ANSWER) + bytes(28), "kind 5 is not for a server"),
        (wire.KIND.pack(wire.QUERY) + bytes(19), "19 bytes of records of 20"),
        (wire.KIND.pack(wire.CANCEL), "0 bytes of records of 4"),
        (bytes(wire.MAX_PACKET_BYTES + 1), "packet over 16384 bytes"),
        (wire.QUERIES.pack([(1, 0, 0, 0, 0)]), "query 1 of rows 0 to 0"),
        (wire.QUERIES.pack([(1, 0, 9, 0, 0)]), "query 1 of rows 0 to 9"),
        (wire.QUERIES.pack([(1, 8, 1, 0, 0)]), "query 1 of rows 8 to 9"),
        (wire.QUERIES.pack([(1, 2**32 - 1, 2**32 - 1, 0, 0)]), "query 1 of rows 4294967295"),
        (wire.QUERIES.pack([(1, 0, 1, 3, 0)]), "in priority 3"),
        (wire.QUERIES.pack([(1, 0, 1, 0, 0), (1, 1, 1, 0, 0)]), "one query's at a time"),
        (wire.QUERIES.pack([(1, 0, 8, 0, 0), (2, 0, 1, 0, 0)]), "than the 8 granted"),
    ],
)
def test_who_breaks_the_protocol_is_told_and_disconnected(
    server: SameHostListener, engine: RowSums, packet: bytes, says: str
) -> None:
    engine.gate.clear()
    with raw_client(server) as connection:
        connection.send(packet)
        assert says in goodbye_of(connection)
    engine.gate.set()
    assert soon(lambda: server.connections == 0 and server.shared_bytes == 0)


def test_who_cancels_what_is_not_under_way_is_not_bothered(server: SameHostListener) -> None:
    with raw_client(server) as connection:
        connection.send(wire.CANCELS.pack([(3,), (4,)]))
        connection.send(wire.QUERIES.pack([(9, 0, 1, 0, 0)]))
        assert wire.ONE_ANSWER.unpack(connection.recv(100))[:2] == (wire.ANSWER, 9)


def test_who_reads_no_answers_is_disconnected(tmp_path: Path) -> None:
    engine = AtOnce()
    server = SameHostListener(engine, SameHostConfig(directory=tmp_path))
    try:
        with raw_client(server) as connection, pytest.raises(ConnectionError):
            # The socket holds 278 answers, the outbox as many as there are rows: 8.
            for tag in range(2000):
                connection.send(wire.QUERIES.pack([(tag, 0, 1, 0, 0)]))
        assert soon(lambda: server.connections == 0)
        with connect(server) as polite:
            polite.submit(random_rows(1), PATIENCE_SECONDS).result()
    finally:
        server.close()
        engine.stop()


def test_who_greets_nobody_is_let_go(
    server: SameHostListener, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(listener_module, "_GREETING_SECONDS", 0.05)
    monkeypatch.setattr(listener_module, "_TICK_SECONDS", 0.02)
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as silent:
        silent.settimeout(PATIENCE_SECONDS)
        silent.connect(server.socket_path)
        assert silent.recv(100) == b""


@settings(
    max_examples=60,
    deadline=None,
)
@given(
    st.lists(
        st.binary(min_size=1, max_size=64)
        | st.builds(
            lambda records: wire.QUERIES.pack(records),
            st.lists(st.tuples(*[st.integers(0, 9) | st.integers(0, 2**32 - 1)] * 5), min_size=1),
        )
        | st.builds(lambda noise: wire.KIND.pack(wire.CANCEL) + noise, st.binary(max_size=12)),
        min_size=1,
        max_size=6,
    ),
    st.booleans(),
)
def test_random_packets_harm_nobody_else(
    server: SameHostListener, packets: list[bytes], greets: bool
) -> None:
    if greets:
        hostile = raw_client(server)
    else:
        hostile = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        hostile.connect(server.socket_path)
    with hostile, contextlib.suppress(ConnectionError):
        for packet in packets:
            hostile.send(packet)
    with connect(server, rows=2) as polite:
        answer = polite.submit(random_rows(2), PATIENCE_SECONDS).result()
    np.testing.assert_array_equal(answer.action_values, sums_of(random_rows(2)))
    assert soon(lambda: server.connections == 0 and server.shared_bytes == 0)

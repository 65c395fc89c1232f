"""Every client, with and without shared memory, against the real server over real sockets.

Action a of an observation is worth (a + 1) times the sum of its six pixels, plus 1000 in version
"v2" of the parameters.
"""

from __future__ import annotations

import asyncio
import concurrent.futures
import contextlib
import dataclasses
import gc
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import trustme

from rrl_client import (
    AsyncTeacherClient,
    ClientSecurity,
    Priority,
    TeacherClient,
    TeacherFailed,
    TeacherNotFound,
    TeacherOverloaded,
    TeacherPolicy,
    TeacherTimeout,
    TeacherUnauthenticated,
    TeacherUnavailable,
)
from services.shared.addresses import free_port
from services.shared.security.server import SecurityConfig
from services.teacher.batching.query import Query
from services.teacher.config import BatchingConfig, ModelConfig, TeacherConfig
from services.teacher.rpc.offered_memory import OfferedMemory
from services.teacher.server import TeacherServer
from tests.support.asyncio_clients import FromThread
from tests.support.patience import PATIENCE_SECONDS, wait_until
from tests.support.policies import PixelSums, expected, observations

MAX_BATCH_ROWS = 16
MAX_QUEUE_ROWS = 64
MEMORY = (True, False)
"""Whether observations lie in shared memory."""

RELOAD_BONUS = 1000.0


class Served:
    """A server that was started, and its policy."""

    def __init__(self, port: int = 0, **changes: Any) -> None:
        self.policy = PixelSums(dynamic_batch_size=False)
        self.reloaded = PixelSums("v2", addend=RELOAD_BONUS, dynamic_batch_size=False)
        settings: dict[str, Any] = {
            "models": (ModelConfig(name="sums", reference=__file__),),
            "port": port,
            "metrics_port": None,
            "batching": BatchingConfig(
                buckets=(1, 4, MAX_BATCH_ROWS),
                max_queue_rows=MAX_QUEUE_ROWS,
                stream_credit_rows=2 * MAX_QUEUE_ROWS,
            ),
        }
        self.server = TeacherServer(
            TeacherConfig(**(settings | changes)), [self.policy], lambda *_: self.reloaded
        )
        self.server.start()
        self.server.wait_until_ready(PATIENCE_SECONDS)
        self.policy.forget()

    @property
    def address(self) -> str:
        return self.server.address

    @property
    def port(self) -> int:
        return int(self.address.rpartition(":")[2])

    @property
    def queued_rows(self) -> int:
        """Rows that wait for the device."""
        return sum(map(sum, self.server._engine._queue_rows().values()))

    def reload(self) -> None:
        """Have version v2 serve, and wait until it does."""
        self.server.reload()
        wait_until(lambda: self.server.description.teacher_version == "v2")

    def stop(self) -> None:
        self.policy.gate.set()
        self.server.stop(5.0)


Client = TeacherClient | FromThread


@pytest.fixture
def served() -> Iterator[Served]:
    made = Served()
    yield made
    made.stop()


@pytest.fixture(params=[(kind, way) for kind in (TeacherClient, FromThread) for way in MEMORY])
def client(served: Served, request: pytest.FixtureRequest) -> Iterator[Client]:
    kind, shared_memory = request.param
    with kind(served.address, shared_memory=shared_memory) as made:
        made.wait_until_ready(PATIENCE_SECONDS)
        yield made


@pytest.fixture(params=[TeacherClient, FromThread])
def kind(request: pytest.FixtureRequest) -> Any:
    return request.param


def occupy(served: Served, client: Client) -> Any:
    """Keep the device busy with one row until the gate is opened."""
    served.policy.gate.clear()
    served.policy.entered.clear()
    future = client.evaluate_future(observations(200, 1), PATIENCE_SECONDS)
    assert served.policy.entered.wait(PATIENCE_SECONDS)
    return future


def test_describe_says_what_is_served(client: Client) -> None:
    about = client.describe()
    assert (about.model, about.game, about.spec.num_actions) == ("sums", "sums", 2)
    assert (about.spec.observation_shape, about.spec.observation_dtype) == ((2, 3), "uint8")


def test_a_query_past_its_deadline_fails_in_time_and_is_never_computed(
    served: Served, client: Client
) -> None:
    busy = occupy(served, client)
    start = time.monotonic()
    # The gate is closed: no answer comes.
    with pytest.raises(TeacherTimeout, match="allow more time"):
        client.evaluate(observations(100, 4), timeout_seconds=0.2)
    assert time.monotonic() - start > 0.15
    served.policy.gate.set()
    np.testing.assert_array_equal(busy.result().action_values, expected(200, 1))
    client.evaluate(observations(0, 1))
    assert not set(range(100, 104)) & set(served.policy.computed)


def test_a_cancelled_query_is_never_computed(
    served: Served, client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    busy = occupy(served, client)
    engine, asked = served.server._engine, []
    submit = engine.submit

    def note(query: Query, *version: str) -> None:
        asked.append(query)
        submit(query, *version)

    monkeypatch.setattr(engine, "submit", note)
    given_up = client.evaluate_future(observations(100, 4), PATIENCE_SECONDS)
    wait_until(lambda: served.queued_rows == 4)
    (query,) = asked
    given_up.cancel()
    with pytest.raises(concurrent.futures.CancelledError):
        given_up.result()
    wait_until(lambda: query.cancelled)
    served.policy.gate.set()
    busy.result()
    client.evaluate(observations(0, 1))
    assert not set(range(100, 104)) & set(served.policy.computed)


def test_a_full_teacher_is_asked_again_until_it_has_room(served: Served, client: Client) -> None:
    futures = [occupy(served, client)]
    futures += [client.evaluate_future(observations(0, 16), PATIENCE_SECONDS) for _ in range(4)]
    wait_until(lambda: served.queued_rows == MAX_QUEUE_ROWS)
    threading.Timer(0.03, served.policy.gate.set).start()
    # 64 of 64 rows are queued: this one has to come again.
    answer = client.evaluate(observations(7, 2), timeout_seconds=PATIENCE_SECONDS)
    np.testing.assert_array_equal(answer.action_values, expected(7, 2))
    for future in futures:
        future.result()


def test_a_teacher_that_stays_full_is_overloaded_and_says_when_to_come_again(
    served: Served, client: Client
) -> None:
    occupy(served, client)
    waiting = [client.evaluate_future(observations(0, 16), PATIENCE_SECONDS) for _ in range(4)]
    wait_until(lambda: served.queued_rows == MAX_QUEUE_ROWS)
    with pytest.raises((TeacherOverloaded, TeacherTimeout)) as caught:
        client.evaluate(observations(0, 1), timeout_seconds=0.3)
    if isinstance(caught.value, TeacherOverloaded):
        assert caught.value.retry_after_seconds is None or caught.value.retry_after_seconds > 0
    served.policy.gate.set()
    for future in waiting:
        future.result()


def test_new_weights_answer_new_queries(served: Served, client: Client) -> None:
    client.evaluate(observations(0, 1))
    served.reload()
    answer = client.evaluate(observations(0, 40))
    np.testing.assert_array_equal(answer.action_values, expected(0, 40, addend=RELOAD_BONUS))
    assert (answer.teacher_version, answer.model_version) == ("v2", 2)


def test_a_batch_is_answered_by_one_version_though_new_weights_come_in_its_middle(
    served: Served, client: Client
) -> None:
    served.policy.after_batch = lambda: (
        served.reload() if len(served.policy.computed) > 30 else None
    )
    answer = client.evaluate(observations(0, 200), timeout_seconds=PATIENCE_SECONDS)
    assert answer.teacher_version == "v2"
    np.testing.assert_array_equal(answer.action_values, expected(0, 200, addend=RELOAD_BONUS))


def test_a_pinned_version_answers_after_newer_weights_came(served: Served, kind: Any) -> None:
    for shared_memory in MEMORY:
        with kind(served.address, version="v1", shared_memory=shared_memory) as client:
            client.wait_until_ready(PATIENCE_SECONDS)
            if served.server.description.teacher_version == "v1":
                served.reload()
            assert client.evaluate(observations(0, 20)).teacher_version == "v1"


@pytest.mark.parametrize("wanted", [{"model": "chess"}, {"version": "v9"}])
def test_an_unknown_model_or_version_is_not_found(
    served: Served, kind: Any, wanted: dict[str, str]
) -> None:
    with kind(served.address, **wanted) as client:
        with pytest.raises(TeacherNotFound, match=f"{served.address}.*{[*wanted.values()][0]}"):
            client.describe()
        with pytest.raises(TeacherNotFound):
            client.evaluate_future(observations(0, 1)).result()


def test_a_future_calls_back_once_it_is_done(served: Served) -> None:
    for shared_memory in MEMORY:
        with TeacherClient(served.address, shared_memory=shared_memory) as client:
            client.describe()
            busy = occupy(served, client)
            called: list[bool] = []
            done = threading.Event()
            busy.add_done_callback(lambda it, called=called: called.append(it.done()))
            busy.add_done_callback(lambda _, done=done: done.set())
            assert not busy.done()
            assert called == []
            served.policy.gate.set()
            assert done.wait(PATIENCE_SECONDS)
            assert called == [True]
            busy.add_done_callback(lambda _, called=called: called.append(True))
            assert called == [True, True]


def test_a_callback_that_fails_does_not_end_the_client(
    served: Served, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(_: object) -> None:
        raise RuntimeError("my own fault")

    for shared_memory in MEMORY:
        with TeacherClient(served.address, shared_memory=shared_memory) as client:
            client.describe()
            future = client.evaluate_future(observations(0, 1))
            future.add_done_callback(fail)
            future.result()
            client.evaluate(observations(0, 1))


def test_a_failed_future_calls_back_too(served: Served) -> None:
    with TeacherClient(served.address, shared_memory=False) as client:
        done = threading.Event()
        occupy(served, client)
        client.evaluate_future(observations(0, 1), 0.1).add_done_callback(lambda _: done.set())
        assert done.wait(PATIENCE_SECONDS)


def test_memory_is_shared_without_asking_for_it(served: Served, kind: Any) -> None:
    with kind(served.address) as client:
        client.evaluate(observations(0, 1))
        wait_until(lambda: sharing_clients(served) == 1)
        client.evaluate(observations(3, 5))
    wait_until(lambda: sharing_clients(served) == 0)


def test_where_no_memory_is_shared_observations_travel_in_messages(kind: Any) -> None:
    served = Served(shared_memory=False)
    try:
        with kind(served.address) as client:
            answer = client.evaluate(observations(3, 40))
            np.testing.assert_array_equal(answer.action_values, expected(3, 40))
            assert (client.describe().host_id, sharing_clients(served)) == ("", 0)
    finally:
        served.stop()


def test_a_server_that_declines_memory_is_asked_in_messages(
    served: Served, kind: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    # As between containers that do not see each other's processes.
    monkeypatch.setattr(OfferedMemory, "map", lambda *_: None)
    with kind(served.address) as client:
        for _ in range(2):
            answer = client.evaluate(observations(3, 40))
            np.testing.assert_array_equal(answer.action_values, expected(3, 40))
    assert sharing_clients(served) == 0


def test_an_array_may_be_reused_once_its_query_is_sent(served: Served) -> None:
    for shared_memory in MEMORY:
        with TeacherClient(served.address, shared_memory=shared_memory) as client:
            client.describe()
            busy = occupy(served, client)
            reused = observations(7, 4)
            future = client.evaluate_future(reused, PATIENCE_SECONDS)
            reused[:] = 0
            served.policy.gate.set()
            np.testing.assert_array_equal(future.result().action_values, expected(7, 4))
            busy.result()


def test_a_call_in_a_callback_is_refused_instead_of_waiting_for_itself(served: Served) -> None:
    with TeacherClient(served.address) as client:
        client.describe()
        busy = occupy(served, client)
        caught: list[BaseException] = []
        called = threading.Event()

        def ask_again(_: object) -> None:
            try:
                client.evaluate(observations(0, 1))
            except TeacherFailed as error:
                caught.append(error)
            called.set()

        busy.add_done_callback(ask_again)
        served.policy.gate.set()
        assert called.wait(PATIENCE_SECONDS)
        assert "another thread" in str(caught[0])


def sharing_clients(served: Served) -> int:
    return served.server._metrics.memories()


@pytest.mark.parametrize("shared_memory", MEMORY)
def test_a_client_outlives_the_restart_of_its_teacher(kind: Any, shared_memory: bool) -> None:
    port = free_port()
    served = Served(port)
    with kind(
        served.address, shared_memory=shared_memory, timeout_seconds=PATIENCE_SECONDS
    ) as client:
        client.evaluate(observations(0, 1))
        served.stop()
        restarted: list[Served] = []
        starter = threading.Timer(0.3, lambda: restarted.append(Served(port)))
        starter.start()
        try:
            # Sent while no replica is up, answered by the successor.
            client.wait_until_ready(PATIENCE_SECONDS)
            answer = client.evaluate(observations(1, 40), timeout_seconds=PATIENCE_SECONDS)
            np.testing.assert_array_equal(answer.action_values, expected(1, 40))
            # The memory is offered again, too.
            wait_until(lambda: sharing_clients(restarted[0]) == shared_memory)
        finally:
            starter.join()
            restarted[0].stop()


@pytest.mark.parametrize("shared_memory", MEMORY)
def test_queries_under_way_when_the_teacher_stops_are_answered_by_its_successor(
    kind: Any, shared_memory: bool
) -> None:
    port = free_port()
    served = Served(port)
    with kind(
        served.address, shared_memory=shared_memory, timeout_seconds=PATIENCE_SECONDS
    ) as client:
        client.evaluate(observations(0, 1))
        busy = occupy(served, client)
        waiting = [client.evaluate_future(observations(i, 2), PATIENCE_SECONDS) for i in range(8)]
        wait_until(lambda: served.queued_rows == 16)
        # No grace: what is queued is dropped.
        stopping = threading.Thread(target=served.server.stop, args=(0.0,))
        stopping.start()
        threading.Timer(0.3, served.policy.gate.set).start()
        stopping.join(PATIENCE_SECONDS)
        successor = Served(port)
        try:
            for i, future in enumerate(waiting):
                np.testing.assert_array_equal(future.result().action_values, expected(i, 2))
            with contextlib.suppress(TeacherFailed):
                np.testing.assert_array_equal(busy.result().action_values, expected(200, 1))
            client.evaluate(observations(0, 1))
        finally:
            successor.stop()


def test_one_of_several_replicas_that_stays_away_is_told_of_once_and_once_when_it_is_back(
    kind: Any, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    def lines() -> list[str]:
        return [one.getMessage() for one in caplog.records if one.name == "rrl_client.dispatch"]

    monkeypatch.setattr("rrl_client.dispatch.LONG_AWAY_SECONDS", 0.5)
    stays, leaves = Served(), Served()
    with kind([stays.address, leaves.address]) as client:
        # Both are connected to in the background, and take turns once they are.
        wait_until(lambda: client.evaluate(observations(0, 1)) and leaves.policy.computed)
        leaves.stop()
        wait_until(lambda: bool(lines()))
        # Many more attempts fail than lines are written.
        time.sleep(2.0)
        (line,) = lines()
        assert line.startswith(f"the teacher at {leaves.address} has been away for ")
        assert "1 other replicas answer: start it, or leave its address out (" in line
        client.evaluate(observations(0, 1))
        successor = Served(leaves.port)
        wait_until(lambda: len(lines()) > 1)
        assert lines() == [line, f"the teacher at {leaves.address} answers again"]
    successor.stop()
    stays.stop()


def test_nobody_at_the_address_is_unavailable(kind: Any) -> None:
    address = f"127.0.0.1:{free_port()}"
    with kind(address, timeout_seconds=1.0) as client:
        with pytest.raises(TeacherUnavailable, match=address):
            client.evaluate(observations(0, 1))
        with pytest.raises(TeacherUnavailable, match=f"{address}.*within 0.2 s"):
            client.wait_until_ready(0.2)


def test_a_teacher_that_was_never_there_costs_no_time(kind: Any) -> None:
    with kind(f"127.0.0.1:{free_port()}") as client:
        start = time.monotonic()
        for _ in range(20):
            with pytest.raises(TeacherUnavailable):
                client.evaluate_future(observations(0, 1)).result()
        # One that waits costs its deadline, 10 s.
        assert time.monotonic() - start < 20.0


def test_a_teacher_that_went_away_soon_costs_nothing_but_the_answers(kind: Any) -> None:
    served = Served()
    with kind(served.address, shared_memory=False, timeout_seconds=2.2) as client:
        client.evaluate(observations(0, 1))
        served.stop()
        time.sleep(0.1)
        with pytest.raises(TeacherUnavailable):
            client.evaluate_future(observations(0, 1)).result()
        start = time.monotonic()
        for _ in range(20):
            with pytest.raises(TeacherUnavailable, match="away for"):
                client.evaluate_future(observations(0, 1)).result()
        # Each that waits costs its deadline: 20 of 2.2 s are 44 s.
        assert time.monotonic() - start < 22.0


def test_closing_fails_what_is_under_way(served: Served, kind: Any) -> None:
    for shared_memory in MEMORY:
        client = kind(served.address, shared_memory=shared_memory)
        client.wait_until_ready(PATIENCE_SECONDS)
        future = occupy(served, client)
        threading.Timer(0.2, client.close).start()
        with pytest.raises((TeacherFailed, TeacherUnavailable)):
            future.result()
        served.policy.gate.set()


def test_a_client_that_is_closed_leaves_no_threads_or_files(served: Served) -> None:
    def use() -> None:
        for shared_memory in MEMORY:
            with TeacherClient(served.address, shared_memory=shared_memory) as client:
                client.wait_until_ready(PATIENCE_SECONDS)
                client.evaluate(observations(0, 20))

    def ours() -> int:
        return sum("teacher-" in thread.name for thread in threading.enumerate())

    use()
    time.sleep(0.3)
    gc.collect()
    threads, files = ours(), len(os.listdir("/proc/self/fd"))
    for _ in range(5):
        use()
    gc.collect()
    wait_until(lambda: ours() <= threads)
    # gRPC keeps a few descriptors of its own for later.
    wait_until(lambda: len(os.listdir("/proc/self/fd")) <= files + 6)


def test_many_asyncio_clients_share_a_loop(served: Served) -> None:
    async def play(first: int) -> None:
        async with AsyncTeacherClient(served.address) as client:
            for _ in range(3):
                answer = await client.evaluate(observations(first, 2))
                np.testing.assert_array_equal(answer.action_values, expected(first, 2))

    async def all_of_them() -> None:
        await asyncio.gather(*(play(i) for i in range(16)))

    asyncio.run(all_of_them())


SERVER = """
import sys
sys.path.insert(0, {folder!r})
import test_teacher_clients as here
served = here.Served(int(sys.argv[1]))
print("ready", flush=True)
served.server.wait()
"""


@contextlib.contextmanager
def replica_processes(count: int) -> Iterator[tuple[list[str], list[subprocess.Popen[str]]]]:
    """Servers in processes of their own, so that one can be killed."""
    program = SERVER.format(folder=str(Path(__file__).parent))
    ports = [free_port() for _ in range(count)]
    root = Path(__file__).parents[2]
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", program, str(port)], cwd=root, stdout=subprocess.PIPE, text=True
        )
        for port in ports
    ]
    try:
        for process in processes:
            assert process.stdout is not None
            assert process.stdout.readline() == "ready\n"
        yield [f"127.0.0.1:{port}" for port in ports], processes
    finally:
        for process in processes:
            process.kill()
            process.communicate(timeout=PATIENCE_SECONDS)


def test_queries_are_spread_over_replicas_and_survive_the_death_of_one() -> None:
    with replica_processes(2) as (addresses, processes):
        clients = [
            kind(addresses, timeout_seconds=PATIENCE_SECONDS)
            for kind in (TeacherClient, FromThread)
        ]
        for client in clients:
            client.evaluate(observations(0, 1))
            # A connection to each.
            client.wait_until_ready(PATIENCE_SECONDS)
        futures = [
            (i, client.evaluate_future(observations(i, 3))) for i in range(40) for client in clients
        ]
        processes[0].send_signal(signal.SIGKILL)
        for i, future in futures:
            np.testing.assert_array_equal(future.result().action_values, expected(i, 3))
        for client in clients:
            answer = client.evaluate(observations(1, 40))
            np.testing.assert_array_equal(answer.action_values, expected(1, 40))
            client.close()


@pytest.fixture
def guarded(tmp_path: Path) -> Iterator[tuple[list[Served], ClientSecurity]]:
    """Two replicas that want TLS and a token, and what a client needs to be let in."""
    authority = trustme.CA()
    pair = authority.issue_cert("127.0.0.1")
    files = {name: tmp_path / name for name in ("certificate", "key", "authority", "token")}
    pair.private_key_pem.write_to_path(files["key"])
    for blob in pair.cert_chain_pems:
        blob.write_to_path(files["certificate"], append=True)
    authority.cert_pem.write_to_path(files["authority"])
    files["token"].write_text("a-token-of-some-length\n")
    security = SecurityConfig(
        certificate=files["certificate"], private_key=files["key"], token_file=files["token"]
    )
    replicas = [Served(security=security) for _ in range(2)]
    yield (
        replicas,
        ClientSecurity(root_certificates=files["authority"], token_file=files["token"]),
    )
    for replica in replicas:
        replica.stop()


def test_clients_are_let_in_by_certificate_and_token(
    guarded: tuple[list[Served], ClientSecurity], kind: Any
) -> None:
    replicas, security = guarded
    both = [replica.address for replica in replicas]
    for addresses, shared_memory in [(both[:1], True), (both[:1], False), (both, True)]:
        with kind(addresses, shared_memory=shared_memory, security=security) as client:
            client.wait_until_ready(PATIENCE_SECONDS)
            answer = client.evaluate(observations(0, 40))
            np.testing.assert_array_equal(answer.action_values, expected(0, 40))


def test_a_client_without_the_token_is_told_so_at_once(
    guarded: tuple[list[Served], ClientSecurity], kind: Any
) -> None:
    replicas, security = guarded
    stranger = dataclasses.replace(security, token_file=None, token="another-token-of-length")
    with kind(replicas[0].address, security=stranger) as client:
        with pytest.raises(TeacherUnauthenticated, match="ClientSecurity"):
            client.describe()
        with pytest.raises(TeacherUnauthenticated, match="ClientSecurity"):
            client.evaluate_future(observations(0, 1)).result()


def test_the_policy_chooses_the_teachers_actions(served: Served) -> None:
    with TeacherClient(served.address, priority=Priority.EVALUATION) as client:
        policy = TeacherPolicy(client)
        # Twice the sum is worth more than the sum.
        np.testing.assert_array_equal(policy(observations(0, 5)), np.ones(5, np.int64))
        assert policy(observations(0, 1)[0]) == 1
        np.testing.assert_array_equal(policy.action_values(observations(4, 2)), expected(4, 2))

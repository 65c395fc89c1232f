"""Teacher replicas behind one name, as a headless service of Kubernetes gives it.

A name server on loopback answers with the addresses of real servers, each with the same port on a
loopback address of its own; gRPC looks the names up there by the DNS protocol.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import struct
import threading
import time
import urllib.request
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from rrl_client import AsyncTeacherClient, TeacherClient
from services.shared.addresses import free_port
from services.teacher.config import BatchingConfig, ModelConfig, TeacherConfig
from services.teacher.server import TeacherServer, build_teacher
from tests.support.patience import PATIENCE_SECONDS, wait_until

ACTORS = 8
QUERIES = 20
FIRST, SECOND, THIRD = "127.0.0.2", "127.0.0.3", "127.0.0.4"
STATE = np.zeros((1, 10, 5, 1), np.uint8)


class HeadlessNames:
    """A DNS server for which every name under teacher.test has the same addresses."""

    def __init__(self, addresses: Sequence[str]) -> None:
        self.addresses = [*addresses]
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._socket.bind(("127.0.0.1", 0))
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()

    def target(self, client: int, port: int) -> str:
        """A gRPC target that is looked up here; clients of one name would share connections."""
        return f"dns://127.0.0.1:{self._port}/c{client}.teacher.test:{port}"

    def close(self) -> None:
        with contextlib.closing(socket.socket(socket.AF_INET, socket.SOCK_DGRAM)) as poke:
            poke.sendto(b"", ("127.0.0.1", self._port))
        self._thread.join(PATIENCE_SECONDS)
        self._socket.close()

    @property
    def _port(self) -> int:
        return int(self._socket.getsockname()[1])

    def _serve(self) -> None:
        while True:
            query, sender = self._socket.recvfrom(4096)
            if not query:
                return
            self._socket.sendto(self._answer(query), sender)

    def _answer(self, query: bytes) -> bytes:
        """RFC 1035: the header and the question again, and an A record for each address."""
        end = 12
        while query[end]:
            end += query[end] + 1
        (kind,) = struct.unpack("!H", query[end + 1 : end + 3])
        addresses = self.addresses if kind == 1 else []
        answer = (
            query[:2] + struct.pack("!5H", 0x8580, 1, len(addresses), 0, 0) + query[12 : end + 5]
        )
        for address in addresses:
            # A pointer to the question's name, type A, class IN, a second to live, four bytes.
            answer += struct.pack("!HHHIH", 0xC00C, 1, 1, 1, 4) + socket.inet_aton(address)
        return answer


@pytest.fixture
def names(monkeypatch: pytest.MonkeyPatch) -> Iterator[HeadlessNames]:
    """The name server, which the system's own resolver knows for these names, too."""
    made = HeadlessNames([FIRST, SECOND])
    system = socket.getaddrinfo

    def look_up(host: Any, port: Any, *arguments: Any, **settings: Any) -> Any:
        if not str(host).endswith(".teacher.test"):
            return system(host, port, *arguments, **settings)
        return [
            (socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, int(port)))
            for address in made.addresses
        ]

    monkeypatch.setattr(socket, "getaddrinfo", look_up)
    yield made
    made.close()


@contextlib.contextmanager
def replicas(
    checkpoint: Path, hosts: Sequence[str], connection_age_seconds: float | None = None
) -> Iterator[tuple[list[TeacherServer], int]]:
    """Real servers, all on one port, and the port."""
    port = free_port()
    with contextlib.ExitStack() as stack:
        servers = []
        for host in hosts:
            server = build_teacher(
                TeacherConfig(
                    models=(ModelConfig(reference=str(checkpoint)),),
                    host=host,
                    port=port,
                    shared_memory=False,
                    metrics_port=0,
                    metrics_host=host,
                    batching=BatchingConfig(buckets=(1,)),
                    backend="jax",
                    connection_age_seconds=connection_age_seconds,
                )
            )
            server.start()
            stack.callback(server.stop)
            servers.append(server)
        for server in servers:
            server.wait_until_ready(PATIENCE_SECONDS)
        yield servers, port


@contextlib.contextmanager
def actors(
    names: HeadlessNames, servers: Sequence[TeacherServer], port: int
) -> Iterator[list[TeacherClient]]:
    """One client for each actor, with a stream to each of the first two servers.

    The first answer comes when one replica is connected, and where the second is late, as on a busy
    machine, both streams lead to the first until they reach their age: such clients are replaced.
    """
    pair = servers[:2]
    with contextlib.ExitStack() as stack:
        clients: list[TeacherClient] = []
        while len(clients) < ACTORS:
            before = [streams(server) for server in pair]
            client = TeacherClient(names.target(len(clients), port))
            client.wait_until_ready(PATIENCE_SECONDS)
            client.evaluate(STATE)
            wait_until(lambda: sum(map(streams, pair)) >= sum(before) + 2)  # noqa: B023
            if [streams(server) for server in pair] == [old + 1 for old in before]:
                clients.append(stack.enter_context(client))
            else:
                client.close()
                wait_until(lambda: sum(map(streams, pair)) <= sum(before))  # noqa: B023
        yield clients


def answered(server: TeacherServer) -> int:
    """Rows that a server has answered, as Prometheus reads it."""
    return total(server, "rrl_teacher_rows_total{")


def streams(server: TeacherServer) -> int:
    """Streams that clients have open with a server."""
    return total(server, "rrl_teacher_streams{")


def total(server: TeacherServer, series: str) -> int:
    host = server.address.rpartition(":")[0]
    with urllib.request.urlopen(f"http://{host}:{server.metrics_port}/metrics") as page:
        lines = page.read().decode().splitlines()
    return int(sum(float(line.split()[-1]) for line in lines if line.startswith(series)))


def shares(servers: Sequence[TeacherServer], clients: Sequence[TeacherClient]) -> list[int]:
    """How many of a round of queries each server answers; every client sends one at a time."""
    before = [answered(server) for server in servers]
    for _ in range(QUERIES):
        for client in clients:
            client.evaluate(STATE)
    return [answered(server) - old for server, old in zip(servers, before, strict=True)]


def test_each_of_two_replicas_behind_a_name_answers_half_of_every_actors_queries(
    names: HeadlessNames, catch_teacher: Path
) -> None:
    with (
        replicas(catch_teacher, [FIRST, SECOND]) as (servers, port),
        actors(names, servers, port) as clients,
    ):
        each = [shares(servers, [client]) for client in clients]
    assert each == [[QUERIES / 2, QUERIES / 2]] * ACTORS


@pytest.mark.slow
def test_a_replica_that_comes_later_gets_its_share_when_connections_reach_their_age(
    names: HeadlessNames, catch_teacher: Path
) -> None:
    hosts = [FIRST, SECOND, THIRD]
    with (
        replicas(catch_teacher, hosts, connection_age_seconds=2.0) as (servers, port),
        actors(names, servers, port) as clients,
    ):
        assert shares(servers, clients)[2] == 0
        names.addresses.append(THIRD)
        # gRPC looks a name up again after five seconds at the earliest; then come a connection's
        # and a stream's age.
        end = time.monotonic() + PATIENCE_SECONDS
        while time.monotonic() < end:
            round_of_queries = shares(servers, clients)
            # An even share is a third; eight clients that draw their replicas come near it.
            if min(round_of_queries) >= ACTORS * QUERIES / 6:
                return
            time.sleep(0.2)
        raise AssertionError(f"the replicas answered {round_of_queries} queries")


@pytest.mark.slow
def test_an_asyncio_client_finds_a_replica_that_comes_later(
    names: HeadlessNames, catch_teacher: Path
) -> None:
    async def ask_until_the_third_answers(servers: Sequence[TeacherServer], port: int) -> None:
        async with AsyncTeacherClient(names.target(0, port)) as client:
            await client.evaluate(STATE)
            names.addresses.append(THIRD)
            while answered(servers[2]) == 0:
                await client.evaluate(STATE)
                await asyncio.sleep(0.02)

    hosts = [FIRST, SECOND, THIRD]
    with replicas(catch_teacher, hosts, connection_age_seconds=2.0) as (servers, port):
        asyncio.run(asyncio.wait_for(ask_until_the_third_answers(servers, port), 60))

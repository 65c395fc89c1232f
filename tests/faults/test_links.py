"""The links do to connections what their modes say."""

from __future__ import annotations

import contextlib
import socket
import threading
import time
from collections.abc import Iterator

import pytest

from services.shared.addresses import free_ports
from tests.faults.links import Cut, LinkConfig, Links
from tests.faults.ports import LOOPBACK

_PATIENCE_SECONDS = 120.0
"""For what must come; a test that passes does not wait for it."""


class Echo:
    """A server that sends back what it gets."""

    def __init__(self, port: int) -> None:
        self._listener = socket.create_server((LOOPBACK, port))
        self._connections: list[socket.socket] = []
        threading.Thread(target=self._accept, daemon=True).start()

    def close(self) -> None:
        # A thread that accepts keeps a socket open until it is shut down.
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        for connection in self._connections:
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)
            connection.close()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                connection, _ = self._listener.accept()
                self._connections.append(connection)
                threading.Thread(target=self._echo, args=(connection,), daemon=True).start()

    def _echo(self, connection: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while block := connection.recv(1024):
                connection.sendall(block)


class Way:
    """A link to an echo."""

    def __init__(self, links: Links, link_port: int, server_port: int) -> None:
        self.links = links
        self.link_port = link_port
        self.server_port = server_port

    def connect(self) -> socket.socket:
        """A connection through the link, once it listens."""
        end = time.monotonic() + _PATIENCE_SECONDS
        while True:
            try:
                return socket.create_connection((LOOPBACK, self.link_port), _PATIENCE_SECONDS)
            except ConnectionRefusedError:
                assert time.monotonic() < end, "the link does not listen"
                time.sleep(0.02)


@pytest.fixture
def way() -> Iterator[Way]:
    server_port, link_port = free_ports(2)
    config = LinkConfig(client="actor", server="replay", port=link_port, server_port=server_port)
    with Links([config]) as links:
        yield Way(links, link_port, server_port)


@pytest.fixture
def echo(way: Way) -> Iterator[Echo]:
    server = Echo(way.server_port)
    yield server
    server.close()


def said(connection: socket.socket, text: bytes) -> bytes:
    connection.sendall(text)
    return heard(connection)


def heard(connection: socket.socket, seconds: float = _PATIENCE_SECONDS) -> bytes:
    connection.settimeout(seconds)
    try:
        return connection.recv(1024)
    except TimeoutError:
        return b"(nothing)"


def test_a_link_carries_bytes_both_ways_and_counts_what_the_server_sent(
    way: Way, echo: Echo
) -> None:
    with way.connect() as connection:
        assert said(connection, b"state") == b"state"
    assert way.links.answered() == {("actor", "replay"): 5}


def test_a_link_listens_only_while_its_server_does(way: Way) -> None:
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection((LOOPBACK, way.link_port), 1.0)
    server = Echo(way.server_port)
    connection = way.connect()
    assert said(connection, b"state") == b"state"
    server.close()
    connection.settimeout(_PATIENCE_SECONDS)
    with contextlib.suppress(ConnectionResetError):
        assert connection.recv(1024) == b""
    connection.close()


def test_a_refusing_link_resets_what_is_open_and_takes_nothing_new(way: Way, echo: Echo) -> None:
    with way.connect() as connection:
        said(connection, b"state")
        way.links.cut(["replay"], Cut.REFUSED)
        with contextlib.suppress(ConnectionResetError):
            assert heard(connection) == b""
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection((LOOPBACK, way.link_port), 1.0)
    way.links.heal(["replay"])
    with way.connect() as connection:
        assert said(connection, b"state") == b"state"


def test_a_silent_link_delivers_later_what_was_said_meanwhile(way: Way, echo: Echo) -> None:
    with way.connect() as old:
        said(old, b"before")
        way.links.cut(["actor"], Cut.SILENT)
        with way.connect() as new:
            old.sendall(b"old")
            new.sendall(b"new")
            assert heard(old, 0.2) == heard(new, 0.1) == b"(nothing)"
            way.links.heal(["actor"])
            assert (heard(old), heard(new)) == (b"old", b"new")


def test_a_forgotten_connection_stays_silent_while_new_ones_pass(way: Way, echo: Echo) -> None:
    with way.connect() as old:
        said(old, b"before")
        way.links.cut(["replay"], Cut.FORGOTTEN)
        way.links.heal(["replay"])
        old.sendall(b"old")
        assert heard(old, 0.2) == b"(nothing)"
        with way.connect() as new:
            assert said(new, b"new") == b"new"


def test_only_the_links_of_the_role_that_is_meant_are_cut(way: Way, echo: Echo) -> None:
    way.links.cut(["teacher"], Cut.REFUSED)
    with way.connect() as connection:
        assert said(connection, b"state") == b"state"

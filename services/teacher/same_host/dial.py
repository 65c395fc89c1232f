"""How a client connects: it greets the server and maps the memory it is given."""

from __future__ import annotations

import os
import socket

from rrl_client.requests import Refusal, RefusalCode
from services.teacher.same_host import refusals, region, wire


def dial(
    socket_path: str, hello: wire.Hello, timeout_seconds: float
) -> tuple[socket.socket, region.Region]:
    """Connect and greet.

    Returns:
        The socket, non-blocking, and the shared memory.

    Raises:
        Refusal: What the server says, or UNAVAILABLE when no teacher answers there.
        ValueError: The greeting is too long for a packet.
    """
    greeting = wire.pack_hello(hello)
    if not region.available():
        raise Refusal(RefusalCode.UNAVAILABLE, "this system has no same-host path; use gRPC")
    connection = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    descriptors: list[int] = []
    try:
        connection.settimeout(timeout_seconds)
        connection.connect(socket_path)
        connection.send(greeting)
        packet, descriptors, _, _ = socket.recv_fds(
            connection, wire.MAX_PACKET_BYTES, 1, socket.MSG_CMSG_CLOEXEC
        )
        memory = _read_welcome(packet, descriptors)
        connection.setblocking(False)
    except OSError as error:
        connection.close()
        raise Refusal(RefusalCode.UNAVAILABLE, f"no teacher at {socket_path}: {error}") from error
    except Refusal:
        connection.close()
        raise
    finally:
        for descriptor in descriptors:
            os.close(descriptor)
    return connection, memory


def _read_welcome(packet: bytes, descriptors: list[int]) -> region.Region:
    try:
        if packet and wire.unpack_kind(packet) == wire.GOODBYE:
            raise refusals.from_failure(wire.unpack_failure(packet))
        layout = wire.unpack_welcome(packet)
        if len(descriptors) != 1:
            raise ValueError(f"{len(descriptors)} descriptors came with the welcome")
        return region.attach(layout, descriptors[0])
    except ValueError as error:
        raise Refusal(RefusalCode.UNAVAILABLE, f"this is no teacher's socket: {error}") from error

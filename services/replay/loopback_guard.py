"""Keeps other machines away from Reverb's port, which Reverb opens on all interfaces.

    connection to 127.0.0.0/8 or ::1 ──▶ Reverb
    connection to any other address ───▶ LoopbackGuard, which closes it

Reverb has no setting for its interface. Linux distributes connections over all sockets that listen
on one port with SO_REUSEPORT, as gRPC's and ours do. A program of the classic packet filter,
attached to one of them (socket(7), SO_ATTACH_REUSEPORT_CBPF), chooses the socket of each
connection; that needs no privileges. A connection from another machine that is accepted in the
milliseconds between Reverb's start and the guard's is closed.
"""

from __future__ import annotations

import contextlib
import ctypes
import logging
import os
import socket
import struct
import threading
from pathlib import Path

from rrl_client.credentials import is_loopback
from services.shared.logging import Occasionally

_ATTACH_REUSEPORT_CBPF = 51  # Python's socket module does not name it.

# Operations of the classic packet filter (linux/filter.h).
_LOAD_BYTE, _LOAD_WORD = 0x30, 0x20
_SHIFT_RIGHT, _AND = 0x74, 0x54
_JUMP_IF_EQUAL, _RETURN = 0x15, 0x06
_NETWORK_HEADER = 0x100000000 - 0x100000
"""Offset from which loads see the IP header."""

_REVERB, _GUARD = 0, 1
"""Numbers of the port's sockets: the first to listen is number 0."""

_EARLY_SECONDS = (0.0, 0.5)
"""Waits before the two checks for connections from before the guard's start; Reverb may accept one
of them a little late."""

_LOG_PERIOD_SECONDS = 60.0

_MAPPED = "::ffff:"
"""Prefix of an IPv4 address on a socket for both IPv4 and IPv6."""

_PROGRAM = (
    (_LOAD_BYTE, 0, 0, _NETWORK_HEADER),
    (_SHIFT_RIGHT, 0, 0, 4),  # The IP version.
    (_JUMP_IF_EQUAL, 0, 3, 4),
    (_LOAD_WORD, 0, 0, _NETWORK_HEADER + 16),  # IPv4: the destination.
    (_AND, 0, 0, 0xFF000000),
    (_JUMP_IF_EQUAL, 9, 10, 0x7F000000),
    (_JUMP_IF_EQUAL, 0, 9, 6),
    (_LOAD_WORD, 0, 0, _NETWORK_HEADER + 24),  # IPv6: the destination, four words.
    (_JUMP_IF_EQUAL, 0, 7, 0),
    (_LOAD_WORD, 0, 0, _NETWORK_HEADER + 28),
    (_JUMP_IF_EQUAL, 0, 5, 0),
    (_LOAD_WORD, 0, 0, _NETWORK_HEADER + 32),
    (_JUMP_IF_EQUAL, 0, 3, 0),
    (_LOAD_WORD, 0, 0, _NETWORK_HEADER + 36),
    (_JUMP_IF_EQUAL, 0, 1, 1),
    (_RETURN, 0, 0, _REVERB),
    (_RETURN, 0, 0, _GUARD),
)
"""Operation, instructions skipped if true, if false, operand."""


class LoopbackGuard:
    """Shares a port with the Reverb server of this process.

    Args:
        port: TCP port that Reverb listens on.

    Raises:
        OSError: the system does not support the packet filter.
    """

    def __init__(self, port: int) -> None:
        self._port = port
        self._closed = threading.Event()
        self._listener = _listener(port)
        self._thread = threading.Thread(target=self._guard, name="loopback-guard", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Release the port; call it after Reverb has stopped."""
        self._closed.set()
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._thread.join()
        self._listener.close()

    def _guard(self) -> None:
        turned_away, should_log = 0, Occasionally(_LOG_PERIOD_SECONDS)
        for seconds in _EARLY_SECONDS:
            if self._closed.wait(seconds):
                return
            _cut_off(self._port)
        while True:
            try:
                connection, address = self._listener.accept()
            except ConnectionError:
                continue  # The peer closed it before it was accepted.
            except OSError:
                return  # `close` was called.
            connection.close()
            turned_away += 1
            # A peer that connects often must not fill the log.
            if should_log():
                logging.getLogger(__name__).warning(
                    "the replay port accepts connections from this machine only: %d refused so "
                    "far, the last from %s; use --host 0.0.0.0 to admit other machines",
                    turned_away,
                    address[0].removeprefix(_MAPPED),
                )


def _listener(port: int) -> socket.socket:
    """A socket that listens on the port, with the packet filter attached.

    Raises:
        OSError: the system does not support the packet filter.
    """
    family = socket.AF_INET6 if _has_ipv6() else socket.AF_INET
    listener = socket.socket(family)
    try:
        if family is socket.AF_INET6:
            listener.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        listener.bind(("::" if family is socket.AF_INET6 else "0.0.0.0", port))
        # The first listener creates the group of sockets; a program attached to any of them applies
        # to the whole group.
        listener.listen()
        code = b"".join(struct.pack("=HBBI", *instruction) for instruction in _PROGRAM)
        memory = ctypes.create_string_buffer(code, len(code))
        program = struct.pack("@HP", len(_PROGRAM), ctypes.addressof(memory))
        listener.setsockopt(socket.SOL_SOCKET, _ATTACH_REUSEPORT_CBPF, program)
    except BaseException:
        listener.close()
        raise
    return listener


def _has_ipv6() -> bool:
    """Whether gRPC will listen on IPv4 and IPv6 with one socket; gRPC checks in the same way."""
    try:
        with socket.socket(socket.AF_INET6) as asked:
            asked.bind(("::1", 0))
    except OSError:
        return False
    return True


def _cut_off(port: int) -> None:
    """Close connections to this process's server on a port that come from other machines."""
    for link in Path("/proc/self/fd").iterdir():
        # Other threads open and close files during the loop.
        with contextlib.suppress(OSError):
            if os.readlink(link).startswith("socket:"):
                with socket.socket(fileno=os.dup(int(link.name))) as found:
                    if _is_remote(found, port):
                        found.shutdown(socket.SHUT_RDWR)


def _is_remote(found: socket.socket, port: int) -> bool:
    if found.family not in (socket.AF_INET, socket.AF_INET6):
        return False
    host, local_port = found.getsockname()[:2]
    if local_port != port or is_loopback(host.removeprefix(_MAPPED)):
        return False
    return not found.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN)

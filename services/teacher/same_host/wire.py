"""Packets of the same-host path: numbers only, the arrays lie in shared memory (`region`).

    client ── HELLO ──▶ server        what it wants to ask, and the ticket that Describe gave it
           ◀─ WELCOME ──              the memory's layout; its descriptor comes along (SCM_RIGHTS)
           ── QUERY, CANCEL ──▶       which rows hold observations
           ◀─ ANSWER, FAILURE ──      which queries are settled; values lie in the same rows
           ◀─ GOODBYE ──              why the server ends the connection

The socket keeps packet boundaries (SOCK_SEQPACKET). A packet is its kind and then records of fixed
size, or one record and text; all numbers are little-endian. Both sides check what arrives: a packet
that cannot be read is a `ProtocolError`, which ends the connection.
"""

from __future__ import annotations

import dataclasses
import struct
from collections.abc import Iterable, Iterator
from typing import Final, NamedTuple

import numpy as np

PROTOCOL: Final = 1
"""Version of these packets; both sides must have the same."""
MAX_PACKET_BYTES: Final = 16_384
MAX_DIMENSIONS: Final = 8
MAX_NAME_BYTES: Final = 255
MAX_TICKET_BYTES: Final = 64

HELLO: Final = 1
WELCOME: Final = 2
QUERY: Final = 3
CANCEL: Final = 4
ANSWER: Final = 5
FAILURE: Final = 6
GOODBYE: Final = 7

KIND = struct.Struct("<I")
ONE_QUERY = struct.Struct("<6I")
"""QUERY, then tag, first row, rows, priority, timeout in milliseconds: a packet with one query."""
QUERY_RECORD = struct.Struct("<5I")
CANCEL_RECORD = struct.Struct("<I")
ONE_ANSWER = struct.Struct("<IIQ16s")
"""ANSWER, then tag, model version, parameters' hash: a packet with one answer."""
ANSWER_RECORD = struct.Struct("<IQ16s")

QUERIES_PER_PACKET: Final = (MAX_PACKET_BYTES - KIND.size) // QUERY_RECORD.size
ANSWERS_PER_PACKET: Final = (MAX_PACKET_BYTES - KIND.size) // ANSWER_RECORD.size

_MAGIC = b"RRLT"
_MAX_TEXT_BYTES = 1024
_HELLO = struct.Struct("<I4sHIBBB")
_WELCOME = struct.Struct("<IIII8sB")
_FAILURE = struct.Struct("<IIII")
_GOODBYE = struct.Struct("<III")


class ProtocolError(ValueError):
    """A packet is not what it must be; the message says in what."""


class Hello(NamedTuple):
    """What a client opens with.

    Attributes:
        rows: Rows of shared memory it would like.
        ticket: What Describe gave it.
        model: Name of the model; empty for the first.
        version: Version that must answer; empty for the newest.
    """

    rows: int
    ticket: bytes
    model: str
    version: str


@dataclasses.dataclass(frozen=True, kw_only=True)
class Layout:
    """What the shared memory holds: R observations, then R rows of A float32 action values.

    Attributes:
        rows: R.
        num_actions: A.
        observation_shape: Shape of one observation.
        observation_dtype: Its element type as numpy writes it, in this machine's byte order.
    """

    rows: int
    num_actions: int
    observation_shape: tuple[int, ...]
    observation_dtype: str

    def __post_init__(self) -> None:
        """Check it: it may come from the other side."""
        numbers = (self.rows, self.num_actions, *self.observation_shape)
        if min(numbers) < 1 or not 1 <= len(self.observation_shape) <= MAX_DIMENSIONS:
            raise ValueError(
                f"{self.rows} rows of {self.observation_shape} and {self.num_actions} actions; "
                f"each must be at least 1, and of the shape 1 to {MAX_DIMENSIONS} lengths"
            )
        if self.observation_dtype not in ("uint8", "float32"):
            raise ValueError(
                f"observations of {self.observation_dtype!r}; uint8, float32 are known"
            )

    @property
    def row_bytes(self) -> int:
        """Bytes of one observation."""
        count = 1
        for length in self.observation_shape:
            count *= length
        return count * np.dtype(self.observation_dtype).itemsize

    @property
    def values_at(self) -> int:
        """Where the values begin: the first cache line after the observations."""
        return -(-self.rows * self.row_bytes // 64) * 64

    @property
    def total_bytes(self) -> int:
        """Bytes of the whole memory."""
        return self.values_at + 4 * self.rows * self.num_actions


def pack_hello(hello: Hello) -> bytes:
    """The packet of a greeting.

    Raises:
        ValueError: Ticket, model or version is longer than the packet allows.
    """
    model, version = hello.model.encode(), hello.version.encode()
    if len(hello.ticket) > MAX_TICKET_BYTES or max(len(model), len(version)) > MAX_NAME_BYTES:
        raise ValueError(
            f"ticket of {len(hello.ticket)}, model of {len(model)}, version of {len(version)} "
            f"bytes; at most {MAX_TICKET_BYTES}, {MAX_NAME_BYTES} and {MAX_NAME_BYTES}"
        )
    lengths = (len(hello.ticket), len(model), len(version))
    fixed = _HELLO.pack(HELLO, _MAGIC, PROTOCOL, min(hello.rows, 2**32 - 1), *lengths)
    return fixed + hello.ticket + model + version


def unpack_hello(packet: bytes) -> Hello:
    """Read a greeting.

    Raises:
        ProtocolError: It is none, of another protocol, or its lengths disagree.
    """
    if len(packet) < _HELLO.size:
        raise ProtocolError(f"greeting of {len(packet)} bytes; at least {_HELLO.size}")
    kind, magic, protocol, rows, *lengths = _HELLO.unpack_from(packet)
    if kind != HELLO or magic != _MAGIC:
        raise ProtocolError("the first packet is no greeting")
    if protocol != PROTOCOL:
        raise ProtocolError(f"the client speaks protocol {protocol}, this server {PROTOCOL}")
    if len(packet) != _HELLO.size + sum(lengths) or rows < 1:
        raise ProtocolError(f"greeting of {len(packet)} bytes for lengths {lengths}, {rows} rows")
    ticket_end = _HELLO.size + lengths[0]
    model_end = ticket_end + lengths[1]
    try:
        model, version = packet[ticket_end:model_end].decode(), packet[model_end:].decode()
    except UnicodeDecodeError as error:
        raise ProtocolError("model and version must be UTF-8") from error
    return Hello(rows, packet[_HELLO.size : ticket_end], model, version)


def pack_welcome(layout: Layout) -> bytes:
    """The packet that goes with the descriptor of the shared memory."""
    shape = layout.observation_shape
    dtype = layout.observation_dtype.encode()
    fixed = _WELCOME.pack(WELCOME, PROTOCOL, layout.rows, layout.num_actions, dtype, len(shape))
    return fixed + struct.pack(f"<{len(shape)}I", *shape)


def unpack_welcome(packet: bytes) -> Layout:
    """Read the layout of the shared memory.

    Raises:
        ProtocolError: It is no welcome, or contradicts itself.
    """
    if len(packet) < _WELCOME.size:
        raise ProtocolError(f"welcome of {len(packet)} bytes; at least {_WELCOME.size}")
    kind, protocol, rows, num_actions, dtype, dimensions = _WELCOME.unpack_from(packet)
    if kind != WELCOME or protocol != PROTOCOL:
        raise ProtocolError(f"packet {kind} of protocol {protocol} where a welcome was due")
    if len(packet) != _WELCOME.size + 4 * dimensions:
        raise ProtocolError(f"welcome of {len(packet)} bytes for {dimensions} dimensions")
    try:
        return Layout(
            rows=rows,
            num_actions=num_actions,
            observation_shape=struct.unpack_from(f"<{dimensions}I", packet, _WELCOME.size),
            observation_dtype=dtype.rstrip(b"\0").decode(),
        )
    except ValueError as error:
        raise ProtocolError(f"welcome: {error}") from error


class Records(NamedTuple):
    """How packets of one kind are made and read."""

    kind: int
    record: struct.Struct

    def pack(self, records: Iterable[tuple[int | bytes, ...]]) -> bytes:
        """One packet; the caller keeps to what fits."""
        return KIND.pack(self.kind) + b"".join([self.record.pack(*entry) for entry in records])

    def unpack(self, packet: bytes) -> Iterator[tuple[int, ...]]:
        """The records of a packet of this kind.

        Raises:
            ProtocolError: No record in it, or part of one.
        """
        length = len(packet) - KIND.size
        if length <= 0 or length % self.record.size:
            raise ProtocolError(
                f"packet {self.kind} has {length} bytes of records of {self.record.size}"
            )
        return self.record.iter_unpack(packet[KIND.size :])


QUERIES: Final = Records(QUERY, QUERY_RECORD)
CANCELS: Final = Records(CANCEL, CANCEL_RECORD)
ANSWERS: Final = Records(ANSWER, ANSWER_RECORD)


class Failure(NamedTuple):
    """A query without values, or in a GOODBYE (tag 0) the end of the connection.

    Attributes:
        tag: The query's.
        code: Number of the `RefusalCode`.
        retry_after_ms: When there may be room; 0 for nobody knows.
        reason: What is wrong and what to do.
    """

    tag: int
    code: int
    retry_after_ms: int
    reason: str


def pack_failure(failure: Failure) -> bytes:
    """The packet of one failed query."""
    fixed = _FAILURE.pack(FAILURE, failure.tag, failure.code, failure.retry_after_ms)
    return fixed + failure.reason.encode()[:_MAX_TEXT_BYTES]


def pack_goodbye(code: int, reason: str, retry_after_ms: int = 0) -> bytes:
    """The packet that ends a connection."""
    fixed = _GOODBYE.pack(GOODBYE, code, retry_after_ms)
    return fixed + reason.encode()[:_MAX_TEXT_BYTES]


def unpack_failure(packet: bytes) -> Failure:
    """Read a FAILURE or a GOODBYE.

    Raises:
        ProtocolError: It is too short or neither.
    """
    kind = unpack_kind(packet)
    fixed = _FAILURE if kind == FAILURE else _GOODBYE
    if kind not in (FAILURE, GOODBYE) or len(packet) < fixed.size:
        raise ProtocolError(f"packet {kind} of {len(packet)} bytes where a failure was due")
    numbers = fixed.unpack_from(packet)[1:]
    tag, code, retry_after_ms = numbers if kind == FAILURE else (0, *numbers)
    return Failure(tag, code, retry_after_ms, packet[fixed.size :].decode(errors="replace"))


def unpack_kind(packet: bytes) -> int:
    """What a packet is.

    Raises:
        ProtocolError: It is too short to say.
    """
    if len(packet) < KIND.size:
        raise ProtocolError(f"packet of {len(packet)} bytes; at least {KIND.size}")
    kind: int = KIND.unpack_from(packet)[0]
    return kind

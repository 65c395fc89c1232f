from __future__ import annotations

import contextlib

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rrl_client.requests import Refusal, RefusalCode
from services.teacher.same_host import refusals, wire

U32 = st.integers(0, 2**32 - 1)
U64 = st.integers(0, 2**64 - 1)
NAMES = st.text(max_size=60)

LAYOUTS = st.builds(
    wire.Layout,
    rows=st.integers(1, 2**20),
    num_actions=st.integers(1, 1000),
    observation_shape=st.lists(st.integers(1, 300), min_size=1, max_size=8).map(tuple),
    observation_dtype=st.sampled_from(["uint8", "float32"]),
)


@given(st.builds(wire.Hello, st.integers(1, 2**32 - 1), st.binary(max_size=64), NAMES, NAMES))
def test_a_greeting_is_read_as_it_was_written(hello: wire.Hello) -> None:
    assert wire.unpack_hello(wire.pack_hello(hello)) == hello


@given(LAYOUTS)
def test_a_welcome_is_read_as_it_was_written(layout: wire.Layout) -> None:
    assert wire.unpack_welcome(wire.pack_welcome(layout)) == layout


@given(st.lists(st.tuples(U32, U32, U32, U32, U32), min_size=1, max_size=wire.QUERIES_PER_PACKET))
def test_queries_are_read_as_they_were_written(queries: list[tuple[int, ...]]) -> None:
    packet = wire.QUERIES.pack(queries)
    assert len(packet) <= wire.MAX_PACKET_BYTES
    assert list(wire.QUERIES.unpack(packet)) == queries


@given(st.lists(st.tuples(U32, U64, st.binary(min_size=16, max_size=16)), min_size=1))
def test_answers_are_read_as_they_were_written(answers: list[tuple[int, int, bytes]]) -> None:
    assert list(wire.ANSWERS.unpack(wire.ANSWERS.pack(answers))) == answers


def test_packets_of_one_query_or_answer_are_packets_of_several() -> None:
    query = (5, 6, 7, 1, 250)
    assert wire.ONE_QUERY.pack(wire.QUERY, *query) == wire.QUERIES.pack([query])
    answer = (5, 3, b"0123456789abcdef")
    assert wire.ONE_ANSWER.pack(wire.ANSWER, *answer) == wire.ANSWERS.pack([answer])


@given(st.builds(wire.Failure, U32, U32, U32, st.text(max_size=200)))
def test_failures_are_read_as_they_were_written(failure: wire.Failure) -> None:
    assert wire.unpack_failure(wire.pack_failure(failure)) == failure


@given(st.sampled_from(RefusalCode), st.none() | st.integers(1, 10**6), st.text(max_size=200))
def test_a_refusal_comes_back_as_it_was(code: RefusalCode, wait: int | None, text: str) -> None:
    refusal = Refusal(code, text, None if wait is None else wait / 1000)
    back = refusals.from_failure(refusals.to_failure(3, refusal))
    assert (back.code, str(back)) == (code, text)
    assert back.retry_after_seconds == refusal.retry_after_seconds


def test_a_code_nobody_knows_is_an_internal_failure() -> None:
    assert refusals.from_failure(wire.Failure(1, 99, 0, "?")).code is RefusalCode.INTERNAL


def test_a_long_reason_is_cut_and_still_fits_a_packet() -> None:
    packet = wire.pack_goodbye(14, "ä" * 100_000)
    assert len(packet) <= wire.MAX_PACKET_BYTES
    assert wire.unpack_failure(packet).reason.startswith("ää")


@given(st.binary(max_size=200), st.integers(0, 8))
def test_bytes_of_anybody_are_read_or_refused(noise: bytes, kind: int) -> None:
    for packet in (noise, wire.KIND.pack(kind) + noise, wire.KIND.pack(kind) + b"RRLT" + noise):
        for read in (
            wire.unpack_hello,
            wire.unpack_welcome,
            wire.unpack_failure,
            wire.QUERIES.unpack,
            wire.ANSWERS.unpack,
            wire.CANCELS.unpack,
        ):
            with contextlib.suppress(wire.ProtocolError):
                read(packet)


def test_a_greeting_of_another_protocol_says_so() -> None:
    packet = bytearray(wire.pack_hello(wire.Hello(1, b"t", "", "")))
    packet[8] = wire.PROTOCOL + 1  # behind the kind (4 bytes) and the magic (4)
    with pytest.raises(wire.ProtocolError, match="protocol 2, this server 1"):
        wire.unpack_hello(bytes(packet))


@pytest.mark.parametrize(
    "hello", [wire.Hello(1, b"", "m" * 256, ""), wire.Hello(1, b"t" * 65, "", "")]
)
def test_a_greeting_too_long_for_its_packet_is_not_written(hello: wire.Hello) -> None:
    with pytest.raises(ValueError, match="at most 64, 255 and 255"):
        wire.pack_hello(hello)


def test_values_begin_at_the_first_cache_line_behind_the_observations() -> None:
    layout = wire.Layout(
        rows=3, num_actions=2, observation_shape=(5, 5), observation_dtype="float32"
    )
    # 3 rows of 5 * 5 * 4 = 100 bytes end at 300; the next multiple of 64 is 320; and 3 * 2 floats
    # are 24 bytes more.
    assert (layout.row_bytes, layout.values_at, layout.total_bytes) == (100, 320, 344)


@pytest.mark.parametrize(
    "change",
    [
        {"rows": 0},
        {"num_actions": 0},
        {"observation_shape": ()},
        {"observation_shape": (4, 0)},
        {"observation_shape": (1,) * 9},
        {"observation_dtype": "object"},
    ],
)
def test_a_layout_that_cannot_be_is_refused(change: dict[str, object]) -> None:
    fits: dict[str, object] = {
        "rows": 1,
        "num_actions": 1,
        "observation_shape": (4,),
        "observation_dtype": np.dtype("uint8").name,
    }
    with pytest.raises(ValueError):
        wire.Layout(**{**fits, **change})  # type: ignore[arg-type]

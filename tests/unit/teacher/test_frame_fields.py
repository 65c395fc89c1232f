"""Counting the fields of a frame before it is parsed."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from rrl_client.v1 import teacher_pb2
from services.teacher.rpc.stream import has_few_fields


@given(
    queries=st.lists(st.binary(max_size=300), max_size=8),
    cancelled=st.lists(st.integers(0, 2**64 - 1), max_size=8),
)
def test_the_fields_of_a_frame_are_its_queries_and_one_for_all_cancelled_tags(
    queries: list[bytes], cancelled: list[int]
) -> None:
    frame = teacher_pb2.QueryFrame(cancelled_tags=cancelled)
    for tag, pixels in enumerate(queries):
        frame.queries.add(tag=tag).request.observations = pixels
    fields = len(queries) + bool(cancelled)
    content = frame.SerializeToString()
    assert has_few_fields(content, fields)
    assert fields == 0 or not has_few_fields(content, fields - 1)


@given(content=st.binary(max_size=60), most=st.integers(0, 20))
def test_any_bytes_are_counted_without_an_error(content: bytes, most: int) -> None:
    has_few_fields(content, most)


def test_what_ends_in_the_middle_of_a_field_is_no_frame() -> None:
    # Field 1, length 5, but only two bytes follow.
    assert not has_few_fields(b"\x0a\x05ab", 10)
    # A key that never ends.
    assert not has_few_fields(b"\xff" * 4, 10)


def test_a_flood_of_empty_queries_is_seen_after_a_few_of_them() -> None:
    assert not has_few_fields(b"\x0a\x00" * 1_000_000, 5000)

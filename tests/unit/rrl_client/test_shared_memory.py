"""Memory of a client, and the server's mapping of it."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rrl_client.shared_memory import NAME, PROOF_BYTES, SharedRows, host_id
from rrl_client.v1 import teacher_pb2
from services.teacher.rpc.offered_memory import OfferedMemory

ROWS, ROW_BYTES = 24, 14


@pytest.fixture
def rows() -> Iterator[SharedRows]:
    made = SharedRows(ROW_BYTES, ROWS)
    yield made
    made.close()


def offer(rows: SharedRows, **changes: object) -> teacher_pb2.MemoryOffer:
    message = teacher_pb2.MemoryOffer(
        host_id=host_id(),
        process_id=os.getpid(),
        descriptor=rows.descriptor,
        size_bytes=rows.size_bytes,
        proof=rows.proof,
    )
    for name, value in changes.items():
        setattr(message, name, value)
    return message


def server(most: int = 10**6, total: int = 10**6) -> OfferedMemory:
    return OfferedMemory(most, total)


def mappings() -> int:
    return Path("/proc/self/maps").read_text().count(NAME)


def observations(count: int, value: int = 1) -> np.ndarray:
    return np.full((count, 7, 2), value, np.uint8)


def test_what_the_client_lays_down_the_server_reads(rows: SharedRows) -> None:
    mapped = server().map(offer(rows))
    assert mapped is not None
    assert len(mapped) == ROWS * ROW_BYTES
    assert rows.put(observations(2)) == 0
    written = np.arange(3 * ROW_BYTES, dtype=np.uint8).reshape(3, 7, 2)
    assert rows.put(written[::-1]) == 2 * ROW_BYTES
    np.testing.assert_array_equal(mapped[2 * ROW_BYTES : 5 * ROW_BYTES], written[::-1].ravel())
    assert not mapped.flags.writeable


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"host_id": "another"}, "another host"),
        ({"host_id": ""}, "another host"),
        ({"proof": bytes(PROOF_BYTES)}, "not belong to the client"),
        ({"proof": b""}, "not belong to the client"),
        ({"size_bytes": 2**63}, "bytes, at most"),
        ({"size_bytes": PROOF_BYTES}, "bytes, at most"),
        ({"size_bytes": 1000}, "its size is wrong"),
        ({"process_id": 2**31 - 1}, "No such file"),
        ({"descriptor": 2**31 - 1}, "No such file"),
        ({"descriptor": 0}, "not memory for observations"),
    ],
)
def test_memory_that_is_not_what_it_is_said_to_be_is_declined(
    rows: SharedRows, changes: dict[str, object], reason: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    memories, before = server(), mappings()
    assert memories.map(offer(rows, **changes)) is None
    assert reason in caplog.text
    assert (memories.count, mappings()) == (0, before)


def test_memory_whose_size_could_change_is_declined(rows: SharedRows) -> None:
    descriptor = os.memfd_create(NAME, os.MFD_ALLOW_SEALING)
    try:
        os.write(descriptor, bytes(100) + rows.proof)
        changed = offer(rows, descriptor=descriptor, size_bytes=100 + PROOF_BYTES)
        assert server().map(changed) is None
    finally:
        os.close(descriptor)


@pytest.mark.parametrize("size", [0, ROWS * ROW_BYTES, 10**6])
def test_the_client_itself_cannot_change_the_size(rows: SharedRows, size: int) -> None:
    with pytest.raises(PermissionError):
        os.ftruncate(rows.descriptor, size)


def test_all_clients_together_have_a_bound(rows: SharedRows) -> None:
    memories = server(total=2 * rows.size_bytes)
    first, second = memories.map(offer(rows)), memories.map(offer(rows))
    assert first is not None and second is not None
    assert memories.map(offer(rows)) is None
    del first
    assert memories.count == 1
    assert memories.map(offer(rows)) is not None


def test_the_mapping_goes_with_the_last_array_on_it(rows: SharedRows) -> None:
    memories = server()
    before = mappings()
    mapped = memories.map(offer(rows))
    assert mapped is not None
    one_query = mapped[:ROW_BYTES]
    del mapped
    assert (memories.count, mappings()) == (1, before + 1)
    del one_query
    assert (memories.count, mappings()) == (0, before)


def test_a_dead_clients_memory_can_still_be_read(rows: SharedRows) -> None:
    mapped = server().map(offer(rows))
    assert mapped is not None
    rows.put(observations(ROWS, 9))
    rows.close()
    del rows
    np.testing.assert_array_equal(mapped, 9)


@given(st.lists(st.integers(1, ROWS) | st.none(), max_size=60))
def test_rows_are_the_lowest_that_are_free_and_never_overlap(steps: list[int | None]) -> None:
    # The model: a list of flags, searched from the start. None gives the oldest rows back.
    rows = SharedRows(ROW_BYTES, ROWS)
    free = [True] * ROWS
    taken: list[tuple[int, int]] = []
    for count in steps:
        if count is None:
            if taken:
                first, before = taken.pop(0)
                rows.give_back(first * ROW_BYTES, before)
                free[first : first + before] = [True] * before
            continue
        places = [i for i in range(ROWS - count + 1) if all(free[i : i + count])]
        expected = places[0] if places else None
        offset = rows.put(observations(count))
        assert offset == (None if expected is None else expected * ROW_BYTES)
        if expected is not None:
            free[expected : expected + count] = [False] * count
            taken.append((expected, count))
    rows.close()


def test_after_a_reset_all_rows_are_free(rows: SharedRows) -> None:
    assert rows.put(observations(ROWS)) == 0
    assert rows.put(observations(1)) is None
    rows.reset()
    assert rows.put(observations(ROWS)) == 0


def test_observations_of_another_size_do_not_fit(rows: SharedRows) -> None:
    assert rows.put(np.zeros((1, 7), np.uint8)) is None
    assert rows.put(np.zeros((ROWS + 1, 7, 2), np.uint8)) is None


def test_a_row_that_is_too_large_is_not_shared() -> None:
    with pytest.raises(OSError, match="too large to share"):
        SharedRows(2**30, 1)
    few = SharedRows(2**27, 512)
    # 256 MiB in all: one row of 128 MiB beside the proof.
    assert few.size_bytes == 2**27 + PROOF_BYTES
    few.close()

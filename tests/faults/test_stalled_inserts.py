"""A writer waits for the rate limiter without end, and gives up a dead connection."""

from __future__ import annotations

import socket
from collections.abc import Iterator

import numpy as np
import pytest

from services.replay.config import ReplayConfig
from services.replay.connection import table_counts
from services.replay.failures import ReplayTimeout
from services.replay.item_layout import ItemLayout, StepRow
from services.replay.server import build_replay
from services.replay.stalls import StalledInsertDetector
from services.replay.table_names import STUDENT_TABLE
from services.replay.writer import ReplayWriter, WriterOptions
from services.shared.addresses import free_ports
from tests.faults.links import Cut, LinkConfig, Links
from tests.faults.ports import LOOPBACK

_LAYOUT = ItemLayout(frame_shape=(3, 2), stack_size=4, n_step=1, num_actions=2, clips_rewards=False)
_LONG_SECONDS = 200.0


@pytest.fixture(scope="module")
def port(tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    """A replay server whose student's table holds inserts back after some 30 items."""
    server = build_replay(
        ReplayConfig(
            layout=_LAYOUT,
            checkpoint_root=tmp_path_factory.mktemp("replay") / "working",
            min_student_size=20,
            samples_per_insert=4.0,
            error_buffer=40.0,
            teacher_capacity=100,
            student_capacity=100,
        )
    )
    yield server.start()
    server.stop()


def detector(port: int, stall_seconds: float) -> StalledInsertDetector:
    return StalledInsertDetector(
        f"{LOOPBACK}:{port}", STUDENT_TABLE, stall_seconds=stall_seconds, check_seconds=0.0
    )


def writer(port: int, stall_seconds: float) -> ReplayWriter:
    return ReplayWriter(
        f"{LOOPBACK}:{port}",
        STUDENT_TABLE,
        _LAYOUT,
        1,
        options=WriterOptions(
            poll_seconds=0.05,
            chunk_length=1,
            max_pending_items=2,
            stall_seconds=stall_seconds,
            stall_check_seconds=0.0,
        ),
    )


def takes_inserts(port: int) -> bool:
    counts = table_counts(f"{LOOPBACK}:{port}", timeout_seconds=_LONG_SECONDS)
    return counts[STUDENT_TABLE].takes_inserts


def write(writer: ReplayWriter, steps: int) -> None:
    for _ in range(steps):
        writer.append(0, StepRow(np.zeros(_LAYOUT.frame_shape, np.uint8), 0, 0.0, False, None))
    assert writer.flush(_LONG_SECONDS)


def gives_up(writer: ReplayWriter) -> bool:
    """Whether writing some steps timed out; keeps nothing of the writer."""
    try:
        write(writer, 5)
    except ReplayTimeout:
        return True
    return False


def test_the_table_is_not_asked_before_the_write_has_waited_for_long() -> None:
    with socket.create_server((LOOPBACK, 0)) as server:
        server.setblocking(False)
        stalls = detector(server.getsockname()[1], _LONG_SECONDS)
        assert not stalls.is_stalled()
        assert not stalls.is_stalled()
        with pytest.raises(BlockingIOError):  # No connection has come.
            server.accept()


def test_a_write_to_an_open_table_is_stalled_after_two_checks_and_a_reset_starts_again(
    port: int,
) -> None:
    stalls = detector(port, 0.0)
    assert [stalls.is_stalled() for _ in range(4)] == [False, True, False, True]
    assert not stalls.is_stalled()
    stalls.reset()
    assert not stalls.is_stalled()


@pytest.mark.slow
def test_a_writer_whose_connection_was_forgotten_is_given_up_and_the_next_one_writes(
    port: int,
) -> None:
    (link,) = free_ports(1)
    config = LinkConfig(client="actor", server="replay", port=link, server_port=port)
    with Links([config]) as links:
        old = writer(link, 0.5)
        write(old, 3)
        links.cut(["replay"], Cut.FORGOTTEN)
        links.heal(["replay"])
        assert gives_up(old)
        old.close()
        # Clients of one address share a connection for as long as any of them lives.
        del old
        new = writer(link, _LONG_SECONDS)
        write(new, 5)
        new.close()


def test_a_writer_that_the_rate_limiter_holds_back_never_gives_up(port: int) -> None:
    # Without samples: 4 samples per item, less the buffer of 40, leave room for few.
    held = writer(port, _LONG_SECONDS)
    for _ in range(60):
        held.append(0, StepRow(np.zeros(_LAYOUT.frame_shape, np.uint8), 0, 0.0, False, None))
        # Too slow is not yet held back.
        if not held.flush(0.2) and not takes_inserts(port):
            break
    else:
        raise AssertionError("the table takes without end")
    stalls = detector(port, 0.0)
    assert not any(stalls.is_stalled() for _ in range(5))
    held.close()

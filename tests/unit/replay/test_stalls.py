"""When a reader that gets no batch looks at the rate limiters, and when it reconnects.

A dead connection itself is tested in `tests/faults`.
"""

from __future__ import annotations

import time

import pytest

from services.replay import stalls
from services.replay.connection import TableCounts
from services.replay.failures import ReplayTimeout
from services.replay.stalls import StalledSampleDetector
from services.replay.table_names import STUDENT_TABLE, TEACHER_TABLE


class Server:
    """The clock, and what a replay server says of its tables."""

    def __init__(self) -> None:
        self.now = 100.0
        self.gives_samples = {TEACHER_TABLE: True, STUDENT_TABLE: True}
        self.is_down = False
        self.asked = 0

    def table_counts(self, address: str) -> dict[str, TableCounts]:
        self.asked += 1
        if self.is_down:
            raise ReplayTimeout("no answer")
        return {
            table: TableCounts(
                size=9, inserted=9, sampled=9, takes_inserts=True, gives_samples=gives
            )
            for table, gives in self.gives_samples.items()
        }


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Server:
    made = Server()
    monkeypatch.setattr(time, "monotonic", lambda: made.now)
    monkeypatch.setattr(stalls, "table_counts", made.table_counts)
    return made


def test_a_reader_that_waits_for_long_at_open_tables_is_stalled(server: Server) -> None:
    detector = StalledSampleDetector("replay:1", seconds=20.0)
    assert not detector.is_stalled([STUDENT_TABLE])
    detector.note_timeout()
    server.now += 19.0
    # A later timeout does not restart the timer.
    detector.note_timeout()
    assert not detector.is_stalled([STUDENT_TABLE]) and server.asked == 0
    server.now += 1.0
    assert detector.is_stalled([STUDENT_TABLE])
    # The new connection has its time, too.
    assert not detector.is_stalled([STUDENT_TABLE]) and server.asked == 1
    server.now += 20.0
    assert detector.is_stalled([STUDENT_TABLE])


def test_a_batch_or_a_pause_resets_the_timer(server: Server) -> None:
    detector = StalledSampleDetector("replay:1", seconds=20.0)
    detector.note_timeout()
    server.now += 20.0
    detector.reset()
    server.now += 60.0
    assert not detector.is_stalled([STUDENT_TABLE]) and server.asked == 0


def test_a_rate_limiter_that_holds_samples_back_is_no_stall(server: Server) -> None:
    detector = StalledSampleDetector("replay:1", seconds=20.0)
    server.gives_samples[STUDENT_TABLE] = False
    detector.note_timeout()
    server.now += 20.0
    assert not detector.is_stalled([TEACHER_TABLE, STUDENT_TABLE])
    server.now += 20.0
    # Only the tables that are read count.
    assert detector.is_stalled([TEACHER_TABLE])


def test_a_server_that_is_down_is_told_from_a_stall(server: Server) -> None:
    detector = StalledSampleDetector("replay:1", seconds=20.0)
    server.is_down = True
    detector.note_timeout()
    server.now += 20.0
    with pytest.raises(ReplayTimeout):
        detector.is_stalled([STUDENT_TABLE])

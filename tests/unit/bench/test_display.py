from __future__ import annotations

import io
from pathlib import Path

import pytest

from services.bench.display import PLAIN_INTERVAL_SECONDS, BenchDisplay
from services.bench.folder import BenchFolder
from services.bench.plan import PlannedRun, plan_suite
from services.bench.run_messages import Doing
from services.bench.suite import Suite


class Clock:
    def __init__(self) -> None:
        self.seconds = 1_000.0

    def __call__(self) -> float:
        return self.seconds


@pytest.fixture
def qdagger(suite: Suite) -> list[PlannedRun]:
    """Two runs of 500 updates each."""
    plan = plan_suite(suite, BenchFolder(Path("/out")))
    return [run for run in plan.students if run.name.startswith("qdagger/asterix")]


def _doing(updates: int) -> Doing:
    return Doing(stage="online", updates=updates, updates_per_second=50.0)


def test_plain_lines_say_where_a_suite_stands(qdagger: list[PlannedRun]) -> None:
    stream, clock = io.StringIO(), Clock()
    first, second = qdagger
    with BenchDisplay(qdagger, 3, stream=stream, interactive=False, clock=clock) as display:
        display.begun(first)
        display.look({first.name: _doing(0)})
        clock.seconds += PLAIN_INTERVAL_SECONDS
        display.look({first.name: _doing(250)})
        # 250 updates in 30 seconds; 250 and 500 are left: 90 seconds.
        assert display.seconds_left() == pytest.approx(90.0)
        clock.seconds += PLAIN_INTERVAL_SECONDS
        display.ended(first, "finished")
        display.begun(second)
        display.ended(second, "failed: no luck")
    assert stream.getvalue().splitlines() == [
        "begins    qdagger/asterix/seed0",
        "3 of 5 runs finished, about 1 min 30 s left; qdagger/asterix/seed0 online 50%, "
        "50 updates/s",
        "finished  qdagger/asterix/seed0  (4 of 5 runs finished, about 1 min 00 s left)",
        "begins    qdagger/asterix/seed1",
        "failed    qdagger/asterix/seed1: no luck  (4 of 5 runs finished, 1 failed, "
        "about 0 s left)",
    ]


def test_a_run_that_is_gone_on_with_does_not_count_as_fast(qdagger: list[PlannedRun]) -> None:
    clock = Clock()
    display = BenchDisplay(qdagger, 0, stream=io.StringIO(), interactive=False, clock=clock)
    first = qdagger[0].name
    # 400 updates are from an earlier session.
    display.look({first: _doing(400)})
    assert display.seconds_left() is None
    clock.seconds += 10.0
    display.look({first: _doing(420)})
    # 20 updates in 10 seconds; 80 and 500 are left.
    assert display.seconds_left() == pytest.approx(290.0)


def test_a_terminal_shows_a_table(qdagger: list[PlannedRun]) -> None:
    stream = io.StringIO()
    with BenchDisplay(qdagger, 0, stream=stream, interactive=True) as display:
        display.look({qdagger[0].name: _doing(125)})
    shown = stream.getvalue()
    assert "qdagger/asterix/seed0" in shown
    assert "25%" in shown
    assert "0 of 2 runs finished" in shown

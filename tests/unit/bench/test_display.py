from __future__ import annotations

import contextlib
import io
from pathlib import Path

import pytest
from rich.console import Console

from rrl_agents.types import Progress, Stage
from services.bench.display import PLAIN_INTERVAL_SECONDS, BenchDisplay
from services.bench.folder import BenchFolder
from services.bench.plan import PlannedRun, plan_suite
from services.bench.run_messages import RunProgress
from tests.support.bench_rows import SUITE


class Clock:
    def __init__(self) -> None:
        self.seconds = 1_000.0

    def __call__(self) -> float:
        return self.seconds


@pytest.fixture
def qdagger() -> list[PlannedRun]:
    """Two runs of 500 updates each."""
    plan = plan_suite(SUITE, BenchFolder(Path("/out")))
    return [run for run in plan.students if run.name.startswith("qdagger/asterix")]


def _progress(updates: int) -> RunProgress:
    progress = Progress(random_return=0.0, stage=Stage.ONLINE, online_updates=updates)
    return RunProgress(progress=progress, updates_per_second=50.0)


def test_plain_lines_say_where_a_suite_stands(qdagger: list[PlannedRun]) -> None:
    stream, clock = io.StringIO(), Clock()
    first, second = qdagger
    display = BenchDisplay(qdagger, 3, console=Console(file=stream), clock=clock)
    with contextlib.closing(display):
        display.started(first)
        display.update({first.name: _progress(0)})
        clock.seconds += PLAIN_INTERVAL_SECONDS
        display.update({first.name: _progress(250)})
        # 250 updates in 30 seconds; 250 and 500 are left: 90 seconds.
        assert display.seconds_left() == pytest.approx(90.0)
        clock.seconds += PLAIN_INTERVAL_SECONDS
        display.ended(first, "finished")
        display.started(second)
        display.ended(second, "failed", "no luck")
    assert stream.getvalue().splitlines() == [
        "starts    qdagger/asterix/seed0",
        "3 of 5 runs finished, about 1 min 30 s left",
        "run                    stage   done  updates/s",
        "qdagger/asterix/seed0  online  50%   50       ",
        "finished  qdagger/asterix/seed0  (4 of 5 runs finished, about 1 min 00 s left)",
        "starts    qdagger/asterix/seed1",
        "failed    qdagger/asterix/seed1: no luck  (4 of 5 runs finished, 1 failed, "
        "about 0 s left)",
    ]


def test_a_run_that_is_gone_on_with_does_not_count_as_fast(qdagger: list[PlannedRun]) -> None:
    clock = Clock()
    display = BenchDisplay(qdagger, 0, console=Console(file=io.StringIO()), clock=clock)
    first = qdagger[0].name
    # 400 updates are from an earlier session.
    display.update({first: _progress(400)})
    assert display.seconds_left() is None
    clock.seconds += 10.0
    display.update({first: _progress(420)})
    # 20 updates in 10 seconds; 80 and 500 are left.
    assert display.seconds_left() == pytest.approx(290.0)


def test_a_terminal_shows_a_table(qdagger: list[PlannedRun]) -> None:
    stream = io.StringIO()
    display = BenchDisplay(qdagger, 0, console=Console(file=stream, force_terminal=True))
    with contextlib.closing(display):
        display.update({qdagger[0].name: _progress(125)})
    shown = stream.getvalue()
    assert "qdagger/asterix/seed0" in shown
    assert "25%" in shown
    assert "0 of 2 runs finished" in shown

from __future__ import annotations

import io
import itertools
from pathlib import Path

import pytest
from rich.console import Console

from rrl_agents.types import Progress, Stage
from services.bench.display import BenchDisplay
from services.bench.folder import BenchFolder
from services.bench.plan import PlannedRun, plan_suite
from tests.support.bench_rows import SUITE


@pytest.fixture
def qdagger() -> list[PlannedRun]:
    """Two runs of 500 updates each."""
    plan = plan_suite(SUITE, BenchFolder(Path("/out")))
    return [run for run in plan if run.name.startswith("qdagger/asterix")]


def _progress(updates: int) -> Progress:
    return Progress(random_return=0.0, stage=Stage.ONLINE, online_updates=updates)


def test_lines_say_where_a_suite_stands(
    qdagger: list[PlannedRun], caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    stream = io.StringIO()
    first, second = qdagger
    display = BenchDisplay(qdagger, 3, console=Console(file=stream), line_seconds=0.0)
    with display.bars:
        display.started(first)
        display.update({first.name: _progress(250)})
        display.ended(first, "finished")
        display.started(second)
        display.ended(second, "failed", "no luck")
        display.update({})
    assert stream.getvalue().splitlines() == [
        "starts    qdagger/asterix/seed0",
        "finished  qdagger/asterix/seed0  (4 of 5 runs finished)",
        "starts    qdagger/asterix/seed1",
        "failed    qdagger/asterix/seed1: no luck  (4 of 5 runs finished, 1 failed)",
    ]
    assert [message.split(" of ")[0] for message in caplog.messages] == [
        "all updates: 250",
        "qdagger/asterix/seed0 online: 250",
        # Of the one that failed nothing is left to do.
        "all updates: 1,000",
    ]


def test_a_terminal_shows_the_runs_that_are_at_work(qdagger: list[PlannedRun]) -> None:
    stream = io.StringIO()
    first, second = qdagger
    display = BenchDisplay(qdagger, 0, console=Console(file=stream, force_terminal=True))
    with display.bars:
        display.update({first.name: _progress(125)})
        assert [task.visible for task in display.bars.tasks] == [True, True]
        display.update({second.name: _progress(1)})
        # All updates, the first run, the second.
        assert [task.visible for task in display.bars.tasks] == [True, False, True]
        display.bars.refresh()
    assert "qdagger/asterix/seed1" in (shown := stream.getvalue())
    assert "126 of 1,000" in shown


def test_a_run_whose_teacher_plays_shows_the_teachers_steps(
    qdagger: list[PlannedRun], caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    first, _ = qdagger
    display = BenchDisplay(qdagger, 0, console=Console(file=io.StringIO()), line_seconds=0.0)
    playing = Progress(random_return=0.0, stage=Stage.COLLECT, teacher_steps=70)
    with display.bars:
        display.update({first.name: playing})
        display.update({first.name: _progress(1)})
    assert caplog.messages == [
        "all updates: 0 of 1,000",
        f"{first.name} collect steps: 70 of {first.config.teacher_steps:,}",
        "all updates: 1 of 1,000",
        f"{first.name} online: 1 of 500",
    ]


def test_what_was_not_done_now_does_not_shorten_the_time_left(qdagger: list[PlannedRun]) -> None:
    first, second = qdagger
    display = BenchDisplay(qdagger, 0, console=Console(file=io.StringIO()))
    seconds = itertools.count()
    display.bars.get_time = lambda: float(next(seconds))
    everything = display.bars.tasks[0]
    for updates in (300, 301, 302):
        display.update({first.name: _progress(updates)})
    # Resumed, too.
    for updates in (400, 401, 402):
        display.update({second.name: _progress(updates)})
    assert everything.completed == 302 + 402
    assert everything.speed is not None and everything.speed <= 1.0
    display.ended(second, "failed")
    for updates in (303, 304, 305):
        display.update({first.name: _progress(updates)})
    assert everything.remaining == 500 - 305
    assert everything.speed is not None and everything.speed <= 1.0

from __future__ import annotations

import io
import threading
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import cast

import pytest
from rich.console import Console

from rrl_agents.types import Progress
from services.bench.display import BenchDisplay
from services.bench.folder import BenchFolder
from services.bench.plan import PlannedRun, RunResult, plan_suite
from services.bench.session import MAX_DEATHS, Schedule
from services.bench.suite import parse_suite
from services.bench.workers import Workers
from tests.support.bench_rows import SUITE_TEXT

FINISHED = RunResult(finished=True)
DEAD = RunResult(finished=False, error="its worker was killed by SIGKILL", died=True)


class Script:
    """Workers whose runs end as a script has it, one at a time."""

    def __init__(self, count: int, ends: Mapping[str, list[RunResult]]) -> None:
        self.running: list[PlannedRun] = []
        self.progress: dict[str, Progress] = {}
        self.started: list[str] = []
        self._count = count
        self._ends = {name: list(ends) for name, ends in ends.items()}
        self._is_stopping = False

    @property
    def has_room(self) -> bool:
        return len(self.running) < self._count

    def start(self, run: PlannedRun) -> None:
        self.started.append(run.name)
        self.running.append(run)

    def stop(self) -> None:
        self._is_stopping = True

    def results(self, timeout_seconds: float) -> Iterator[tuple[PlannedRun, RunResult]]:
        del timeout_seconds
        if not self.running:
            return
        run = self.running.pop(0)
        if self._is_stopping:
            yield run, RunResult(finished=False)
            return
        result = self._ends.get(run.name, [FINISHED]).pop(0)
        if result is FINISHED and run.export is not None:
            run.export.mkdir(parents=True)
        yield run, result


@pytest.fixture
def runs(tmp_path: Path) -> list[PlannedRun]:
    """Two teachers, and of each two students (one seed of two entries)."""
    teacher = 'method = "tabula_rasa"\nstudent = "minatar_dqn"'
    text = SUITE_TEXT.replace('checkpoint = "teachers/{game}"', teacher).replace("[0, 1]", "[0]")
    plan = plan_suite(parse_suite(text), BenchFolder(tmp_path))
    return [*plan.teachers, *plan.students]


def _run(
    runs: list[PlannedRun], script: Script, stop: threading.Event | None = None
) -> tuple[dict[str, str], str]:
    """What failed and why, and what was shown."""
    shown = io.StringIO()
    schedule = Schedule(
        runs, cast(Workers, script), BenchDisplay(runs, 0, console=Console(file=shown))
    )
    schedule.run(stop or threading.Event())
    return schedule.failures, shown.getvalue()


def test_students_begin_when_their_own_teacher_is_there(runs: list[PlannedRun]) -> None:
    script = Script(2, {})
    failures, _ = _run(runs, script)
    assert failures == {}
    assert sorted(script.started) == sorted(run.name for run in runs)
    given = script.started
    assert given[:2] == ["teacher/asterix", "teacher/breakout"]
    # The first teacher is there while the second still learns: its students need not wait.
    assert given[2] == "qdagger/asterix/seed0"


def test_a_run_that_fails_stops_no_other_and_is_named(runs: list[PlannedRun]) -> None:
    script = Script(1, {"qdagger/asterix/seed0": [RunResult(finished=False, error="out of luck")]})
    failures, shown = _run(runs, script)
    assert failures == {"qdagger/asterix/seed0": "out of luck"}
    assert len(script.started) == len(runs)
    assert "failed    qdagger/asterix/seed0: out of luck" in shown


def test_students_of_a_teacher_that_failed_fail_too_and_do_not_begin(
    runs: list[PlannedRun],
) -> None:
    script = Script(1, {"teacher/asterix": [RunResult(finished=False, error="learned nothing")]})
    failures, _ = _run(runs, script)
    assert set(failures) == {
        "teacher/asterix",
        "qdagger/asterix/seed0",
        "scratch/asterix/seed0",
    }
    assert "was not made" in failures["qdagger/asterix/seed0"]
    assert not [name for name in script.started if name.endswith("asterix/seed0")]


def test_a_run_whose_worker_died_goes_on_first_thing(runs: list[PlannedRun]) -> None:
    script = Script(1, {"qdagger/asterix/seed0": [DEAD, FINISHED]})
    failures, shown = _run(runs, script)
    assert failures == {}
    first = script.started.index("qdagger/asterix/seed0")
    assert script.started[first + 1] == "qdagger/asterix/seed0"
    assert "resumes   qdagger/asterix/seed0: its worker was killed by SIGKILL" in shown


def test_a_run_whose_workers_die_again_and_again_has_failed(runs: list[PlannedRun]) -> None:
    script = Script(1, {"scratch/asterix/seed0": [DEAD] * MAX_DEATHS})
    failures, _ = _run(runs, script)
    assert failures == {
        "scratch/asterix/seed0": f"its worker was killed by SIGKILL, {MAX_DEATHS} times"
    }


def test_a_stop_lets_runs_save_a_checkpoint_and_begins_no_other(runs: list[PlannedRun]) -> None:
    stop = threading.Event()

    class Stopping(Script):
        def start(self, run: PlannedRun) -> None:
            super().start(run)
            stop.set()

    script = Stopping(2, {})
    failures, shown = _run(runs, script, stop)
    # The first teacher has finished by then: its students do not start.
    assert failures == {}
    assert script.started == ["teacher/asterix", "teacher/breakout"]
    assert "stopped   teacher/breakout" in shown

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import cast

import pytest

from services.bench.folder import BenchFolder
from services.bench.plan import PlannedRun, plan_suite
from services.bench.run_messages import Doing, Ended
from services.bench.scheduling import MAX_DEATHS, Outcome, Schedule
from services.bench.suite import parse_suite
from services.bench.workers import News, Workers

FINISHED = Ended(finished=True)
DEAD = None


class Script:
    """Workers whose runs end as a script has it, one piece of news at a time."""

    def __init__(self, count: int, ends: Mapping[str, list[Ended | None]]) -> None:
        self.running: list[PlannedRun] = []
        self.doing: dict[str, Doing] = {}
        self.given: list[str] = []
        self._count = count
        self._ends = {name: list(ends) for name, ends in ends.items()}
        self._told = False

    @property
    def has_room(self) -> bool:
        return len(self.running) < self._count

    def give(self, run: PlannedRun) -> None:
        self.given.append(run.name)
        self.running.append(run)

    def stop(self) -> None:
        self._told = True

    def news(self, timeout_seconds: float) -> Iterator[News]:
        del timeout_seconds
        if not self.running:
            return
        run = self.running.pop(0)
        if self._told:
            yield News(run, Ended(finished=False), "")
            return
        ended = self._ends.get(run.name, [FINISHED]).pop(0)
        if ended is FINISHED and run.export is not None:
            run.export.mkdir(parents=True)
        yield News(run, ended, "its worker was killed by SIGKILL" if ended is DEAD else "")


class Notes:
    """Writes down what it is told."""

    def __init__(self) -> None:
        self.ends: list[tuple[str, str]] = []

    def begun(self, run: PlannedRun) -> None:
        """Known from the script."""

    def ended(self, run: PlannedRun, how: str) -> None:
        self.ends.append((run.name, how))

    def look(self, doing: Mapping[str, Doing]) -> None:
        """Nothing to see."""


@pytest.fixture
def runs(suite_text: str, tmp_path: Path) -> list[PlannedRun]:
    """Two teachers, and of each two students (one seed of two entries)."""
    teacher = 'method = "tabula_rasa"\nstudent = "minatar_dqn"'
    text = suite_text.replace('checkpoint = "teachers/{game}"', teacher).replace("[0, 1]", "[0]")
    plan = plan_suite(parse_suite(text), BenchFolder(tmp_path))
    return [*plan.teachers, *plan.students]


def _carry_out(
    runs: list[PlannedRun], script: Script, stop: threading.Event | None = None
) -> tuple[Outcome, Notes]:
    notes = Notes()
    schedule = Schedule(runs, cast(Workers, script), notes)
    return schedule.run(stop or threading.Event()), notes


def test_students_begin_when_their_own_teacher_is_there(runs: list[PlannedRun]) -> None:
    script = Script(2, {})
    outcome, _ = _carry_out(runs, script)
    assert outcome == Outcome(stopped=False, failures={})
    assert sorted(script.given) == sorted(run.name for run in runs)
    given = script.given
    assert given[:2] == ["teacher/asterix", "teacher/breakout"]
    # The first teacher is there while the second still learns: its students need not wait.
    assert given[2] == "qdagger/asterix/seed0"


def test_a_run_that_fails_stops_no_other_and_is_named(runs: list[PlannedRun]) -> None:
    script = Script(1, {"qdagger/asterix/seed0": [Ended(finished=False, error="out of luck")]})
    outcome, notes = _carry_out(runs, script)
    assert outcome.failures == {"qdagger/asterix/seed0": "out of luck"}
    assert len(script.given) == len(runs)
    assert ("qdagger/asterix/seed0", "failed: out of luck") in notes.ends


def test_students_of_a_teacher_that_failed_fail_too_and_do_not_begin(
    runs: list[PlannedRun],
) -> None:
    script = Script(1, {"teacher/asterix": [Ended(finished=False, error="learned nothing")]})
    outcome, _ = _carry_out(runs, script)
    assert set(outcome.failures) == {
        "teacher/asterix",
        "qdagger/asterix/seed0",
        "scratch/asterix/seed0",
    }
    assert "was not made" in outcome.failures["qdagger/asterix/seed0"]
    assert not [name for name in script.given if name.endswith("asterix/seed0")]


def test_a_run_whose_worker_died_goes_on_first_thing(runs: list[PlannedRun]) -> None:
    script = Script(1, {"qdagger/asterix/seed0": [DEAD, FINISHED]})
    outcome, notes = _carry_out(runs, script)
    assert outcome.failures == {}
    first = script.given.index("qdagger/asterix/seed0")
    assert script.given[first + 1] == "qdagger/asterix/seed0"
    assert notes.ends[first] == (
        "qdagger/asterix/seed0",
        "goes on: its worker was killed by SIGKILL",
    )


def test_a_run_whose_workers_die_again_and_again_has_failed(runs: list[PlannedRun]) -> None:
    script = Script(1, {"scratch/asterix/seed0": [DEAD] * MAX_DEATHS})
    outcome, _ = _carry_out(runs, script)
    assert outcome.failures == {
        "scratch/asterix/seed0": f"its worker was killed by SIGKILL, for the {MAX_DEATHS}. time"
    }


def test_a_stop_lets_runs_save_a_checkpoint_and_begins_no_other(runs: list[PlannedRun]) -> None:
    stop = threading.Event()

    class Stopping(Script):
        def give(self, run: PlannedRun) -> None:
            super().give(run)
            stop.set()

    script = Stopping(1, {})
    outcome, notes = _carry_out(runs, script, stop)
    # The first run's end was still in the script when the event was set; then nothing is given.
    assert outcome.stopped
    assert script.given == ["teacher/asterix"]
    assert notes.ends[-1][0] == "teacher/asterix"

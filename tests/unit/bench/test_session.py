from __future__ import annotations

import io
import shutil
import threading
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import cast

import pytest
from rich.console import Console

from rrl_agents.types import Progress
from services.bench.display import BenchDisplay
from services.bench.folder import LOCK, BenchFolder
from services.bench.plan import PlannedRun, RunResult, plan_suite
from services.bench.session import MAX_DEATHS, Schedule, run_suite
from services.bench.suite import parse_suite, read_suite
from services.bench.workers import Workers
from services.shared.errors import UserError
from services.shared.locks import locked
from tests.support.bench_rows import TRAINED_TEXT, changed

SMOKE = Path(__file__).parents[3] / "suites/catch_smoke.toml"
FINISHED = RunResult(finished=True)
DEAD = RunResult(finished=False, error="its worker was killed by SIGKILL", died=True)


class Script:
    """Workers whose runs end as a script has it, one at a time."""

    def __init__(
        self,
        count: int = 1,
        ends: Mapping[str, list[RunResult]] | None = None,
        stop: threading.Event | None = None,
    ) -> None:
        self.running: list[PlannedRun] = []
        self.progress: dict[str, Progress] = {}
        self.started: list[str] = []
        self._count = count
        self._ends = {name: list(ends) for name, ends in (ends or {}).items()}
        self._stop = stop

    @property
    def has_room(self) -> bool:
        return len(self.running) < self._count

    def start(self, run: PlannedRun) -> None:
        self.started.append(run.name)
        self.running.append(run)
        if self._stop is not None:
            self._stop.set()

    def stop(self) -> None:
        self._ends = {run.name: [RunResult(finished=False)] for run in self.running}

    def results(self, timeout_seconds: float) -> Iterator[tuple[PlannedRun, RunResult]]:
        del timeout_seconds
        if self.running:
            run = self.running.pop(0)
            result = self._ends.get(run.name, [FINISHED]).pop(0)
            if result is FINISHED and run.export is not None:
                run.export.mkdir(parents=True)
            yield run, result


@pytest.fixture
def runs(tmp_path: Path) -> list[PlannedRun]:
    """Two teachers, and of each two students (one seed of two entries)."""
    text = changed("[0, 1]", "[0]", TRAINED_TEXT)
    return [*plan_suite(parse_suite(text), BenchFolder(tmp_path)).runs]


def _run(
    runs: list[PlannedRun], script: Script, stop: threading.Event | None = None
) -> tuple[dict[str, str], str]:
    """What failed and why, and what was shown."""
    shown = io.StringIO()
    display = BenchDisplay(runs, 0, console=Console(file=shown))
    schedule = Schedule(runs, cast(Workers, script), display)
    schedule.run(stop or threading.Event())
    return schedule.failures, shown.getvalue()


def test_students_begin_when_their_own_teacher_is_there(runs: list[PlannedRun]) -> None:
    script = Script(2)
    assert _run(runs, script)[0] == {}
    assert sorted(script.started) == sorted(run.name for run in runs)
    # The first teacher is there while the second still learns: its students need not wait.
    first = ["teacher/asterix", "teacher/breakout", "qdagger/asterix/seed0"]
    assert script.started[:3] == first


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
    students = ["qdagger/asterix/seed0", "scratch/asterix/seed0"]
    assert [*failures] == ["teacher/asterix", *students]
    assert "was not made" in failures["qdagger/asterix/seed0"]
    assert not {*students} & {*script.started}


def test_a_run_whose_worker_died_goes_on_first_thing(runs: list[PlannedRun]) -> None:
    script = Script(1, {"qdagger/asterix/seed0": [DEAD, FINISHED]})
    failures, shown = _run(runs, script)
    assert failures == {}
    first = script.started.index("qdagger/asterix/seed0")
    assert script.started[first + 1] == "qdagger/asterix/seed0"
    assert "resumes   qdagger/asterix/seed0: its worker was killed by SIGKILL" in shown


def test_a_run_whose_workers_die_again_and_again_has_failed(runs: list[PlannedRun]) -> None:
    failures, _ = _run(runs, Script(1, {"scratch/asterix/seed0": [DEAD] * MAX_DEATHS}))
    assert failures == {
        "scratch/asterix/seed0": f"its worker was killed by SIGKILL, {MAX_DEATHS} times"
    }


def test_a_stop_lets_runs_save_a_checkpoint_and_begins_no_other(runs: list[PlannedRun]) -> None:
    stop = threading.Event()
    script = Script(2, stop=stop)
    failures, shown = _run(runs, script, stop)
    # The first teacher has finished by then: its students do not start.
    assert failures == {}
    assert script.started == ["teacher/asterix", "teacher/breakout"]
    assert "stopped   teacher/breakout" in shown


TEACHER = 'method = "tabula_rasa"\nstudent = "vector_dqn"\n\n[teacher.settings]'


@pytest.mark.parametrize(
    ("changes", "only", "message"),
    [
        # 100 decisions leave nothing to learn from behind the 200 that replay waits for.
        (
            {'"online_steps" = 1_000': '"online_steps" = 100'},
            "*",
            "tabula_rasa/catch/seed0: online_steps 100 leave nothing to learn from",
        ),
        (
            {
                TEACHER: TEACHER.replace("tabula_rasa", "kickstarting"),
                '"method.learning_rate" = 3e-3\n"method.q_learning': '"method.q_learning',
            },
            "*",
            "teacher/catch: kickstarting is to run without a teacher",
        ),
        ({}, "qdager*", "names are like tabula_rasa/catch/seed0"),
    ],
)
def test_what_does_not_fit_together_is_found_out_before_a_teacher_is_trained(
    tmp_path: Path, changes: dict[str, str], only: str, message: str
) -> None:
    text = SMOKE.read_text()
    for found, given in changes.items():
        text = changed(found, given, text)
    suite = tmp_path / "suite.toml"
    suite.write_text(text)
    with pytest.raises(UserError, match=message):
        run_suite(suite, tmp_path / "out", threading.Event(), jobs=1, only=only)
    # Nothing has begun: no worker was started, no run has a folder.
    assert not [*tmp_path.glob("out/teacher_runs"), *tmp_path.glob("out/[rl]*")]


def test_a_folder_that_is_in_use_keeps_the_suite_that_is_run_there(tmp_path: Path) -> None:
    out = tmp_path / "out"
    out.mkdir()
    (out / "suite.toml").write_text(SMOKE.read_text())
    grown = tmp_path / "grown.toml"
    grown.write_text(changed("seeds = [0, 1]", "seeds = [0, 1, 2]", SMOKE.read_text()))
    with locked(out / LOCK), pytest.raises(UserError, match="in use by another process"):
        run_suite(grown, out, threading.Event(), jobs=1)
    assert (out / "suite.toml").read_text() == SMOKE.read_text()


def test_a_teacher_that_is_exported_needs_its_run_no_more(
    tmp_path: Path, catch_teacher: Path
) -> None:
    suite, text = read_suite(SMOKE)
    (teacher,) = plan_suite(suite, BenchFolder(tmp_path)).teachers
    assert teacher.export is not None
    shutil.copytree(catch_teacher, teacher.export)
    (tmp_path / "suite.toml").write_text(text)
    stopped_at_once = threading.Event()
    stopped_at_once.set()
    result = run_suite(SMOKE, tmp_path, stopped_at_once, jobs=1, only="tabula_rasa/*/seed0")
    # Of the teacher and its student the teacher is there.
    assert (result.finished, result.asked) == (1, 2)

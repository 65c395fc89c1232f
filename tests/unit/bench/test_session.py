from __future__ import annotations

import io
import shutil
import threading
from collections.abc import Mapping
from pathlib import Path

import pytest
from rich.console import Console

from rrl_agents.types import Progress
from services.bench.display import BenchDisplay
from services.bench.folder import LOCK, BenchFolder
from services.bench.plan import PlannedRun, RunResult, plan_suite
from services.bench.session import MAX_DEATHS, Schedule, run_suite
from services.bench.suite import parse_suite, read_suite
from services.bench.workers import Report
from services.shared.errors import UserError
from services.shared.locks import locked
from tests.support.bench_rows import TRAINED_TEXT, changed
from tests.support.patience import PATIENCE_SECONDS

SMOKE = Path(__file__).parents[3] / "suites/catch_smoke.toml"
FINISHED = RunResult(finished=True)
DEAD = RunResult(finished=False, error="its worker was killed by SIGKILL", died=True)


class Script:
    """Executes runs: they end as a script has it, and after other runs have started."""

    def __init__(
        self,
        ends: Mapping[str, list[RunResult]] | None = None,
        after: Mapping[str, threading.Event] | None = None,
        sets: Mapping[str, threading.Event] | None = None,
    ) -> None:
        self.started: list[str] = []
        self._ends = {name: list(ends) for name, ends in (ends or {}).items()}
        self._after, self._sets = after or {}, sets or {}

    def __call__(self, run: PlannedRun, report: Report) -> RunResult:
        self.started.append(run.name)
        report(run, Progress(random_return=0.0))
        if run.name in self._sets:
            self._sets[run.name].set()
        if run.name in self._after:
            assert self._after[run.name].wait(PATIENCE_SECONDS)
        result = self._ends.get(run.name, [FINISHED]).pop(0)
        if result is FINISHED and run.export is not None:
            run.export.mkdir(parents=True, exist_ok=True)
        return result


@pytest.fixture
def runs(tmp_path: Path) -> list[PlannedRun]:
    """Two teachers, and of each two students (one seed of two entries)."""
    text = changed("[0, 1]", "[0]", TRAINED_TEXT)
    return [*plan_suite(parse_suite(text), BenchFolder(tmp_path))]


def _run(
    runs: list[PlannedRun], script: Script, jobs: int = 1, stop: threading.Event | None = None
) -> tuple[dict[str, str], str]:
    """What failed and why, and what was shown."""
    shown = io.StringIO()
    schedule = Schedule(runs, script, BenchDisplay(runs, 0, console=Console(file=shown)))
    schedule.run(jobs, stop or threading.Event())
    return schedule.failures, shown.getvalue()


def test_students_begin_when_their_own_teacher_is_there(runs: list[PlannedRun]) -> None:
    # The first teacher is there while the second still learns: its students need not wait.
    begun = threading.Event()
    script = Script(after={"teacher/breakout": begun}, sets={"qdagger/asterix/seed0": begun})
    assert _run(runs, script, jobs=2)[0] == {}
    assert sorted(script.started) == sorted(run.name for run in runs)


def test_a_run_that_fails_stops_no_other_and_is_named(runs: list[PlannedRun]) -> None:
    script = Script({"qdagger/asterix/seed0": [RunResult(finished=False, error="out of luck")]})
    failures, shown = _run(runs, script)
    assert failures == {"qdagger/asterix/seed0": "out of luck"}
    assert len(script.started) == len(runs)
    assert "failed    qdagger/asterix/seed0: out of luck" in shown


def test_students_of_a_teacher_that_failed_fail_too_and_do_not_begin(
    runs: list[PlannedRun],
) -> None:
    script = Script({"teacher/asterix": [RunResult(finished=False, error="learned nothing")]})
    failures, _ = _run(runs, script)
    students = ["qdagger/asterix/seed0", "scratch/asterix/seed0"]
    assert [*failures] == ["teacher/asterix", *students]
    assert "does not exist" in failures["qdagger/asterix/seed0"]
    assert not {*students} & {*script.started}


def test_a_run_whose_worker_died_goes_on_first_thing(runs: list[PlannedRun]) -> None:
    script = Script({"qdagger/asterix/seed0": [DEAD, FINISHED]})
    failures, shown = _run(runs, script)
    assert failures == {}
    first = script.started.index("qdagger/asterix/seed0")
    assert script.started[first + 1] == "qdagger/asterix/seed0"
    assert "resumes   qdagger/asterix/seed0: its worker was killed by SIGKILL" in shown


def test_a_run_whose_workers_die_again_and_again_has_failed(runs: list[PlannedRun]) -> None:
    failures, _ = _run(runs, Script({"scratch/asterix/seed0": [DEAD] * MAX_DEATHS}))
    assert failures == {
        "scratch/asterix/seed0": f"its worker was killed by SIGKILL, {MAX_DEATHS} times"
    }


def test_a_stop_begins_no_other_run_and_an_error_is_a_stop(runs: list[PlannedRun]) -> None:
    stop = threading.Event()
    stopped = {"teacher/breakout": [RunResult(finished=False)]}
    script = Script(stopped, after={"teacher/asterix": stop}, sets={"teacher/breakout": stop})
    failures, shown = _run(runs, script, 2, stop)
    # The first teacher has finished by then: its students do not start.
    assert failures == {}
    assert script.started == ["teacher/asterix", "teacher/breakout"]
    assert "stopped   teacher/breakout" in shown
    stop.clear()
    with pytest.raises(IndexError):
        _run(runs, Script({"qdagger/breakout/seed0": []}), 1, stop)
    assert stop.is_set()


TEACHER = 'method = "tabula_rasa"\nstudent = "vector_dqn"\n\n[teacher.settings]'


@pytest.mark.parametrize(
    ("changes", "only", "message"),
    [
        # 100 decisions leave nothing to learn from behind the 200 that replay waits for.
        (
            {'"online_steps" = 1_000': '"online_steps" = 100'},
            "*",
            "tabula_rasa/catch/seed1: online_steps 100 leave nothing to learn from",
        ),
        (
            {
                TEACHER: TEACHER.replace("tabula_rasa", "kickstarting"),
                '"method.learning_rate" = 3e-3\n"method.q_learning': '"method.q_learning',
            },
            "*",
            "teacher/catch: kickstarting has no teacher",
        ),
        ({}, "qdager*", "names are like .*/catch/seed1"),
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
    teacher = plan_suite(suite, BenchFolder(tmp_path))[0]
    assert teacher.export is not None
    shutil.copytree(catch_teacher, teacher.export)
    (tmp_path / "suite.toml").write_text(text)
    stopped_at_once = threading.Event()
    stopped_at_once.set()
    result = run_suite(SMOKE, tmp_path, stopped_at_once, jobs=1, only="tabula_rasa/*/seed0")
    # Of the teacher and its student the teacher is there.
    assert (result.finished, result.asked) == (1, 2)

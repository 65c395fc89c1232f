from __future__ import annotations

import shutil
import threading
from pathlib import Path

import pytest

from services.bench.folder import LOCK, BenchFolder
from services.bench.plan import plan_suite
from services.bench.session import run_suite
from services.bench.suite import read_suite
from services.shared.errors import UserError
from services.shared.locks import locked

SMOKE = Path(__file__).parents[3] / "suites/catch_smoke.toml"


def _refused(tmp_path: Path, message: str, *, only: str = "*", **changes: str) -> None:
    text = SMOKE.read_text()
    for found, given in changes.items():
        assert text.count(found) >= 1
        text = text.replace(found, given)
    suite = tmp_path / "suite.toml"
    suite.write_text(text)
    with pytest.raises(UserError, match=message):
        run_suite(suite, tmp_path / "out", threading.Event(), jobs=1, only=only)
    # Nothing has begun: no worker was started, no run has a folder.
    assert not list(tmp_path.glob("out/teacher_runs/*"))
    assert not list(tmp_path.glob("out/runs/*"))
    assert not list(tmp_path.glob("out/logs/*"))


def test_runs_that_do_not_fit_together_are_found_out_before_their_teacher_is_trained(
    tmp_path: Path,
) -> None:
    # 100 decisions leave nothing to learn from behind the 200 that replay waits for.
    _refused(
        tmp_path,
        "tabula_rasa/catch/seed0: online_steps 100 leave nothing to learn from",
        **{'"online_steps" = 1_000': '"online_steps" = 100'},
    )


def test_a_teacher_that_needs_a_teacher_itself_is_refused(tmp_path: Path) -> None:
    how = 'method = "kickstarting"\nstudent = "vector_dqn"\n\n[teacher.settings]'
    found = 'method = "tabula_rasa"\nstudent = "vector_dqn"\n\n[teacher.settings]'
    lower_rate = '"method.learning_rate" = 3e-3\n"method.q_learning.min_replay_size" = 200'
    _refused(
        tmp_path,
        "teacher/catch: kickstarting is to run without a teacher",
        **{found: how, lower_rate: '"method.q_learning.min_replay_size" = 200'},
    )


def test_a_pattern_without_a_run_is_an_error_that_shows_a_name(tmp_path: Path) -> None:
    _refused(tmp_path, "names are like tabula_rasa/catch/seed0", only="qdager*")


def test_a_folder_that_is_in_use_keeps_the_suite_that_is_run_there(tmp_path: Path) -> None:
    out = tmp_path / "out"
    out.mkdir()
    (out / "suite.toml").write_text(SMOKE.read_text())
    grown = tmp_path / "grown.toml"
    grown.write_text(SMOKE.read_text().replace("seeds = [0, 1]", "seeds = [0, 1, 2]"))
    with locked(out / LOCK), pytest.raises(UserError, match="in use by another process"):
        run_suite(grown, out, threading.Event(), jobs=1)
    assert (out / "suite.toml").read_text() == SMOKE.read_text()


def test_a_teacher_that_is_exported_needs_its_run_no_more(
    tmp_path: Path, catch_teacher: Path
) -> None:
    out = tmp_path / "out"
    suite, text = read_suite(SMOKE)
    (teacher,) = plan_suite(suite, BenchFolder(out)).teachers
    assert teacher.export is not None
    shutil.copytree(catch_teacher, teacher.export)
    (out / "suite.toml").write_text(text)
    stopped_at_once = threading.Event()
    stopped_at_once.set()
    result = run_suite(SMOKE, out, stopped_at_once, jobs=1, only="tabula_rasa/*/seed0")
    # Of the teacher and its student the teacher is there.
    assert (result.finished, result.asked) == (1, 2)

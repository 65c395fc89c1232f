from __future__ import annotations

from pathlib import Path

import pytest

from services.bench.folder import BenchFolder, make_folder
from services.bench.plan import keep_suite, plan_suite
from services.bench.suite import parse_suite
from services.shared.errors import UserError
from tests.support.bench_rows import SUITE_TEXT, TRAINED_TEXT, changed


def _open(folder: BenchFolder, text: str) -> None:
    make_folder(folder)
    keep_suite(folder, plan_suite(parse_suite(text), folder), text)


@pytest.fixture
def folder(tmp_path: Path) -> BenchFolder:
    """A folder with one run of QDagger on Asterix, given up once before its suite was kept."""
    folder = BenchFolder(tmp_path / "out")
    make_folder(folder)
    _open(folder, SUITE_TEXT)
    assert folder.suite.read_text() == SUITE_TEXT
    folder.run("qdagger", "asterix", 0).mkdir(parents=True)
    return folder


KICKSTARTING = '[entries.kick]\nmethod = "kickstarting"\nstudent = "minatar_dqn"\n[entries.s]'


@pytest.mark.parametrize(
    ("found", "given"),
    [
        ("seeds = [0, 1]", "seeds = [0, 1, 2]"),
        ('"breakout"]', '"breakout", "freeway"]'),
        ("[entries.scratch]", KICKSTARTING),
        ('label = "QDagger"', 'label = "Q"'),
        ('name = "two_games"', 'name = "two_games"\ntitle = "Two games"'),
        # Nothing of it has run yet.
        ('method = "tabula_rasa"', 'method = "jsrl"'),
        ('"breakout"]', "]"),
        ("seeds = [0, 1]", "seeds = [0]"),
    ],
)
def test_a_suite_may_grow_and_what_has_not_run_may_change(
    folder: BenchFolder, found: str, given: str
) -> None:
    grown = changed(found, given)
    _open(folder, grown)
    assert folder.suite.read_text() == grown


@pytest.mark.parametrize(
    ("found", "given"),
    [
        ('"minatar"', '"atari"'),
        ("2_000", "3_000"),
        ("teachers/{game}", "others/{game}"),
        ("= 500", "= 501"),
        ("[entries.qdagger", "[entries.q"),
        ('["asterix", "breakout"]', '["breakout"]'),
        ("seeds = [0, 1]", "seeds = [1]"),
    ],
)
def test_what_has_run_stays_as_it_was(folder: BenchFolder, found: str, given: str) -> None:
    with pytest.raises(UserError, match="seed0 was .*: qdagger/asterix/seed0 has changed since"):
        _open(folder, changed(found, given))
    assert folder.suite.read_text() == SUITE_TEXT


@pytest.mark.parametrize("left", ["teacher_runs", "teachers"])
def test_teachers_that_were_made_in_another_way_are_not_taken_for_the_suites(
    tmp_path: Path, left: str
) -> None:
    _open(BenchFolder(tmp_path), TRAINED_TEXT)
    (tmp_path / left / "asterix").mkdir(parents=True)
    other = changed("[teacher]", "[teacher]\nseed = 1", TRAINED_TEXT)
    with pytest.raises(UserError, match=f"{left}/asterix was made .*: teacher/asterix has changed"):
        _open(BenchFolder(tmp_path), other)


def test_a_folder_of_something_else_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "thesis.tex").write_text("years of work")
    with pytest.raises(UserError, match="not a suite's folder"):
        make_folder(BenchFolder(tmp_path))
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.tex"]

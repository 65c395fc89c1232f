from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from rrl_agents.environments.registry import ENVIRONMENTS
from rrl_agents.reincarnation.registry import METHODS
from rrl_agents.students.registry import STUDENTS
from services.cli.main import run
from services.launcher.presets import PRESETS
from services.launcher.settings import known_settings, with_settings
from tests.support.patience import PATIENCE_SECONDS

RRL = Path(sys.executable).parent / "rrl"

Capture = pytest.CaptureFixture[str]


@pytest.fixture(autouse=True)
def wide_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    """A terminal where no line of a list is folded."""
    monkeypatch.setenv("COLUMNS", "1000")


def shown(capsys: Capture, *arguments: str) -> str:
    assert run(["list", *arguments]) == 0
    return capsys.readouterr().out


def as_json(capsys: Capture, what: str) -> list[dict[str, Any]]:
    entries = json.loads(shown(capsys, what, "--json"))
    assert isinstance(entries, list)
    return entries


def test_a_bare_list_says_what_can_be_listed(capsys: Capture) -> None:
    lines = shown(capsys).splitlines()
    assert [line.split()[0] for line in lines[2:]] == [
        "methods",
        "students",
        "environments",
        "presets",
        "teachers",
    ]
    assert [entry["name"] for entry in json.loads(shown(capsys, "--json"))] == [
        line.split()[0] for line in lines[2:]
    ]


def test_what_cannot_be_listed_is_refused_with_what_can(capsys: Capture) -> None:
    assert run(["list", "games"]) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err == (
        "rrl list: there is no list of 'games'; choose methods, students, environments, presets, "
        "teachers\n"
    )


@pytest.mark.parametrize(
    ("what", "names"),
    [
        ("methods", list(METHODS)),
        ("students", list(STUDENTS)),
        ("environments", list(ENVIRONMENTS)),
    ],
)
def test_every_entry_of_a_registry_has_its_line_with_a_summary(
    what: str, names: list[str], capsys: Capture
) -> None:
    entries = as_json(capsys, what)
    assert [entry["name"] for entry in entries] == names
    lines = shown(capsys, what).splitlines()
    for entry in entries:
        assert entry["summary"]
        assert any(line.split(maxsplit=1) == [entry["name"], entry["summary"]] for line in lines), (
            entry["name"]
        )


def test_settings_have_the_names_and_defaults_that_experiments_have(capsys: Capture) -> None:
    methods = {entry["name"]: entry["settings"] for entry in as_json(capsys, "methods")}
    assert methods["qdagger"]["method.q_learning.n_step"] == 3
    assert methods["tabula_rasa"]["method.q_learning.n_step"] == 1
    students = {entry["name"]: entry["settings"] for entry in as_json(capsys, "students")}
    assert students["rainbow"]["student.priority_exponent"] == 0.5
    assert students["drq"]["student.random_shift"] == 4
    environments = {entry["name"]: entry["settings"] for entry in as_json(capsys, "environments")}
    known = known_settings(PRESETS["qdagger"]["paper"])
    for settings in (methods["qdagger"], *students.values(), *environments.values()):
        assert set(settings) <= set(known)


def test_games_are_named(capsys: Capture) -> None:
    games = {entry["name"]: entry["games"] for entry in as_json(capsys, "environments")}
    assert games["minatar"] == ["asterix", "breakout", "freeway", "seaquest", "space_invaders"]
    assert {"pong", "breakout", "beam_rider"} <= set(games["atari"])
    assert games["catch"] == []
    assert "asterix, breakout, freeway, seaquest, space_invaders" in shown(capsys, "environments")


def test_the_settings_of_a_preset_make_that_preset(capsys: Capture) -> None:
    entries = as_json(capsys, "presets")
    assert [(entry["method"], entry["name"]) for entry in entries] == [
        (method, name) for method, presets in PRESETS.items() for name in presets
    ]
    for entry in entries:
        assert entry["summary"]
        paper = PRESETS[entry["method"]]["paper"]
        wanted = PRESETS[entry["method"]][entry["name"]]
        assert with_settings(paper, entry["settings"]) == wanted
    assert shown(capsys, "presets").splitlines()[0].split()[:2] == ["qdagger", "paper"]


def test_teachers_are_those_of_teacher_list(
    capsys: Capture, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RRL_CACHE", str(tmp_path))
    listed = as_json(capsys, "teachers")
    assert [entry["name"] for entry in listed] == ["Pong/dqn-bundled"]
    assert run(["teacher", "list", "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == listed


def test_the_installed_command_folds_long_lines_to_the_terminal() -> None:
    done = subprocess.run(
        [RRL, "list", "environments"],
        capture_output=True,
        text=True,
        timeout=PATIENCE_SECONDS,
        env={"COLUMNS": "60"},
        check=True,
    )
    assert max(map(len, done.stdout.splitlines())) <= 60
    assert done.stderr == ""
    assert "space_invaders" in done.stdout


def test_lists_of_what_needs_no_run_start_no_tensorflow() -> None:
    asked = "\n".join(
        f"run(['list', {what!r}])" for what in ("methods", "students", "environments", "teachers")
    )
    subprocess.run(
        [
            sys.executable,
            "-c",
            f"import sys\nfrom services.cli.main import run\n{asked}\n"
            "sys.exit('tensorflow' in sys.modules)",
        ],
        check=True,
        capture_output=True,
        timeout=PATIENCE_SECONDS,
    )

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


def shown(capsys: Capture, *arguments: str) -> str:
    assert run(["list", *arguments]) == 0
    return capsys.readouterr().out


def as_json(capsys: Capture, what: str) -> dict[str, dict[str, Any]]:
    return {entry["name"]: entry for entry in json.loads(shown(capsys, what, "--json"))}


WHAT = ["methods", "students", "networks", "environments", "presets", "teachers"]


def test_who_asks_for_no_list_reads_which_there_are(capsys: Capture) -> None:
    lines = [line.split(maxsplit=1) for line in shown(capsys).splitlines()]
    assert [name for name, _ in lines] == WHAT
    assert [[*entry.values()] for entry in json.loads(shown(capsys, "--json"))] == lines
    with pytest.raises(SystemExit) as ended:
        run(["list", "--help"])
    assert ended.value.code == 0
    printed = capsys.readouterr().out.splitlines()
    assert [line for line in printed if line.startswith("- ")] == [
        f"- {name}: {about}" for name, about in lines
    ]


def test_who_asks_for_a_list_that_is_not_there_reads_which_there_are(capsys: Capture) -> None:
    with pytest.raises(SystemExit) as ended:
        run(["list", "games"])
    assert ended.value.code == 2
    printed = capsys.readouterr().err
    assert all(name in printed for name in WHAT)


@pytest.mark.parametrize(
    ("what", "names"),
    [("methods", METHODS), ("students", STUDENTS), ("environments", ENVIRONMENTS)],
)
def test_every_entry_of_a_registry_has_its_line_with_a_summary(
    what: str, names: dict[str, Any], capsys: Capture
) -> None:
    entries = as_json(capsys, what)
    assert list(entries) == list(names)
    lines = [line.strip().split(maxsplit=1) for line in shown(capsys, what).splitlines()]
    for name, entry in entries.items():
        assert entry["summary"] and [name, entry["summary"]] in lines


def test_settings_have_the_names_and_defaults_that_experiments_have(capsys: Capture) -> None:
    lists = {what: as_json(capsys, what) for what in ("methods", "students", "environments")}
    for what, name, setting, value in (
        ("methods", "qdagger", "method.q_learning.n_step", 3),
        ("methods", "tabula_rasa", "method.q_learning.n_step", 1),
        ("students", "rainbow", "student.priority_exponent", 0.5),
        ("students", "drq", "student.random_shift", 4),
    ):
        assert lists[what][name]["settings"][setting] == value
    known = known_settings(PRESETS["qdagger"]["paper"])
    entries = (*lists["students"].values(), *lists["environments"].values())
    for entry in (lists["methods"]["qdagger"], *entries):
        assert set(entry["settings"]) <= set(known)


def test_games_are_named(capsys: Capture) -> None:
    games = {name: entry["games"] for name, entry in as_json(capsys, "environments").items()}
    assert games["minatar"] == ["asterix", "breakout", "freeway", "seaquest", "space_invaders"]
    assert {"pong", "breakout", "beam_rider"} <= set(games["atari"])
    assert games["catch"] == []
    assert f"5 games: {', '.join(games['minatar'])}" in shown(capsys, "environments")


def test_the_settings_of_a_preset_make_that_preset(capsys: Capture) -> None:
    entries = json.loads(shown(capsys, "presets", "--json"))
    assert [(entry["method"], entry["name"]) for entry in entries] == [
        (method, name) for method, presets in PRESETS.items() for name in presets
    ]
    for entry in entries:
        assert entry["summary"]
        presets = PRESETS[entry["method"]]
        assert with_settings(presets["paper"], entry["settings"]) == presets[entry["name"]]
    assert shown(capsys, "presets").splitlines()[0].split()[:2] == ["qdagger", "paper"]


def test_teachers_are_those_of_teacher_list(
    capsys: Capture, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RRL_CACHE", str(tmp_path))
    listed = as_json(capsys, "teachers")
    named = ["BLE/perciatelli44", "Pong/dqn-bundled", "BLE/station_seeker", "BLE/random"]
    assert list(listed) == named
    assert run(["teacher", "list", "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == list(listed.values())


@pytest.mark.parametrize("is_terminal", [True, False])
def test_the_installed_command_folds_long_lines_to_a_terminal_only(is_terminal: bool) -> None:
    done = subprocess.run(
        [RRL, "list", "environments"],
        capture_output=True,
        text=True,
        timeout=PATIENCE_SECONDS,
        # Rich takes the first for a terminal.
        env={"COLUMNS": "60"} | ({"FORCE_COLOR": "1"} if is_terminal else {}),
        check=True,
    )
    lines = done.stdout.splitlines()
    assert (max(map(len, lines)) <= 60) == is_terminal
    assert any("adventure" in line and "zaxxon" in line for line in lines) != is_terminal
    assert done.stderr == ""
    assert "space_invaders" in done.stdout

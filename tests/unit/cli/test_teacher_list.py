from __future__ import annotations

import dataclasses
import json
import shutil
from pathlib import Path

import pytest

from rrl_agents.checkpoints.sealed_json import seal
from rrl_agents.checkpoints.teacher_card import CARD_FILE, read_card
from services.cli.teacher_list import list_teachers
from services.library.catalogue import BUNDLED_DIRECTORY


@pytest.fixture
def exported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A cache with the fetched Breakout/dqn400-run1; gives the directory of Pong/mine."""
    monkeypatch.setenv("RRL_CACHE", str(tmp_path))
    fetched = tmp_path / "checkpoints" / "Breakout" / "dqn400-run1"
    fetched.mkdir(parents=True)
    (fetched / "source.json").write_text(seal({"game": "Breakout"}))
    path = tmp_path / "exported" / "Pong" / "mine"
    shutil.copytree(BUNDLED_DIRECTORY / "pong_dqn", path)
    return path


def test_every_teacher_is_shown_with_its_name_score_and_place(
    exported: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    list_teachers()
    lines = capsys.readouterr().out.splitlines()
    names = [line.split()[0] for line in lines[1:5]]
    assert names == ["BLE/perciatelli44", "Breakout/dqn400-run1", "Pong/dqn-bundled", "Pong/mine"]
    # -3.27 over 30 episodes is what the bundled card says.
    assert "-3.27 (30 ep.)" in lines[4]
    assert lines[4].rstrip().endswith(str(exported))


def test_a_game_is_asked_for_in_any_spelling_and_shown_as_json(
    exported: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    list_teachers(game="break_out", json=True)
    (row,) = json.loads(capsys.readouterr().out)
    assert row == {
        "name": "Breakout/dqn400-run1",
        "kind": "fetched",
        "path": str(exported.parents[2] / "checkpoints/Breakout/dqn400-run1"),
        "game": "Breakout",
        "algorithm": "",
        "mean_return": None,
        "episodes": None,
        "problem": "",
    }
    list_teachers(game="freeway")
    assert capsys.readouterr().out.startswith("no teacher of freeway here")


def test_a_broken_teacher_is_listed_with_what_is_wrong_with_it(
    exported: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (exported / CARD_FILE).write_text("{")
    list_teachers(game="pong", json=True)
    bundled, broken = json.loads(capsys.readouterr().out)
    assert not bundled["problem"]
    assert "not valid JSON" in broken["problem"]


def test_the_words_of_a_card_are_neither_markup_nor_an_escape(
    exported: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    card = dataclasses.replace(read_card(exported / CARD_FILE), algorithm="[red]\x1b[2Jx\ny[/red]")
    (exported / CARD_FILE).write_text(card.to_json())
    list_teachers()
    shown = capsys.readouterr().out
    assert "[red]?[2Jx?y[/red]" in shown
    assert "\x1b" not in shown

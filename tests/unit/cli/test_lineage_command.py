from __future__ import annotations

import dataclasses
import json
import re
from pathlib import Path

import pytest

from rrl_agents.checkpoints.sealed_json import seal
from rrl_agents.checkpoints.teacher_card import CARD_FILE, Compute, Parent, read_card
from services.cli.lineage import lineage
from services.shared.errors import UserError

Capture = pytest.CaptureFixture[str]


@pytest.fixture
def second(catch_teacher: Path, tmp_path: Path) -> Path:
    """The directory of a student of the teacher of Catch and of that teacher's first student."""
    teacher = read_card(catch_teacher / CARD_FILE)
    first = dataclasses.replace(
        teacher,
        name="first",
        algorithm="qdagger",
        parents=(Parent(relations=("teacher",), card=teacher),),
        compute=Compute(
            environment_frames=1000,
            teacher_frames=200,
            gradient_updates=50,
            hardware_seconds=5400.0,
            hardware="2 cores",
        ),
        parameters_sha256="1" * 64,
    )
    card = dataclasses.replace(
        first,
        name="second",
        parents=(
            Parent(relations=("teacher", "data"), card=first),
            Parent(relations=("initial weights",), card=teacher),
        ),
        compute=Compute(environment_frames=10, gradient_updates=5, hardware_seconds=1800.0),
        parameters_sha256="2" * 64,
    )
    # The card is enough.
    (tmp_path / CARD_FILE).write_text(card.to_json())
    return tmp_path


def test_the_tree_shows_every_parent_and_the_table_every_agent_once(
    second: Path, capsys: Capture
) -> None:
    lineage(str(second))
    tree, _, table = capsys.readouterr().out.partition("generation  agent")
    # catch_by_hand twice: as the first student's teacher, and as the giver of weights.
    assert tree.count("catch_by_hand") == 2
    assert "teacher, data: first" in tree
    assert "initial weights: catch_by_hand" in tree
    assert tree.count("again; counted once") == 1
    assert "mean return 1.00 (1 episodes)" in tree
    # Columns are two spaces apart.
    (_, *rows) = [re.split("  +", line.strip()) for line in table.splitlines()[:5]]
    agents = [(generation, agent.split()[0], *costs) for generation, agent, *costs in rows[:3]]
    unknown = "unknown"
    # 5,400 s are 1.5 h, 1,800 s half an hour.
    assert agents == [
        ("1", "catch_by_hand", unknown, unknown, unknown, unknown, unknown),
        ("2", "first", "1,000", "200", "50", "1 h 30 min", "2 cores"),
        ("3", "second", "10", unknown, "5", "30 min 0 s", unknown),
    ]
    # Data of a parent that counts its own play costs nothing again: 200 frames, not known of one.
    assert rows[3] == [
        "total",
        "at least 1,010",
        "at least 200",
        "at least 55",
        "at least 2 h 0 min",
    ]


def test_the_same_as_json(second: Path, capsys: Capture) -> None:
    lineage(str(second), json=True)
    found = json.loads(capsys.readouterr().out)
    assert [(one["generation"], one["name"]) for one in found["generations"]] == [
        (1, "catch_by_hand"),
        (2, "first"),
        (3, "second"),
    ]
    assert found["generations"][2]["parents"][0] == {
        "relations": ["teacher", "data"],
        "parameters_sha256": "1" * 64,
    }
    assert found["generations"][1]["compute"]["gradient_updates"] == 50
    assert found["total"]["environment_frames"] == {"known": 1010, "unknown": 1}
    assert found["total"]["hardware_seconds"] == {"known": 7200.0, "unknown": 1}


def test_a_total_of_nothing_known_is_unknown(catch_teacher: Path, capsys: Capture) -> None:
    lineage(str(catch_teacher))
    (total,) = (line for line in capsys.readouterr().out.splitlines() if "total" in line)
    assert total.split() == ["total", *["unknown"] * 4]


def test_a_teacher_is_found_by_its_name(capsys: Capture) -> None:
    lineage("Pong/dqn-bundled")
    by_name = capsys.readouterr().out
    lineage("pong_dqn")
    assert capsys.readouterr().out == by_name
    assert "pong_dqn" in by_name


def test_who_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no teacher"):
        lineage(str(tmp_path / "unknown"))
    with pytest.raises(UserError, match="no teacher is called Pong/unknown"):
        lineage("Pong/unknown")
    (tmp_path / CARD_FILE).write_text(seal({"name": 3}))
    with pytest.raises(UserError, match="field name is 3"):
        lineage(str(tmp_path))


def test_a_cards_name_is_neither_markup_nor_an_escape(
    catch_teacher: Path, tmp_path: Path, capsys: Capture
) -> None:
    card = dataclasses.replace(read_card(catch_teacher / CARD_FILE), name="[red]\x1b[2Jx[/red]")
    (tmp_path / CARD_FILE).write_text(card.to_json())
    lineage(str(tmp_path))
    shown = capsys.readouterr().out
    assert "[red]?[2Jx[/red]" in shown
    assert "\x1b" not in shown

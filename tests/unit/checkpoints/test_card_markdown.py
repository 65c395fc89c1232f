from __future__ import annotations

import dataclasses

import pytest

from rrl_agents.checkpoints.card_markdown import card_markdown
from rrl_agents.checkpoints.teacher_card import Compute
from rrl_agents.networks.config import NetworkConfig
from tests.support.cards import STUDENT


def rows(text: str) -> list[list[str]]:
    """The cells of every table."""
    return [
        [cell.strip() for cell in line.strip("|").split("|")]
        for line in text.splitlines()
        if line.startswith("|")
    ]


def test_a_reader_finds_who_played_how_well_and_under_which_rules() -> None:
    text = card_markdown(STUDENT)
    assert text.startswith("# qdagger-pong-1\n")
    found = rows(text)
    # Mean ± standard deviation, interval, episodes, epsilon, sticky actions.
    score = ["this agent", "12.25 ± 2.00", "11.00 to 13.50", "2", "0.001", "0.25"]
    teacher = ["teacher dqn400", "18.50 ± 1.25", "18.00 to 19.00", "30", "0.001", "0.25"]
    random = ["random policy", "-20.70", "", "", "", ""]
    assert [row for row in found if len(row) == 6 and row[0] != "---"][1:] == [
        score,
        teacher,
        random,
    ]
    # (12.25 + 20.7) / (18.5 + 20.7) = 32.95 / 39.2.
    assert "Between the random policy (0) and dqn400 (1), this agent is at 0.84." in text
    assert "Of this agent: played by these weights." in text
    facts = dict(row for row in found if len(row) == 2)
    assert (facts["game"], facts["algorithm"]) == ("pong", "qdagger")
    assert facts["protocol"].startswith(
        "frames per step 4, stack size 4, max episode steps 27000, sticky actions 0.25, reward"
    )


def test_a_reader_finds_what_it_cost_and_what_the_line_cost() -> None:
    found = rows(card_markdown(STUDENT))
    # The teacher's cost is unknown: the line's sums are bounds. 725 s are 12 min 5 s.
    assert [row for row in found if len(row) == 3][2:] == [
        ["frames it played", "112,000", "at least 112,000"],
        ["frames its teacher played", "120,000", "at least 120,000"],
        ["gradient steps", "14,500", "at least 14,500"],
        ["time", "12 min 5 s", "at least 12 min 5 s"],
        ["hardware", "2 cores of a CPU, no GPU", ""],
    ]


def test_a_reader_finds_the_command_the_code_and_the_parents() -> None:
    text = card_markdown(STUDENT)
    assert "\n    rrl train qdagger --run runs/pong-1\n" in text
    assert "rrl-agents 0.1.0" in text
    parent = ["teacher, data", "dqn400", "DQN \\(Adam\\)", "18.50 ± 1.25", f"`{'0b' * 6}`"]
    assert parent in rows(text)


def test_what_is_not_known_is_said_to_be_unknown() -> None:
    bare = dataclasses.replace(
        STUDENT, score=None, random_return=None, compute=None, command="", parents=(), network=None
    )
    text = card_markdown(bare)
    assert ["this agent", "not evaluated", "", "", "", ""] in rows(text)
    assert ["random policy", "unknown", "", "", "", ""] in rows(text)
    assert ["time", "unknown", "unknown"] in rows(text)
    assert "The command is unknown." in text
    assert "It names none." in text


def test_a_cards_texts_cannot_end_a_table_or_make_a_link() -> None:
    hostile = "x |\n| y | [click](http://evil) <script> `code` *bold*"
    text = card_markdown(dataclasses.replace(STUDENT, name=hostile, made=hostile, command=hostile))
    heading = text.splitlines()[0]
    assert heading == (
        "# x \\| \\| y \\| \\[click\\]\\(http://evil\\) \\<script\\> \\`code\\` \\*bold\\*"
    )
    # In a block of code nothing has a meaning but the end of the indentation.
    assert "\n    x | | y | [click]" in text


def test_a_cards_texts_cannot_steer_a_terminal() -> None:
    text = card_markdown(dataclasses.replace(STUDENT, name="a\x1b[2Jb\x07\u202ec"))
    assert text.splitlines()[0] == "# a \\[2Jb c"


def test_a_long_training_is_told_in_hours() -> None:
    slow = dataclasses.replace(STUDENT, compute=Compute(hardware_seconds=90_061.0), parents=())
    # 25 h 1 min 1 s.
    assert ["time", "25 h 1 min", "25 h 1 min"] in rows(card_markdown(slow))


@pytest.mark.parametrize(
    ("network", "words"),
    [
        (
            NetworkConfig(name="mlp", features=(64,)),
            "name mlp, features \\(64,\\), hidden units 512, padding SAME",
        ),
        (
            NetworkConfig(head="categorical", noisy=True),
            "name nature_cnn, features \\(32, 64, 64\\), hidden units 512, padding SAME, head "
            "categorical, noisy True",
        ),
    ],
)
def test_a_network_is_one_line(network: NetworkConfig, words: str) -> None:
    found = rows(card_markdown(dataclasses.replace(STUDENT, network=network)))
    assert ["network", words] in found

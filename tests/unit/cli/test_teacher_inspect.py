"""`rrl teacher inspect` and `import` as they are called: what they print, and their exit codes."""

from __future__ import annotations

import dataclasses
import json
import shlex
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx.compose
import pytest

from rrl_agents.checkpoints.onnx_export import export_onnx
from rrl_agents.checkpoints.teacher_card import CARD_FILE, read_card
from rrl_agents.networks.registry import NetworkConfig
from rrl_client.spec import PolicySpec
from services.cli.main import run
from services.library.catalogue import locate


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RRL_CACHE", str(tmp_path / "cache"))


@pytest.fixture
def shown(capsys: pytest.CaptureFixture[str]) -> Callable[..., list[str]]:
    """The lines that a command prints, with single spaces."""

    def show(*words: str | Path) -> list[str]:
        assert run(["teacher", *map(str, words)]) == 0
        captured = capsys.readouterr()
        assert captured.err == ""
        return [" ".join(line.split()) for line in captured.out.splitlines()]

    return show


@pytest.fixture
def inspected(shown: Callable[..., list[str]]) -> Callable[[str | Path], Any]:
    return lambda reference: json.loads("\n".join(shown("inspect", reference, "--json")))


@pytest.fixture
def refused(capsys: pytest.CaptureFixture[str]) -> Callable[..., str]:
    """The one line with which a command ends with 2."""

    def refuse(*words: str | Path) -> str:
        assert run(["teacher", *map(str, words)]) == 2
        (line,) = capsys.readouterr().err.splitlines()
        return line

    return refuse


@pytest.fixture
def onnx_file(tmp_path: Path) -> Path:
    """Two inputs to three actions, no hidden layer; it does not say what its scores are."""
    params = {"Dense_0": {"kernel": np.ones((2, 3), np.float32), "bias": np.zeros(3, np.float32)}}
    spec = PolicySpec(num_actions=3, observation_shape=(1, 2, 1))
    model = export_onnx(NetworkConfig(name="mlp", features=()), {"params": params}, spec)
    silent = onnx.compose.add_prefix(onnx.load_model_from_string(model), "some_")
    onnx.save(silent, tmp_path / "policy.onnx")
    return tmp_path / "policy.onnx"


def test_a_teacher_is_printed_with_its_card(catch_teacher: Path, shown: Any) -> None:
    lines = shown("inspect", catch_teacher)
    # 10 rows of 5 columns into 2 units with 2 biases, and those into 3 actions with 3.
    assert lines[:2] == [f"teacher {catch_teacher}", "parameters 111"]
    assert {"catch_by_hand", "game catch"} <= set(lines)
    for beginning in ("network name mlp, features (2,)", "this agent 1.00 ± 0.00"):
        assert any(line.startswith(beginning) for line in lines)


def test_a_name_is_taken_and_json_has_the_same_facts(inspected: Any) -> None:
    found = inspected("Pong/dqn-bundled")
    assert (found["parameters"], found["card"]["game"]) == (4_046_502, "pong")
    assert found["teacher"] == locate("pong_dqn")


def test_the_words_of_a_card_are_neither_markup_nor_an_escape(
    catch_teacher: Path, tmp_path: Path, shown: Any
) -> None:
    shutil.copytree(catch_teacher, tmp_path / "teacher")
    card = tmp_path / "teacher" / CARD_FILE
    card.write_text(dataclasses.replace(read_card(card), made="[red]\x1b[2J**x**").to_json())
    text = "\n".join(shown("inspect", tmp_path / "teacher"))
    assert "[red] [2J**x**" in text
    assert "\x1b" not in text


def test_a_dopamine_agent_is_shown_with_what_lies_beside_it(fixtures: Path, inspected: Any) -> None:
    found = inspected(fixtures / "dopamine2.0.5_tf1/1")
    assert (found["checkpoints"], found["card"]["algorithm"]) == ([199], "DQN")
    # Written by Dopamine: its own README says how many steps were recorded.
    assert found["replay"]["frame_shape"] == [84, 84]
    assert found["replay"]["rows"] > found["replay"]["transitions"] > 0


def test_a_replay_buffer_alone_is_shown(fixtures: Path, tmp_path: Path, inspected: Any) -> None:
    for file in (fixtures / "dopamine2.0.5_tf1/1/checkpoints").glob("*_ckpt.*.gz"):
        shutil.copy(file, tmp_path)
    found = inspected(tmp_path)
    assert (found["card"], sorted(found)) == (None, ["card", "replay"])


@pytest.mark.parametrize("flags", [[], ["--json"]])
def test_a_broken_teacher_ends_with_2_and_one_line_that_says_what_is_wrong(
    catch_teacher: Path, tmp_path: Path, refused: Any, flags: list[str]
) -> None:
    teacher = tmp_path / "broken"
    shutil.copytree(catch_teacher, teacher)
    (teacher / "params.safetensors").write_bytes(b"[bold]nothing")
    assert f"{teacher}: parameters have SHA-256" in refused("inspect", teacher, *flags)
    for path in (tmp_path / "absent", tmp_path / "absent.onnx"):
        assert str(path) in refused("inspect", path)


def test_an_onnx_file_that_leaves_something_open_names_the_command_that_says_it(
    onnx_file: Path, shown: Any, inspected: Any, refused: Any
) -> None:
    line, command = refused("inspect", onnx_file), f"rrl teacher import {onnx_file}"
    assert line.endswith(f"directory that it prints from then on: {command} --output=q_values")
    said = ["--game=ms pacman", "--temperature=0.5", "--name=MsPacman/theirs"]
    line = refused("import", onnx_file, *said)
    about, _, flags = line.rpartition(f": {command} ")
    assert about.endswith("say so once, and name MsPacman/theirs from then on")
    assert shlex.split(flags) == [said[0], "--output=q_values", *said[1:]]
    said.append("--output=logits")
    printed = shown("import", onnx_file, *said)
    assert "output logits, temperature 0.5" in " ".join(printed)
    assert printed[-1] == "serve it: rrl teacher serve --checkpoint MsPacman/theirs"
    found = inspected("ms_pacman/theirs")
    assert (found["card"]["name"], found["card"]["game"]) == ("theirs", "ms pacman")
    # 6 weights and 3 biases.
    assert found["parameters"] == 9
    # The file itself is known under what was said of it, and by no other name.
    line = refused("import", onnx_file, *said)
    assert "another teacher is called MsPacman/theirs" in line


def test_a_damaged_file_is_refused_in_the_importers_words(onnx_file: Path, refused: Any) -> None:
    onnx_file.write_bytes(onnx_file.read_bytes()[:-20])
    line = refused("import", onnx_file, "--output=q_values")
    assert f"{onnx_file}: this is not an ONNX file" in line


@pytest.mark.parametrize(
    ("flag", "message"),
    [
        ("--name=../theirs", "'..' is not a valid name"),
        ("--name=theirs", "'' is not a valid name"),
        ("--name=Pong/dqn-bundled", "another teacher is called Pong/dqn-bundled"),
        ("--name=pong/dqn-bundled", "another teacher is called pong/dqn-bundled"),
        ("--checkpoint-number=3", "leave out the number 3"),
    ],
)
def test_flags_that_make_no_sense_end_with_one_line(flag: str, message: str, refused: Any) -> None:
    assert message in refused("import", "pong_dqn", flag)

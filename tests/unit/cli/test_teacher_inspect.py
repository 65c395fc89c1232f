"""`rrl teacher inspect` and `import` as they are called: what they print, and their exit codes."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import onnx
import pytest

from rrl_agents.checkpoints.onnx_export import export_onnx
from rrl_agents.checkpoints.teacher_card import CARD_FILE, read_card
from rrl_agents.networks.registry import NetworkConfig
from rrl_client.spec import PolicySpec
from services.cli.main import run
from services.library.catalogue import locate

Capture = pytest.CaptureFixture[str]


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("RRL_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture
def onnx_file(tmp_path: Path) -> Path:
    """Two inputs to three actions, no hidden layer; it does not say what its scores are."""
    params = {"Dense_0": {"kernel": np.ones((2, 3), np.float32), "bias": np.zeros(3, np.float32)}}
    network = NetworkConfig(name="mlp", features=())
    model = onnx.load_model_from_string(
        export_onnx(
            network, {"params": params}, PolicySpec(num_actions=3, observation_shape=(1, 2, 1))
        )
    )
    model.graph.output[0].name = "scores"
    for node in model.graph.node:
        node.output[:] = ["scores" if name == "action_values" else name for name in node.output]
    path = tmp_path / "policy.onnx"
    onnx.save(model, str(path))
    return path


def lines_of(text: str) -> list[str]:
    return [" ".join(line.split()) for line in text.splitlines()]


def test_a_teacher_is_printed_with_its_card(catch_teacher: Path, capsys: Capture) -> None:
    assert run(["teacher", "inspect", str(catch_teacher)]) == 0
    captured = capsys.readouterr()
    lines = lines_of(captured.out)
    # 10 rows of 5 columns into 2 units with 2 biases, and those into 3 actions with 3.
    assert lines[:2] == [f"teacher {catch_teacher}", "parameters 111"]
    assert "catch_by_hand" in lines
    assert "game catch" in lines
    assert any(line.startswith("network name mlp, features (2,)") for line in lines)
    assert any(line.startswith("this agent 1.00 ± 0.00") for line in lines)
    assert captured.err == ""


def test_a_name_is_taken_and_json_has_the_same_facts(capsys: Capture) -> None:
    assert run(["teacher", "inspect", "Pong/dqn-bundled", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert (found["parameters"], found["card"]["game"]) == (4_046_502, "pong")
    assert found["teacher"] == locate("pong_dqn")


def test_the_words_of_a_card_are_neither_markup_nor_an_escape(
    catch_teacher: Path, tmp_path: Path, capsys: Capture
) -> None:
    import dataclasses

    shutil.copytree(catch_teacher, tmp_path / "teacher")
    card = tmp_path / "teacher" / CARD_FILE
    card.write_text(dataclasses.replace(read_card(card), made="[red]\x1b[2J**x**").to_json())
    assert run(["teacher", "inspect", str(tmp_path / "teacher")]) == 0
    shown = capsys.readouterr().out
    assert "[red] [2J**x**" in shown
    assert "\x1b" not in shown


def test_a_dopamine_agent_is_told_with_what_lies_beside_it(fixtures: Path, capsys: Capture) -> None:
    agent = fixtures / "dopamine2.0.5_tf1/1"
    assert run(["teacher", "inspect", str(agent), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert (found["checkpoints"], found["card"]["algorithm"]) == ([199], "DQN")
    # Written by Dopamine: its own README says how many steps were recorded.
    assert found["replay"]["frame_shape"] == [84, 84]
    assert found["replay"]["rows"] > found["replay"]["transitions"] > 0


def test_a_replay_buffer_alone_is_told(fixtures: Path, tmp_path: Path, capsys: Capture) -> None:
    for file in (fixtures / "dopamine2.0.5_tf1/1/checkpoints").glob("*_ckpt.*.gz"):
        shutil.copy(file, tmp_path)
    assert run(["teacher", "inspect", str(tmp_path), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert (found["card"], sorted(found)) == (None, ["card", "replay"])


@pytest.mark.parametrize("flags", [[], ["--json"]])
def test_a_broken_teacher_ends_with_2_and_one_line_that_says_what_is_wrong(
    catch_teacher: Path, tmp_path: Path, capsys: Capture, flags: list[str]
) -> None:
    teacher = tmp_path / "broken"
    shutil.copytree(catch_teacher, teacher)
    (teacher / "params.safetensors").write_bytes(b"[bold]nothing")
    assert run(["teacher", "inspect", str(teacher), *flags]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert f"{teacher}: parameters have SHA-256" in line
    for path in (tmp_path / "absent", tmp_path / "absent.onnx"):
        assert run(["teacher", "inspect", str(path)]) == 2
        (line,) = capsys.readouterr().err.splitlines()
        assert str(path) in line


def test_an_onnx_file_that_leaves_something_open_names_the_command_that_says_it(
    onnx_file: Path, capsys: Capture
) -> None:
    assert run(["teacher", "inspect", str(onnx_file)]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert "say so once, by `rrl teacher import` with --output, and name the directory" in line
    command = ["teacher", "import", str(onnx_file), "--output", "logits", "--temperature", "0.5"]
    command += ["--game", "ms pacman", "--name", "MsPacman/theirs"]
    assert run(command) == 0
    printed = lines_of(capsys.readouterr().out)
    assert "output logits, temperature 0.5" in printed
    assert printed[-1] == "serve it: rrl teacher serve --checkpoint MsPacman/theirs"
    assert run(["teacher", "inspect", "ms_pacman/theirs", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert (found["card"]["name"], found["card"]["game"]) == ("theirs", "ms pacman")
    # 6 weights and 3 biases.
    assert found["parameters"] == 9
    # The file itself is known under what was said of it, and by no other name.
    assert run(command) == 2
    assert "another teacher is called MsPacman/theirs" in capsys.readouterr().err


def test_a_damaged_file_is_told_in_the_importers_words(onnx_file: Path, capsys: Capture) -> None:
    onnx_file.write_bytes(onnx_file.read_bytes()[:-20])
    assert run(["teacher", "import", str(onnx_file), "--output", "q_values"]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert f"{onnx_file}: this is no ONNX file" in line


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--name", "../theirs"], "'..' is no name"),
        (["--name", "theirs"], "'' is no name"),
        (["--name", "Pong/dqn-bundled"], "another teacher is called Pong/dqn-bundled"),
        (["--name", "pong/dqn-bundled"], "another teacher is called pong/dqn-bundled"),
        (["--checkpoint-number", "3"], "leave out the number 3"),
    ],
)
def test_flags_that_make_no_sense_end_with_one_line(
    capsys: Capture, flags: list[str], message: str
) -> None:
    assert run(["teacher", "import", "pong_dqn", *flags]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert message in line

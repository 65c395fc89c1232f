"""`rrl teacher inspect` as it is called: what it prints, and its exit code."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import onnx
import pytest

from rrl_agents.checkpoints.onnx_export import export_onnx  # noqa: E402
from rrl_agents.networks.registry import NetworkConfig  # noqa: E402
from services.cli.main import run

Capture = pytest.CaptureFixture[str]


@pytest.fixture
def onnx_file(tmp_path: Path) -> Path:
    """Two inputs to three actions: no hidden layer."""
    params = {"Dense_0": {"kernel": np.ones((2, 3), np.float32), "bias": np.zeros(3, np.float32)}}
    network = NetworkConfig(name="mlp", features=())
    path = tmp_path / "policy.onnx"
    path.write_bytes(
        export_onnx(network, {"params": params}, num_actions=3, observation_shape=(1, 2, 1))
    )
    return path


def test_a_teacher_is_printed_as_facts_and_a_table(catch_teacher: Path, capsys: Capture) -> None:
    assert run(["teacher", "inspect", str(catch_teacher)]) == 0
    captured = capsys.readouterr()
    lines = [" ".join(line.split()) for line in captured.out.splitlines()]
    assert lines[0] == str(catch_teacher)
    assert "format teacher's directory" in lines
    assert "game catch" in lines
    assert "score 1.00 over 1 episodes" in lines
    # 10 rows of 5 columns into 2 units, and those into 3 actions.
    assert "Dense_0/kernel 50 x 2 float32 100" in lines
    assert "total 111" in lines
    assert captured.err == ""


def test_a_name_of_the_catalogue_is_taken(capsys: Capture) -> None:
    assert run(["teacher", "inspect", "Pong/dqn-bundled"]) == 0
    assert "4,046,502" in capsys.readouterr().out


def test_json_has_the_same_facts(catch_teacher: Path, capsys: Capture) -> None:
    assert run(["teacher", "inspect", str(catch_teacher), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert (found["format"], found["is_sound"], found["problems"]) == (
        "teacher's directory",
        True,
        [],
    )
    assert found["card"]["game"] == "catch"
    assert found["layers"][1] == {
        "name": "Dense_0/kernel",
        "shape": [50, 2],
        "dtype": "float32",
        "count": 100,
    }


@pytest.mark.parametrize("flags", [[], ["--json"]])
def test_a_broken_teacher_is_printed_with_its_problem_and_ends_with_2(
    catch_teacher: Path, tmp_path: Path, capsys: Capture, flags: list[str]
) -> None:
    teacher = tmp_path / "broken"
    shutil.copytree(catch_teacher, teacher)
    (teacher / "params.safetensors").write_bytes(b"[bold]nothing")
    assert run(["teacher", "inspect", str(teacher), *flags]) == 2
    captured = capsys.readouterr()
    assert "catch_by_hand" in captured.out
    assert "parameters have SHA-256" in captured.out
    assert captured.err == f"rrl teacher inspect: {teacher}: 1 problem, told above\n"


def test_what_is_not_there_ends_with_2_and_one_line(tmp_path: Path, capsys: Capture) -> None:
    for path in (tmp_path / "absent", tmp_path / "absent.onnx"):
        assert run(["teacher", "inspect", str(path)]) == 2
        captured = capsys.readouterr()
        assert captured.out == ""
        assert str(path) in captured.err and len(captured.err.splitlines()) == 1


def test_a_python_policy_is_not_imported(capsys: Capture) -> None:
    assert run(["teacher", "inspect", "some.package:make"]) == 2
    assert "names a Python policy" in capsys.readouterr().err


def test_an_onnx_file_is_told_with_its_weights_and_ends(onnx_file: Path, capsys: Capture) -> None:
    assert run(["teacher", "inspect", str(onnx_file), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert (found["format"], found["num_actions"]) == ("ONNX file", 3)
    assert found["card"]["observation_shape"] == [1, 2, 1]
    assert "input observations: uint8 [?, 1, 2, 1]" in found["notes"]
    assert "output action_values: float [?, 3]" in found["notes"]
    assert {"float"} >= {layer["dtype"] for layer in found["layers"] if layer["count"] == 6}
    assert any("operator sets ai.onnx 13" in detail for detail in found["details"])


def test_an_onnx_file_may_leave_open_what_its_scores_are(onnx_file: Path, capsys: Capture) -> None:
    model = onnx.load(str(onnx_file))
    model.graph.output[0].name = "scores"
    for node in model.graph.node:
        node.output[:] = ["scores" if name == "action_values" else name for name in node.output]
    onnx.save(model, str(onnx_file))
    assert run(["teacher", "inspect", str(onnx_file)]) == 0
    assert "serve it with --output" in capsys.readouterr().out


def test_a_truncated_onnx_file_is_a_problem(onnx_file: Path, capsys: Capture) -> None:
    onnx_file.write_bytes(onnx_file.read_bytes()[:-20])
    assert run(["teacher", "inspect", str(onnx_file)]) == 2
    assert "this is no ONNX file" in capsys.readouterr().out
    assert run(["teacher", "inspect", str(onnx_file), "--checkpoint-number", "3"]) == 2
    assert "leave out --checkpoint-number" in capsys.readouterr().err

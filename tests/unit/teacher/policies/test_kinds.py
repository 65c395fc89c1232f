from __future__ import annotations

from pathlib import Path

import pytest

from services.teacher.policies.kinds import Kind, kind_of


def test_a_kind_is_read_off_the_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "policy.onnx").touch()
    (tmp_path / "agent.onnx").mkdir()
    (tmp_path / "package:make").mkdir()
    (tmp_path / "Pong").mkdir()
    kinds = {
        "policy.onnx": Kind.ONNX,
        str(tmp_path / "policy.onnx"): Kind.ONNX,
        "agent.onnx": Kind.NETWORK,
        "Pong": Kind.NETWORK,
        "pong_dqn": Kind.NETWORK,
        "package:make": Kind.NETWORK,
        "other_package.inner:make": Kind.PYTHON,
        "some/path:make": Kind.NETWORK,
        "package:": Kind.NETWORK,
        "3d:make": Kind.NETWORK,
    }
    assert {name: kind_of(name) for name in kinds} == kinds

from __future__ import annotations

import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.support.dopamine_agents import SMALL, Layers, layers_of


@pytest.fixture
def small_layers() -> Layers:
    return layers_of(SMALL)


@pytest.fixture
def write_agent(tmp_path: Path) -> Callable[..., Path]:
    """Write an agent's directory as Dopamine lays it out."""

    def write(bundle: Any, number: int = 7) -> Path:
        checkpoints = tmp_path / "agent" / "checkpoints"
        checkpoints.mkdir(parents=True, exist_ok=True)
        (checkpoints / f"ckpt.{number}").write_bytes(pickle.dumps(bundle))
        (checkpoints / f"sentinel_checkpoint_complete.{number}").write_text("done")
        return checkpoints.parent

    return write

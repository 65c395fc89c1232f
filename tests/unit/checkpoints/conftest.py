"""Agents in the shapes of every Dopamine, written by hand: tree and pickle are stated in code."""

from __future__ import annotations

import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray


@pytest.fixture
def small_layers() -> dict[str, dict[str, NDArray[np.float32]]]:
    """A Nature DQN with 2, 3, 4 channels, 5 hidden units and 6 actions, SAME padding.

    84 pixels after strides of 4, 2 and 1 are 21, 11, 11: Dense_0 has 11 * 11 * 4 = 484 inputs.
    """
    random = np.random.default_rng(0)
    shapes = {
        "Conv_0": (8, 8, 4, 2),
        "Conv_1": (4, 4, 2, 3),
        "Conv_2": (3, 3, 3, 4),
        "Dense_0": (484, 5),
        "Dense_1": (5, 6),
    }
    return {
        name: {
            "kernel": random.normal(size=shape).astype(np.float32),
            "bias": random.normal(size=shape[-1:]).astype(np.float32),
        }
        for name, shape in shapes.items()
    }


@pytest.fixture
def write_agent(tmp_path: Path) -> Callable[..., Path]:
    """Write an agent's directory as Dopamine lays it out."""

    def write(bundle: Any, number: int = 7, protocol: int = 4, sentinel: bool = True) -> Path:
        checkpoints = tmp_path / "agent" / "checkpoints"
        checkpoints.mkdir(parents=True, exist_ok=True)
        (checkpoints / f"ckpt.{number}").write_bytes(pickle.dumps(bundle, protocol=protocol))
        if sentinel:
            (checkpoints / f"sentinel_checkpoint_complete.{number}").write_text("done")
        return checkpoints.parent

    return write

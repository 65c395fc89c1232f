"""The kind of teacher a user means, read off its name."""

from __future__ import annotations

import enum
from pathlib import Path

ONNX_SUFFIX = ".onnx"


class Kind(enum.Enum):
    """What computes a teacher's scores."""

    NETWORK = "network"
    """One of our networks: bundled, exported, or imported from Dopamine."""
    ONNX = "onnx"
    """An ONNX file of any origin."""
    PYTHON = "python"
    """A Python policy of the user's own, `module:factory`."""


def kind_of(checkpoint: str) -> Kind:
    """The kind of a teacher.

    Args:
        checkpoint: A path, or `module:factory` where there is no path of that name.

    Raises:
        ValueError: It is named like an ONNX file, and there is no such file.
    """
    path = Path(checkpoint)
    if checkpoint.lower().endswith(ONNX_SUFFIX) and not path.is_dir():
        if not path.is_file():
            raise ValueError(f"there is no ONNX file at {path.absolute()}; check the path")
        return Kind.ONNX
    return Kind.PYTHON if _is_entry_point(checkpoint) and not path.exists() else Kind.NETWORK


def _is_entry_point(text: str) -> bool:
    module, colon, factory = text.partition(":")
    return bool(colon) and all(part.isidentifier() for part in (*module.split("."), factory))

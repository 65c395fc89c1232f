"""Recognises model files of other libraries, without reading their content."""

from __future__ import annotations

from pathlib import Path

from rrl_agents.checkpoints.find_checkpoint import is_dopamine_file

CLEANRL_SUFFIX = ".cleanrl_model"
ZIP_MAGIC = b"PK\x03\x04"
GZIP_MAGIC = b"\x1f\x8b"
"""First bytes of gzip files and of non-empty zip archives."""

_GRAPH_SUFFIX = ".pb"
MODEL_SUFFIXES = frozenset({".zip", ".pt", ".pth", ".pkl", ".gz", CLEANRL_SUFFIX})


def is_model_file(path: Path) -> bool:
    """Whether a file is a model by its suffix, or a zip archive with another name."""
    if not path.is_file() or is_dopamine_file(path):
        return False
    if path.suffix.lower() in MODEL_SUFFIXES:
        return True
    with path.open("rb") as file:
        return file.read(len(ZIP_MAGIC)) == ZIP_MAGIC


def is_frozen_graph(path: Path) -> bool:
    """Whether a file is a frozen TensorFlow graph, by its suffix."""
    return path.suffix.lower() == _GRAPH_SUFFIX and path.is_file()

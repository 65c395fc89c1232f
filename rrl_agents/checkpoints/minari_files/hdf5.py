"""Reads the HDF5 file of a Minari dataset: runs nothing in it, opens nothing outside of it.

It uses h5py instead of Minari's `MinariStorage`, which makes the environment that the metadata
names, running its code, and loads whole episodes. All errors are ValueErrors; `opened` adds the
path.
"""

from __future__ import annotations

import contextlib
import dataclasses
import io
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import h5py  # type: ignore[import-untyped]
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from rrl_agents.checkpoints.recorded_rows import checked_actions, checked_rewards

_COLUMNS = ("actions", "rewards", "terminations")


@dataclasses.dataclass(frozen=True, kw_only=True)
class MinariEpisode:
    """One episode of T steps.

    Attributes:
        action: int32 [T].
        reward: float32 [T], as recorded.
        terminal: uint8 [T], 1 where a step ended it by the rules: the last step or none.
        observations: The T + 1 observations, as a dataset in the file.
    """

    action: NDArray[np.int32]
    reward: NDArray[np.float32]
    terminal: NDArray[np.uint8]
    observations: h5py.Dataset

    @property
    def frames(self) -> int:
        """Number of valid observations; there is none after a terminal step."""
        return len(self.terminal) + (not self.terminal[-1])

    def read_frames(self, start: int, stop: int) -> NDArray[np.uint8]:
        """Observations [start, stop), uint8 [R, H, W].

        Raises:
            ValueError: They are not single gray frames.
        """
        frames: NDArray[np.uint8] = self.observations[start:stop]
        if frames.ndim <= 2:  # Encoded images, one by one.
            frames = np.stack([_decoded(packed) for packed in frames])
        if frames.ndim != 3 or frames.dtype != np.uint8:
            raise ValueError(f"observations are {frames.dtype} of shape {frames.shape[1:]}")
        return frames


@contextlib.contextmanager
def opened(file: Path) -> Iterator[h5py.File]:
    """Open the HDF5 file; errors become a ValueError that begins with its path."""
    if not file.is_file():
        raise ValueError(f"{file}: no such file; give a Minari dataset's directory (HDF5 format)")
    try:
        with h5py.File(file, "r") as content:
            yield content
    except Exception as error:  # Damaged files make HDF5 and Pillow raise nearly anything.
        raise ValueError(f"{file}: {error}; give a Minari dataset of single gray frames") from error


def read_episodes(content: h5py.File) -> list[MinariEpisode]:
    """All episodes in order, without reading their observations.

    Raises:
        ValueError: There are none, or one is not in Minari's format.
    """
    if not len(content):
        raise ValueError("no episodes")
    return [_read_episode(content, f"episode_{index}") for index in range(len(content))]


def _read_episode(content: h5py.File, name: str) -> MinariEpisode:
    group = _member(content, name)
    observations = _member(group, "observations")
    columns = {key: _member(group, key)[()] for key in _COLUMNS}
    shapes = {key: column.shape for key, column in columns.items()}
    if {*shapes.values()} != {(len(observations) - 1,)} or len(observations) < 2:
        raise ValueError(
            f"{name} has columns of shapes {shapes} beside {len(observations)} observations; need "
            "one number for each step, and an observation more"
        )
    terminal = (columns["terminations"] != 0).astype(np.uint8)
    if terminal[:-1].any():
        raise ValueError(f"{name} continues after a terminal step")
    return MinariEpisode(
        action=checked_actions(columns["actions"], name),
        reward=checked_rewards(columns["rewards"], name),
        terminal=terminal,
        observations=observations,
    )


def _member(group: h5py.Group, name: str) -> Any:
    """A group or dataset in the file itself, not an external link."""
    is_hard = isinstance(group.get(name, getlink=True), h5py.HardLink)
    member = group[name] if is_hard else None
    is_elsewhere = isinstance(member, h5py.Dataset) and (member.is_virtual or member.external)
    if member is None or is_elsewhere:
        raise ValueError(f"{name} is missing, or lies outside the file")
    return member


def _decoded(packed: Any) -> NDArray[np.uint8]:
    content = np.asarray(packed, np.uint8).tobytes()
    return np.asarray(Image.open(io.BytesIO(content), formats=("JPEG", "PNG")))

"""The HDF5 file of a Minari dataset: nothing in it is run, nothing outside opened.

It is read with h5py itself and not through Minari's `MinariStorage`, which makes an environment
from what the dataset's metadata names, running its code, and holds whole episodes. Every error of
reading is a ValueError; `opened` puts the path before it.
"""

from __future__ import annotations

import contextlib
import dataclasses
import io
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import h5py  # type: ignore[import-untyped]
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from rrl_agents.checkpoints.dopamine_replay.npy_column import MAX_ROW_BYTES
from rrl_agents.checkpoints.row_markers import checked_actions, checked_rewards

_COLUMNS = ("actions", "rewards", "terminations", "truncations")


@dataclasses.dataclass(frozen=True, kw_only=True)
class MinariEpisode:
    """One episode of T steps, without its T + 1 observations.

    Attributes:
        name: Of its group in the file.
        action: int32 [T].
        reward: float32 [T], as recorded.
        is_terminated: The last step ended it by the rules; else it was cut off.
    """

    name: str
    action: NDArray[np.int32]
    reward: NDArray[np.float32]
    is_terminated: bool

    def __len__(self) -> int:
        """T."""
        return len(self.action)

    @property
    def frames(self) -> int:
        """Observations that count: the one behind the last step is none once that is terminal."""
        return len(self) + (not self.is_terminated)


@contextlib.contextmanager
def opened(file: Path) -> Iterator[h5py.File]:
    """The HDF5 file; whatever is wrong with it is a ValueError that begins with its path."""
    if not file.is_file():
        raise ValueError(f"{file}: no such file; give a Minari dataset's directory (HDF5 format)")
    try:
        with h5py.File(file, "r") as content:
            yield content
    except MemoryError:
        raise
    except Exception as error:  # Damaged files make HDF5 and Pillow raise nearly anything.
        raise ValueError(f"{file}: {error}; give a Minari dataset of single gray frames") from error


def read_episodes(content: h5py.File) -> list[MinariEpisode]:
    """All episodes in order; their observations are only counted.

    Raises:
        ValueError: There are none, or one is not as Minari writes it.
    """
    if not len(content):
        raise ValueError("no episodes")
    return [_read_episode(content, f"episode_{index}") for index in range(len(content))]


def _read_episode(content: h5py.File, name: str) -> MinariEpisode:
    group = _member(content, name, h5py.Group)
    columns = {key: _column(group, key) for key in _COLUMNS}
    steps = len(columns["rewards"])
    observations = _member(group, "observations", h5py.Dataset)
    lengths = {*map(len, columns.values()), len(observations) - 1}
    if lengths != {steps} or steps < 1:
        raise ValueError(f"{name} has columns of {sorted(lengths)} steps")
    if columns["terminations"][:-1].any():
        raise ValueError(f"{name} goes on behind a terminal step")
    return MinariEpisode(
        name=name,
        action=checked_actions(columns["actions"], name),
        reward=checked_rewards(columns["rewards"], name),
        is_terminated=bool(columns["terminations"][-1]),
    )


def _column(group: h5py.Group, name: str) -> NDArray[Any]:
    dataset = _member(group, name, h5py.Dataset)
    if dataset.ndim != 1 or dataset.dtype.kind not in "biuf":
        raise ValueError(
            f"{name} are {dataset.dtype} of shape {dataset.shape}; need one number each"
        )
    column: NDArray[Any] = dataset[()]
    return column


def _member(group: h5py.Group, name: str, kind: type) -> Any:
    """A group or dataset that lies in the file itself."""
    if not isinstance(group.get(name, getlink=True), h5py.HardLink):
        raise ValueError(f"{name} is missing, or a link out of the file")
    member = group[name]
    is_elsewhere = isinstance(member, h5py.Dataset) and (member.is_virtual or member.external)
    if not isinstance(member, kind) or is_elsewhere:
        raise ValueError(f"{name} is no {kind.__name__} of this file")
    return member


def read_frames(content: h5py.File, name: str, start: int, stop: int) -> NDArray[np.uint8]:
    """Observations [start, stop) of the episode of that name, uint8 [R, H, W].

    Raises:
        ValueError: They are no single gray frames of a size that is read.
    """
    dataset = content[name]["observations"]
    is_raw = dataset.ndim == 3 and dataset.dtype == np.uint8
    if not is_raw and (dataset.ndim > 2 or (dataset.ndim == 2 and dataset.dtype != np.uint8)):
        raise ValueError(f"observations are {dataset.dtype} of shape {dataset.shape}")
    if is_raw:
        _check_frame(dataset.shape[1:])
    stored = dataset[start:stop]
    return np.asarray(stored if is_raw else [_decoded(packed) for packed in stored], np.uint8)


def _decoded(packed: Any) -> NDArray[np.uint8]:
    content = np.asarray(packed, np.uint8).tobytes()
    image = Image.open(io.BytesIO(content), formats=("JPEG",))
    if image.mode != "L":
        raise ValueError(f"an observation is a {image.mode} image of {image.size}; need gray ones")
    _check_frame(image.size)
    return np.asarray(image, np.uint8)


def _check_frame(shape: tuple[int, ...]) -> None:
    if math.prod(shape) > MAX_ROW_BYTES:
        raise ValueError(f"frames of {shape} pixels are too large; at most {MAX_ROW_BYTES} pixels")

"""A Minari dataset of single gray frames becomes a replay buffer as Dopamine saves it.

An episode of T steps becomes STACK - 1 zero rows, as Dopamine pads, its T steps and, unless the
last one was terminal, the observation that it led to as one more row, behind which the episode is
cut: so no step of it is lost. STACK - 1 more zero rows end the buffer, as if an episode followed:
Dopamine's reader leaves out what runs into the cursor, and would never see the last terminal step
otherwise (with n above STACK - 1 it still does not). Everything else reads the buffer, not the
dataset.

HDF5's library is no match for a file that was made to harm: altered ones crashed it, or had it ask
for 14 GB. So datasets are converted in a confined process (`services/library/confined.py`).
"""

from __future__ import annotations

import gzip
import itertools
import pickle
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import h5py  # type: ignore[import-untyped]
import numpy as np
from numpy.typing import NDArray

from rrl_agents.checkpoints.minari_files.hdf5 import (
    MinariEpisode,
    opened,
    read_episodes,
    read_frames,
)

DATASET_FILE = "data/main_data.hdf5"

_FRAMES_AT_ONCE = 1024
_NUMBER = 0


def convert_minari(dataset: str | Path, out: str | Path, stack_size: int) -> int:
    """Write the buffer.

    Args:
        dataset: Directory of the dataset.
        out: Directory to make; after an error, what lies there is not whole.
        stack_size: Frames of an observation, at least 1.

    Returns:
        Rows written.

    Raises:
        ValueError: It is not there, damaged, or not of single gray frames.
        OSError: `out` exists, or cannot be written.
    """
    if stack_size < 1:
        raise ValueError(f"stack size {stack_size}; it must be at least 1")
    Path(out).mkdir(parents=True)
    with opened(Path(dataset, DATASET_FILE)) as content:
        return _write(content, Path(out), stack_size)


def _write(content: h5py.File, directory: Path, stack_size: int) -> int:
    episodes = read_episodes(content)
    shape = read_frames(content, episodes[0].name, 0, 1).shape[1:]
    padding = stack_size - 1
    ends = list(itertools.accumulate(padding + episode.frames for episode in episodes))
    rows = ends[-1] + padding
    # One row is never written, so that the buffer is not full: its cursor is at its end.
    capacity = rows + 1
    around = (rows - 1 + np.arange(stack_size + 1)) % capacity
    small = {
        **_columns(episodes, ends, capacity),
        "add_count": np.asarray(rows),
        "invalid_range": around,
    }
    for name, array in small.items():
        _save(_file(directory, name), array.dtype, array.shape, [array])
    with gzip.open(_file(directory, "episode_end_indices"), "wb") as file:
        pickle.dump({end - 1 for end in ends}, file)
    behind = np.zeros((padding + 1, *shape), np.uint8)
    frames = itertools.chain(_frames(content, episodes, padding, shape), [behind])
    path = _file(directory, "$store$_observation")
    _save(path, np.dtype(np.uint8), (capacity, *shape), frames)
    return rows


def _file(directory: Path, name: str) -> Path:
    return directory / f"{name}_ckpt.{_NUMBER}.gz"


def _columns(
    episodes: Sequence[MinariEpisode], ends: Sequence[int], capacity: int
) -> dict[str, NDArray[Any]]:
    action = np.zeros(capacity, np.int32)
    reward = np.zeros(capacity, np.float32)
    terminal = np.zeros(capacity, np.uint8)
    for episode, end in zip(episodes, ends, strict=True):
        start = end - episode.frames
        stop = start + len(episode)
        action[start:stop] = episode.action
        reward[start:stop] = episode.reward
        terminal[stop - 1] = episode.is_terminated
    return {"$store$_action": action, "$store$_reward": reward, "$store$_terminal": terminal}


def _frames(
    content: h5py.File, episodes: Sequence[MinariEpisode], padding: int, shape: tuple[int, ...]
) -> Iterator[NDArray[np.uint8]]:
    for episode in episodes:
        yield np.zeros((padding, *shape), np.uint8)
        for start in range(0, episode.frames, _FRAMES_AT_ONCE):
            stop = min(start + _FRAMES_AT_ONCE, episode.frames)
            frames = read_frames(content, episode.name, start, stop)
            if frames.shape[1:] != shape:
                raise ValueError(f"{episode.name} has frames of {frames.shape[1:]}, not {shape}")
            yield frames


def _save(
    path: Path,
    dtype: np.dtype[Any],
    shape: tuple[int, ...],
    pieces: Iterable[NDArray[Any]],
) -> None:
    """What `numpy.save` would write of all pieces together, packed."""
    header = {"descr": dtype.str, "fortran_order": False, "shape": shape}
    # Packed lightly: frames shrink by nearly as much, ten times as fast.
    with gzip.open(path, "wb", compresslevel=1) as file:
        np.lib.format.write_array_header_1_0(file, header)  # type: ignore[no-untyped-call]
        for piece in pieces:
            file.write(np.ascontiguousarray(piece).tobytes())

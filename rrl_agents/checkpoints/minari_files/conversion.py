"""Converts a Minari dataset of single gray frames to a replay buffer in Dopamine's format.

An episode of T steps becomes STACK - 1 zero rows, Dopamine's padding, then its T steps and, unless
the last step was terminal, one more row with the observation after it, at which the episode is cut:
so no step is lost. STACK - 1 more zero rows end the buffer, as if an episode followed: Dopamine's
reader skips rows that run into the cursor, and would otherwise never see the last terminal step
(with n above STACK - 1 it still does not). Everything else reads the buffer, not the dataset.

The HDF5 library does not withstand malicious files: altered ones crashed it, or made it allocate 14
GB. So datasets are converted in a confined process (`services/library/confined.py`).
"""

from __future__ import annotations

import gzip
import itertools
import math
import pickle
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import h5py  # type: ignore[import-untyped]
import numpy as np
from numpy.typing import NDArray

from rrl_agents.checkpoints.dopamine_replay.files import ReplayFiles
from rrl_agents.checkpoints.dopamine_replay.npy_column import MAX_ROW_BYTES
from rrl_agents.checkpoints.minari_files.hdf5 import MinariEpisode, opened, read_episodes

DATASET_FILE = "data/main_data.hdf5"

_COLUMNS = ("action", "reward", "terminal")
_FRAMES_AT_ONCE = 1024


def convert_minari(dataset: str | Path, out: str | Path, stack_size: int) -> int:
    """Write the buffer.

    Args:
        dataset: Directory of the dataset.
        out: Directory to create; incomplete after an error.
        stack_size: Frames of an observation, at least 1.

    Returns:
        Rows written.

    Raises:
        ValueError: It is missing, damaged, or does not have single gray frames.
        OSError: `out` exists, or cannot be written.
    """
    if stack_size < 1:
        raise ValueError(f"stack size {stack_size}; it must be at least 1")
    Path(out).mkdir(parents=True)
    with opened(Path(dataset, DATASET_FILE)) as content:
        return _write(content, ReplayFiles(directory=Path(out), number=0), stack_size)


def _write(content: h5py.File, files: ReplayFiles, stack_size: int) -> int:
    episodes = read_episodes(content)
    shape = episodes[0].read_frames(0, 1).shape[1:]
    if math.prod(shape) > MAX_ROW_BYTES:
        raise ValueError(f"frames of {shape} pixels are too large; at most {MAX_ROW_BYTES} pixels")
    padding = stack_size - 1
    ends = list(itertools.accumulate(padding + episode.frames for episode in episodes))
    rows = ends[-1] + padding
    # One row stays unwritten, so that the buffer is not full: its cursor is at its end.
    capacity = rows + 1
    small = {
        **{f"$store$_{name}": _column(episodes, name, padding) for name in _COLUMNS},
        "add_count": np.asarray(rows),
        "invalid_range": (rows - 1 + np.arange(stack_size + 1)) % capacity,
    }
    for name, array in small.items():
        with _created(files.member(name)) as file:
            np.save(file, array, allow_pickle=False)
    with _created(files.member("episode_end_indices")) as file:
        pickle.dump({end - 1 for end in ends}, file)
    header = {"descr": "|u1", "fortran_order": False, "shape": (capacity, *shape)}
    with _created(files.member("$store$_observation")) as file:
        np.lib.format.write_array_header_1_0(file, header)  # type: ignore[no-untyped-call]
        for frames in _frames(episodes, padding, shape):
            file.write(frames.tobytes())
    return rows


def _created(path: Path) -> gzip.GzipFile:
    # Low compression: frames shrink by nearly as much, ten times as fast.
    return gzip.open(path, "wb", compresslevel=1)


def _column(episodes: Sequence[MinariEpisode], name: str, padding: int) -> NDArray[Any]:
    """A column of all episodes, with zeros around them and in the unwritten row."""
    columns = [
        np.pad(getattr(episode, name), (padding, episode.frames - len(episode.terminal)))
        for episode in episodes
    ]
    return np.pad(np.concatenate(columns), (0, padding + 1))


def _frames(
    episodes: Sequence[MinariEpisode], padding: int, shape: tuple[int, ...]
) -> Iterator[NDArray[np.uint8]]:
    for episode in episodes:
        yield np.zeros((padding, *shape), np.uint8)
        for start in range(0, episode.frames, _FRAMES_AT_ONCE):
            frames = episode.read_frames(start, min(start + _FRAMES_AT_ONCE, episode.frames))
            if frames.shape[1:] != shape:
                raise ValueError(f"an episode has frames of {frames.shape[1:]}, not {shape}")
            yield frames
    yield np.zeros((padding + 1, *shape), np.uint8)

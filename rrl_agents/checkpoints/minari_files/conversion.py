"""A Minari dataset of single gray frames becomes a replay buffer as Dopamine saves it.

    python -m rrl_agents.checkpoints.minari_files.conversion DATASET OUT STACK

An episode of T steps becomes STACK - 1 zero rows, as Dopamine pads, its T steps and, unless the
last one was terminal, the observation that it led to as one more row, behind which the episode is
cut: so no step of it is lost. STACK - 1 more zero rows end the buffer, as if an episode followed:
Dopamine's reader leaves out what runs into the cursor, and would never see the last terminal step
otherwise (with n above STACK - 1 it still does not). Everything else reads the buffer, not the
dataset.

It runs in a process of its own because HDF5's library is no match for a file that was made to harm:
altered ones crashed it, or had it ask for 14 GB. Here such a file ends this process, within limits
of memory and CPU time, and whoever started it removes OUT. Exit code: 0 done, 2 refused.
"""

from __future__ import annotations

import gzip
import itertools
import pickle
import resource
import sys
from collections.abc import Iterator, Sequence
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
REFUSED = 2

_MEMORY_BYTES = 512 << 20
"""Beside what the libraries have taken: the columns of ten million steps fit, and what a small file
unpacks to does not fill the machine."""

_CPU_SECONDS = 60
_CPU_SECONDS_PER_MIB = 1

_FRAMES_AT_ONCE = 1024
_NUMBER = 0


def convert_minari(dataset: Path, out: Path, stack_size: int) -> int:
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
    out.mkdir(parents=True)
    with opened(dataset / DATASET_FILE) as content:
        return _write(content, out, stack_size)


def _write(content: h5py.File, directory: Path, stack_size: int) -> int:
    episodes = read_episodes(content)
    shape = read_frames(content, episodes[0].name, 0, 1).shape[1:]
    padding = stack_size - 1
    lengths = [padding + len(each) + (not each.is_terminated) for each in episodes]
    rows = sum(lengths) + padding
    # One row is never written, so that the buffer is not full: its cursor is at its end.
    capacity = rows + 1
    columns = _columns(episodes, lengths, padding, capacity)
    for name, column in columns.items():
        _save(directory / f"{name}_ckpt.{_NUMBER}.gz", column.dtype, column.shape, [column])
    around = (rows - 1 + np.arange(stack_size + 1)) % capacity
    for name, array in (("add_count", np.asarray(rows)), ("invalid_range", around)):
        _save(directory / f"{name}_ckpt.{_NUMBER}.gz", array.dtype, array.shape, [array])
    ends = {end - 1 for end in itertools.accumulate(lengths)}
    with gzip.open(directory / f"episode_end_indices_ckpt.{_NUMBER}.gz", "wb") as file:
        pickle.dump(ends, file)
    frames = _frames(content, episodes, padding, shape)
    behind = np.zeros((padding + 1, *shape), np.uint8)
    _save(
        directory / f"$store$_observation_ckpt.{_NUMBER}.gz",
        np.dtype(np.uint8),
        (capacity, *shape),
        itertools.chain(frames, [behind]),
    )
    return rows


def _columns(
    episodes: Sequence[MinariEpisode], lengths: Sequence[int], padding: int, capacity: int
) -> dict[str, NDArray[Any]]:
    action = np.zeros(capacity, np.int32)
    reward = np.zeros(capacity, np.float32)
    terminal = np.zeros(capacity, np.uint8)
    ends = itertools.accumulate(lengths)
    for episode, end, length in zip(episodes, ends, lengths, strict=True):
        start = end - length + padding
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
        shown = len(episode) + (not episode.is_terminated)
        for start in range(0, shown, _FRAMES_AT_ONCE):
            stop = min(start + _FRAMES_AT_ONCE, shown)
            frames = read_frames(content, episode.name, start, stop)
            if frames.shape[1:] != shape:
                raise ValueError(f"{episode.name} has frames of {frames.shape[1:]}, not {shape}")
            yield frames


def _save(
    path: Path,
    dtype: np.dtype[Any],
    shape: tuple[int, ...],
    pieces: Sequence[NDArray[Any]] | Iterator[NDArray[Any]],
) -> None:
    """What `numpy.save` would write of all pieces together, packed."""
    header = {"descr": dtype.str, "fortran_order": False, "shape": shape}
    # Packed lightly: frames shrink by nearly as much, ten times as fast.
    with gzip.open(path, "wb", compresslevel=1) as file:
        np.lib.format.write_array_header_1_0(file, header)  # type: ignore[no-untyped-call]
        for piece in pieces:
            file.write(np.ascontiguousarray(piece).tobytes())


def _limit(dataset: Path) -> None:
    """Bound what this process may use, by the size of what it reads."""
    file = dataset / DATASET_FILE
    mebibytes = file.stat().st_size >> 20 if file.is_file() else 0
    seconds = _CPU_SECONDS + _CPU_SECONDS_PER_MIB * mebibytes
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    memory = pages * resource.getpagesize() + _MEMORY_BYTES
    resource.setrlimit(resource.RLIMIT_AS, (memory, memory))
    resource.setrlimit(resource.RLIMIT_CPU, (seconds, seconds))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


def main(dataset: str, out: str, stack_size: str) -> None:
    """Convert, in this process; ends it."""
    _limit(Path(dataset))
    try:
        print(convert_minari(Path(dataset), Path(out), int(stack_size)))
    except MemoryError:
        print(
            f"{Path(dataset) / DATASET_FILE}: it unpacks to more than {_MEMORY_BYTES >> 20} MiB at "
            "once; is it a dataset that Minari wrote?",
            file=sys.stderr,
        )
        sys.exit(REFUSED)
    except (ValueError, OSError) as error:
        print(error, file=sys.stderr)
        sys.exit(REFUSED)


if __name__ == "__main__":
    main(*sys.argv[1:])

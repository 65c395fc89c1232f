"""Reads the ends of episodes that Dopamine pickles: a set of row numbers.

Buffers of Dopamine 4.0.5 and later have it. Nothing in the pickle is run, but its cost is unbounded
here, so foreign ones are read in a confined process (`services/library/confined.py`).
"""

from __future__ import annotations

import gzip
from pathlib import Path

import numpy as np

from rrl_agents.checkpoints.bounded_files import read_bounded
from rrl_agents.checkpoints.safe_unpickling import load_safely

_MAX_BYTES = 1 << 22
"""4 MiB: 400,000 ends at least."""


def read_episode_ends(path: str | Path, capacity: int) -> list[int]:
    """The last rows of episodes.

    Args:
        path: `episode_end_indices_ckpt.N.gz`.
        capacity: Rows of the buffer.

    Returns:
        Row numbers in [0, capacity), ascending.

    Raises:
        ValueError: The file is damaged or too large, or holds anything else.
    """
    packed = read_bounded(Path(path), _MAX_BYTES, what="the ends of episodes")
    try:
        ends = load_safely(gzip.decompress(packed))
        if not isinstance(ends, set) or not all(
            isinstance(row, (int, np.integer)) and 0 <= row < capacity for row in ends
        ):
            raise ValueError(f"holds something else than row numbers below {capacity}")
    except Exception as error:  # A damaged file raises nearly any class.
        raise ValueError(
            f"{path}: {error}; copy it again, or remove it: then only terminal rows end episodes"
        ) from error
    return sorted(map(int, ends))

"""Where episodes ended, as Dopamine pickles it: a set of row numbers.

Buffers of Dopamine 4.0.5 and later have it.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from rrl_agents.checkpoints.dopamine_replay.npy_column import opened_gzip, read_up_to
from rrl_agents.checkpoints.safe_unpickling import loads_safely

MAX_PICKLE_BYTES = 1 << 25
"""32 MiB: over a million ends."""

_ADVICE = "copy it again, or remove it: then only terminal rows end episodes"


def read_episode_ends(path: Path, capacity: int) -> NDArray[np.int64]:
    """The rows behind which an episode ended.

    Args:
        path: `episode_end_indices_ckpt.N.gz`.
        capacity: Rows of the buffer.

    Returns:
        int64 [E], ascending, in [0, capacity).

    Raises:
        ValueError: The file is damaged, too large, or holds anything but such numbers.
    """
    with opened_gzip(path) as file:
        data = bytes(read_up_to(file, MAX_PICKLE_BYTES + 1))
    if len(data) > MAX_PICKLE_BYTES:
        raise ValueError(f"{path}: more than {MAX_PICKLE_BYTES} bytes; {_ADVICE}")
    try:
        return _numbers(loads_safely(data), capacity)
    except ValueError as error:
        raise ValueError(f"{path}: {error}; {_ADVICE}") from None


def _numbers(loaded: object, capacity: int) -> NDArray[np.int64]:
    if not isinstance(loaded, set):
        raise ValueError(f"holds a {type(loaded).__name__}, not a set of row numbers")
    for value in loaded:
        is_number = isinstance(value, (int, np.integer)) and not isinstance(value, bool)
        if not is_number or not 0 <= value < capacity:
            raise ValueError(f"holds something else than row numbers below {capacity}")
    return np.sort(np.fromiter(map(int, loaded), np.int64, len(loaded)))

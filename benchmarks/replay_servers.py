"""What the benchmarks of replay share: servers as processes of their own, items of Atari's size."""

from __future__ import annotations

import contextlib
import multiprocessing
import signal
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from services.replay.config import ReplayConfig
from services.replay.item_layout import ItemLayout
from services.replay.server import build_replay
from services.shared.addresses import free_port

LAYOUT = ItemLayout(
    frame_shape=(84, 84), stack_size=4, n_step=3, num_actions=6, clips_rewards=False
)
BATCH_SIZE = 32
NEVER = 1e12
STARTUP_SECONDS = 300.0
"""A server imports TensorFlow first, which takes its time beside other work."""


class Server(NamedTuple):
    """A replay server.

    Attributes:
        address: "host:port".
        pid: Its process.
    """

    address: str
    pid: int


@contextlib.contextmanager
def replay_server(**settings: Any) -> Iterator[Server]:
    """A server whose rate limiter never speaks up; `settings` are fields of `ReplayConfig`."""
    with tempfile.TemporaryDirectory() as folder:
        config = ReplayConfig(
            layout=LAYOUT,
            checkpoint_root=Path(folder),
            error_buffer=NEVER,
            port=free_port(),
            **settings,
        )
        process = multiprocessing.get_context("spawn").Process(target=_serve, args=(config,))
        process.start()
        try:
            assert process.pid is not None
            yield Server(f"localhost:{config.port}", process.pid)
        finally:
            process.terminate()
            process.join()


def noisy_frames(random: np.random.Generator) -> NDArray[np.uint8]:
    """A hundred frames with noise in a tenth of their pixels."""
    frames = random.integers(0, 256, (100, *LAYOUT.frame_shape), np.uint8)
    frames *= random.random(frames.shape) < 0.1
    return frames


def _serve(config: ReplayConfig) -> None:
    server = build_replay(config)
    server.start()
    signal.pause()

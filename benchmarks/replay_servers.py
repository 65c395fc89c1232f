"""For the replay benchmark: servers and writers as separate processes, and items of Pong."""

from __future__ import annotations

import contextlib
import itertools
import multiprocessing
import signal
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from rrl_agents.environments.registry import EnvironmentConfig, make_environment
from services.replay.config import ReplayConfig
from services.replay.item_layout import ItemLayout, StepRow
from services.replay.server import build_replay
from services.replay.table_names import STUDENT_TABLE
from services.replay.writer import ReplayWriter, WriterOptions
from services.shared.addresses import free_port

LAYOUT = ItemLayout(
    frame_shape=(84, 84), stack_size=4, n_step=3, num_actions=6, clips_rewards=False
)
BATCH_SIZE = 32
NEVER = 1e12
STARTUP_SECONDS = 300.0
"""Beside other work, a server may take long to start."""


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
    """A server whose rate limiter never holds a side back, unless `settings` say otherwise.

    Args:
        **settings: Fields of `ReplayConfig`.
    """
    with tempfile.TemporaryDirectory() as folder:
        fields = {"error_buffer": NEVER, "min_student_size": 1} | settings
        config = ReplayConfig(
            layout=LAYOUT, checkpoint_root=Path(folder), port=free_port(), **fields
        )
        with _process(_serve, config) as pid:
            yield Server(f"localhost:{config.port}", pid)


@contextlib.contextmanager
def writer_process(address: str) -> Iterator[int]:
    """A process that inserts items as fast as the server takes them; gives its id."""
    with _process(_write_on, address) as pid:
        yield pid


def write(
    address: str,
    frames: NDArray[np.uint8],
    items: int,
    *,
    chunk_length: int = WriterOptions().chunk_length,
    random_priorities: bool = False,
) -> None:
    """Fill the student's table with so many items, whose frames repeat.

    Args:
        address: Of the server; waits for it to come up.
        frames: uint8 [F, 84, 84].
        items: Number of items.
        chunk_length: Rows compressed together.
        random_priorities: Whether priorities are spread like TD losses; else all are 1.
    """
    random = np.random.default_rng(0)
    with contextlib.closing(_writer(address, chunk_length, random_priorities)) as writer:
        for step in range(items):
            values = random.random(LAYOUT.num_actions, np.float32)
            writer.append(0, StepRow(frames[step % len(frames)], step % 6, 0.0, False, values))
        writer.end_episode(0, frames[0])
        assert writer.flush(timeout_seconds=60)


def pong_frames(steps: int) -> NDArray[np.uint8]:
    """Frames of Pong, uint8 [steps, 84, 84], played at random."""
    random = np.random.default_rng(0)
    environment = make_environment(EnvironmentConfig(game="pong"), 1)
    with contextlib.closing(environment):
        environment.reset(seed=0)
        played = [environment.step(random.integers(0, 6, 1)) for _ in range(steps)]
        return np.stack([step.observation[0, ..., -1] for step in played])


def _writer(address: str, chunk_length: int, random_priorities: bool) -> ReplayWriter:
    random = np.random.default_rng(1)
    return ReplayWriter(
        address,
        STUDENT_TABLE,
        LAYOUT,
        1,
        priority=(lambda: float(random.exponential())) if random_priorities else (lambda: 1.0),
        options=WriterOptions(
            chunk_length=chunk_length,
            max_pending_items=2 * chunk_length,
            connect_timeout_seconds=STARTUP_SECONDS,
        ),
    )


@contextlib.contextmanager
def _process(target: Callable[[Any], None], argument: Any) -> Iterator[int]:
    process = multiprocessing.get_context("spawn").Process(target=target, args=(argument,))
    process.start()
    try:
        assert process.pid is not None
        yield process.pid
    finally:
        process.terminate()
        process.join()


def _serve(config: ReplayConfig) -> None:
    server = build_replay(config)
    server.start()
    signal.pause()


def _write_on(address: str) -> None:
    frames = pong_frames(500)
    with contextlib.closing(_writer(address, WriterOptions().chunk_length, False)) as writer:
        for step in itertools.count():
            writer.append(0, StepRow(frames[step % len(frames)], 0, 0.0, False, None))

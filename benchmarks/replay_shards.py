"""What a second replay shard brings: batches per second and inserts per second beside those of one.

Replay servers in processes of their own, with two writers that insert as fast as they can (each
into the shard of its index) and a reader that takes batches of 32 as the learner does. Where
writers, reader and servers share all cores, shards bring nothing: the ratios of CPU time then say
what a shard costs, and the largest server's CPU per item what it takes off each server, which is
what counts where servers are machines of their own.

Ratios (two shards over one, higher is better):
    batches                   batches/s
    inserts                   items/s written
    cpu                       CPU time, all processes, of a batch with what is written meanwhile
    load of a server          CPU time per second of one shard's only server over that of the
                              busier of two, per batch

    python -m benchmarks.replay_shards --quick --json
"""

from __future__ import annotations

import contextlib
import multiprocessing
import time
from collections.abc import Iterator, Sequence
from multiprocessing.synchronize import Event

import numpy as np

from benchmarks.harness import Flags, parse_flags, print_outcome
from benchmarks.replay_servers import (
    BATCH_SIZE,
    LAYOUT,
    STARTUP_SECONDS,
    noisy_frames,
    replay_server,
)
from benchmarks.teacher.usage import cpu_seconds
from services.replay.connection import table_counts
from services.replay.failures import ReplayTimeout
from services.replay.item_layout import StepRow
from services.replay.reader import ReplayReader, ShardedReader
from services.replay.table_names import STUDENT_TABLE
from services.replay.writer import ReplayWriter, WriterOptions

WRITERS = 2
_MIN_ITEMS = 1_000

RATIOS = {
    "batches": ("two /s", "one /s"),
    "inserts": ("two inserts /s", "one inserts /s"),
    "cpu": ("one cpu us", "two cpu us"),
    "load of a server": ("one server us", "two server us"),
}


def main() -> None:
    """Measure and print."""
    flags = parse_flags(__doc__)
    batches = flags.pick(full=2_000, quick=300, smallest=50)
    repeats = flags.pick(full=5, quick=2, smallest=1)
    rounds = [_round(batches) for _ in range(repeats)]
    _print(rounds, flags)


def _print(rounds: list[dict[str, float]], flags: Flags) -> None:
    print(f"batches of {BATCH_SIZE}, items of {LAYOUT.window} frames {LAYOUT.frame_shape}")
    print_outcome(rounds, RATIOS, flags)


def _round(batches: int) -> dict[str, float]:
    return _measure("one", 1, batches) | _measure("two", 2, batches)


def _measure(name: str, shards: int, batches: int) -> dict[str, float]:
    with contextlib.ExitStack() as stack:
        servers = [
            stack.enter_context(replay_server(student_capacity=50_000, min_student_size=_MIN_ITEMS))
            for _ in range(shards)
        ]
        addresses = [server.address for server in servers]
        writers = [
            stack.enter_context(_writer(addresses[index % shards])) for index in range(WRITERS)
        ]
        readers = [ReplayReader(address, LAYOUT, 0.99, BATCH_SIZE) for address in addresses]
        reader = stack.enter_context(contextlib.closing(ShardedReader(readers)))
        for address in addresses:
            _await(address)
        for _ in range(2 * shards):
            reader.sample_mixed(0.0, timeout_seconds=60, updates=range(1))
        began, inserted = time.perf_counter(), _inserted(addresses)
        pids = [*(server.pid for server in servers), *writers]
        cpu_began = [cpu_seconds(pid) for pid in pids]
        own_began = time.process_time()
        for _ in range(batches):
            reader.sample_mixed(0.0, timeout_seconds=60, updates=range(1))
        seconds = time.perf_counter() - began
        cpu = [cpu_seconds(pid) - before for pid, before in zip(pids, cpu_began, strict=True)]
        return {
            f"{name} /s": batches / seconds,
            f"{name} inserts /s": (_inserted(addresses) - inserted) / seconds,
            f"{name} cpu us": 1e6 * (sum(cpu) + time.process_time() - own_began) / batches,
            f"{name} server us": 1e6 * max(cpu[:shards]) / batches,
        }


def _await(address: str) -> None:
    """Wait for a shard that can be sampled: a server imports TensorFlow first."""
    end = time.monotonic() + STARTUP_SECONDS
    while True:
        try:
            if table_counts(address)[STUDENT_TABLE].size >= _MIN_ITEMS:
                return
        except ReplayTimeout:
            if time.monotonic() > end:
                raise
        time.sleep(0.1)


def _inserted(addresses: Sequence[str]) -> int:
    return sum(table_counts(address)[STUDENT_TABLE].inserted for address in addresses)


@contextlib.contextmanager
def _writer(address: str) -> Iterator[int]:
    context = multiprocessing.get_context("spawn")
    stop = context.Event()
    process = context.Process(target=_write, args=(address, stop))
    process.start()
    try:
        assert process.pid is not None
        yield process.pid
    finally:
        stop.set()
        process.join(20)
        process.kill()


def _write(address: str, stop: Event) -> None:
    """Items with noise in a tenth of their pixels."""
    frames = noisy_frames(np.random.default_rng(0))
    writer = ReplayWriter(
        address,
        STUDENT_TABLE,
        LAYOUT,
        1,
        options=WriterOptions(connect_timeout_seconds=STARTUP_SECONDS),
    )
    with contextlib.closing(writer):
        step = 0
        while not stop.is_set():
            writer.append(0, StepRow(frames[step % len(frames)], 0, 0.0, False, None))
            step += 1


if __name__ == "__main__":
    main()

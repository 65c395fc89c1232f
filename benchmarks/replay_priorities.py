"""What prioritised replay costs: batches per second beside those of a uniform table.

Two replay servers in processes of their own hold the same items of Atari's size; one draws them
uniformly, the other by priority. The reader takes batches of 32 as the learner does, with nothing
else to do, and in the third case sends new priorities back after each. On a machine that others
use, too, the ratios of CPU time (reader and server together) say more than those of the clock.

Ratios (higher is better):
    prioritised over uniform          batches/s of the prioritised table over the uniform one's
    with updates over uniform         the same with priorities sent back
    ... cpu                           CPU time of a uniform batch over that of the other

    python -m benchmarks.replay_priorities --quick --json
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Mapping

import numpy as np

from benchmarks.harness import Flags, parse_flags, print_outcome
from benchmarks.replay_servers import (
    BATCH_SIZE,
    LAYOUT,
    STARTUP_SECONDS,
    Server,
    noisy_frames,
    replay_server,
)
from benchmarks.teacher.usage import cpu_seconds
from services.replay.item_layout import StepRow
from services.replay.reader import ReplayReader
from services.replay.table_names import STUDENT_TABLE
from services.replay.writer import ReplayWriter, WriterOptions

RATIOS = {
    "prioritised over uniform": ("prioritised /s", "uniform /s"),
    "with updates over uniform": ("with updates /s", "uniform /s"),
    "prioritised over uniform, cpu": ("uniform cpu us", "prioritised cpu us"),
    "with updates over uniform, cpu": ("uniform cpu us", "with updates cpu us"),
}


def main() -> None:
    """Measure and print."""
    flags = parse_flags(__doc__)
    items = flags.pick(full=50_000, quick=5_000, smallest=200)
    batches = flags.pick(full=2_000, quick=300, smallest=10)
    repeats = flags.pick(full=7, quick=3, smallest=1)
    with contextlib.ExitStack() as stack:
        uniform = stack.enter_context(replay_server(min_student_size=items))
        prioritised = stack.enter_context(
            replay_server(min_student_size=items, student_priority_exponent=0.5)
        )
        for server in (uniform, prioritised):
            _fill(server.address, items)
        rounds = [_round(uniform, prioritised, batches) for _ in range(repeats)]
    _print(rounds, flags)


def _print(rounds: list[dict[str, float]], flags: Flags) -> None:
    print(f"batches of {BATCH_SIZE}, items of {LAYOUT.window} frames {LAYOUT.frame_shape}")
    print_outcome(rounds, RATIOS, flags)


def _fill(address: str, items: int) -> None:
    """Items with noise in a tenth of their pixels, and priorities as TD losses are spread."""
    random = np.random.default_rng(0)
    frames = noisy_frames(random)
    writer = ReplayWriter(
        address,
        STUDENT_TABLE,
        LAYOUT,
        1,
        priority=lambda: float(random.exponential()),
        options=WriterOptions(connect_timeout_seconds=STARTUP_SECONDS),
    )
    with contextlib.closing(writer):
        for step in range(items):
            writer.append(0, StepRow(frames[step % len(frames)], 0, 0.0, False, None))
        writer.end_episode(0, frames[0])
        writer.flush(timeout_seconds=60)


def _round(uniform: Server, prioritised: Server, batches: int) -> dict[str, float]:
    measured: dict[str, float] = {}
    for name, server, exponent, updates in (
        ("uniform", uniform, 0.0, False),
        ("prioritised", prioritised, 0.5, False),
        ("with updates", prioritised, 0.5, True),
    ):
        reader = ReplayReader(
            server.address, LAYOUT, 0.99, BATCH_SIZE, importance_exponent=exponent
        )
        with contextlib.closing(reader):
            measured |= _read(name, reader, server, batches, updates)
    return measured


def _read(
    name: str, reader: ReplayReader, server: Server, batches: int, updates: bool
) -> Mapping[str, float]:
    losses = np.random.default_rng(1).exponential(size=(batches, BATCH_SIZE)).astype(np.float32)
    handing_in = 0.0
    reader.sample(STUDENT_TABLE, timeout_seconds=60)
    began, cpu_began = time.perf_counter(), _cpu_seconds(server)
    for loss in losses:
        sample = reader.sample(STUDENT_TABLE, timeout_seconds=60)
        if updates:
            handed_in = time.perf_counter()
            reader.update_priorities(sample, loss)
            handing_in += time.perf_counter() - handed_in
    seconds, cpu = time.perf_counter() - began, _cpu_seconds(server) - cpu_began
    measured = {f"{name} /s": batches / seconds, f"{name} cpu us": 1e6 * cpu / batches}
    if updates:
        measured["update_priorities us"] = 1e6 * handing_in / batches
    return measured


def _cpu_seconds(server: Server) -> float:
    """CPU time of this process and the server's."""
    return time.process_time() + cpu_seconds(server.pid)


if __name__ == "__main__":
    main()

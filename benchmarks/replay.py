"""What replay costs: bytes per transition, batches per second, and each side's CPU time.

Replay servers are separate processes with items of Pong from random play. The reader only takes
batches of 32, in blocks of 10, as the learner does. If all processes share
two cores, more samplers or shards bring no more batches per second; the CPU time per batch
then shows what they cost, and that of the busiest server what a shard takes off each server.

The first table is by the number of rows per compressed chunk (`WriterOptions.chunk_length`), the
second by what is read and how. With writers, two processes insert as fast as the ratio lets them.

Ratios (higher is better, unless stated otherwise):
    bytes over one compressed frame    size of a transition in the server's memory, as written by
                                       default, over one whose frame is compressed alone; lower is
                                       better
    chunk <length>, cpu                CPU time of a batch and its share of the writing (one
                                       transition written per 8 drawn) by default over that length's
    <case>                             batches/s of a case over those of the first
    <case>, cpu                        CPU time of a batch of the first case, reader and servers,
                                       over the case's
    2 shards, load of a server         CPU time of a batch of the only server over the busiest's

    python -m benchmarks.replay --quick --json
"""

from __future__ import annotations

import contextlib
import dataclasses
import statistics
import struct
import time
import zlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.harness import Flags, parse_flags, print_ratios
from benchmarks.replay_servers import (
    BATCH_SIZE,
    LAYOUT,
    STARTUP_SECONDS,
    Server,
    pong_frames,
    replay_server,
    write,
    writer_process,
)
from benchmarks.teacher.usage import cpu_seconds
from services.replay.connection import table_counts
from services.replay.reader import SAMPLERS, ReplayReader, ShardedReader
from services.replay.reverb_library import reverb
from services.replay.table_names import STUDENT_TABLE
from services.replay.writer import WriterOptions

BLOCK = 10
CHUNKS = (1, 2, 4, 8, 16, 64)
RATIO = 8
"""Items drawn for each that is written, in Q-learning with one update of 32 per 4 steps."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Case:
    """What is read, and how.

    Attributes:
        samplers: Reverb's threads in the reader, for each shard.
        shards: Replay servers.
        ratio: Items drawn for each inserted one, by two writers; None for a table at rest.
        block: Batches fetched together.
        priority_exponent: Of the table; above 0, priorities are as spread as TD losses.
        sends_priorities: Whether each batch gets new ones.
    """

    samplers: int = SAMPLERS
    shards: int = 1
    ratio: float | None = None
    block: int = BLOCK
    priority_exponent: float = 0.0
    sends_priorities: bool = False


CASES = {
    "1 sampler": Case(samplers=1),
    "2 samplers": Case(samplers=2),
    "4 samplers": Case(samplers=4),
    "8 samplers": Case(samplers=8),
    "2 shards": Case(shards=2),
    "ratio 2": Case(ratio=2),
    "ratio 8": Case(ratio=RATIO),
    "ratio 32": Case(ratio=32),
    "ratio 8, 2 shards": Case(ratio=RATIO, shards=2),
    "single batches": Case(block=1),
    "prioritised": Case(block=1, priority_exponent=0.5),
    "prioritised, updates": Case(block=1, priority_exponent=0.5, sends_priorities=True),
}

_QUICK_CASES = [
    name for name in CASES if name not in ("8 samplers", "ratio 2", "ratio 32", "single batches")
]


def main() -> None:
    """Measure and print."""
    flags = parse_flags(__doc__)
    repeats = flags.pick(full=5, quick=2, smallest=1)
    items = flags.pick(full=20_000, quick=4_000, smallest=400)
    batches = flags.pick(full=1_000, quick=200, smallest=20)
    frames = pong_frames(min(items, 4_000))
    chunks = flags.pick(
        full=CHUNKS, quick=(1, 4, 8, 16), smallest=(1, WriterOptions().chunk_length)
    )
    of_chunks = {length: _chunk(length, frames, items, batches, repeats) for length in chunks}
    _print_table("chunk", of_chunks)
    names = flags.pick(
        full=[*CASES], quick=_QUICK_CASES, smallest=["1 sampler", "ratio 8, 2 shards"]
    )
    rounds = [
        {name: _measure(CASES[name], frames, items, batches) for name in names}
        for _ in range(repeats)
    ]
    of_cases = {name: _median([one[name] for one in rounds]) for name in names}
    _print_table("case", of_cases)
    _print(of_chunks, of_cases, flags)


def _print(
    of_chunks: Mapping[int, Mapping[str, float]],
    of_cases: Mapping[str, Mapping[str, float]],
    flags: Flags,
) -> None:
    usual, one_frame = of_chunks[WriterOptions().chunk_length], of_chunks[1]["bytes"]
    ratios = {"bytes over one compressed frame": usual["bytes"] / one_frame}
    for length, found in of_chunks.items():
        ratios[f"chunk {length}, cpu"] = _cost(usual) / _cost(found)
    first, *others = of_cases
    base = of_cases[first]
    for name in others:
        found = of_cases[name]
        ratios[name] = found["batches/s"] / base["batches/s"]
        ratios[f"{name}, cpu"] = _reading(base) / _reading(found)
    if "2 shards" in of_cases:
        busiest = of_cases["2 shards"]["busiest us"]
        ratios["2 shards, load of a server"] = base["busiest us"] / busiest
    print_ratios(ratios, flags, chunks=of_chunks, cases=of_cases)


def _cost(found: Mapping[str, float]) -> float:
    written = BATCH_SIZE / RATIO * (found["writer us/row"] + found["server us/row"])
    return _reading(found) + written


def _reading(found: Mapping[str, float]) -> float:
    return found["reader us"] + found["servers us"]


def _chunk(
    length: int, frames: NDArray[np.uint8], items: int, batches: int, repeats: int
) -> Mapping[str, float]:
    """Writing and reading a table whose rows are compressed in so many together."""
    with replay_server() as server:
        _await([server])
        own, its = time.process_time(), cpu_seconds(server.pid)
        write(server.address, frames, items, chunk_length=length)
        own, its = time.process_time() - own, cpu_seconds(server.pid) - its
        found = [_read([server], Case(), batches) for _ in range(repeats)]
        return {
            "bytes": _held_bytes(server) / items,
            "writer us/row": 1e6 * own / items,
            "server us/row": 1e6 * its / items,
        } | _median(found)


def _held_bytes(server: Server) -> int:
    """Bytes of all rows as the server holds them, compressed.

    A checkpoint has them as they are, in records (length, checksum, data, checksum) within zlib.
    """
    folder = Path(reverb.Client(server.address).checkpoint())
    records = zlib.decompress((folder / "chunks.tfrecord").read_bytes())
    place, held = 0, 0
    while place < len(records):
        (length,) = struct.unpack_from("<Q", records, place)
        held += length
        place += 16 + length
    return held


def _measure(
    case: Case, frames: NDArray[np.uint8], items: int, batches: int
) -> Mapping[str, float]:
    settings: dict[str, Any] = {"student_priority_exponent": case.priority_exponent}
    if case.ratio is not None:
        buffer = 2.0 * BLOCK * BATCH_SIZE
        settings |= {"samples_per_insert": case.ratio, "error_buffer": buffer}
        settings["min_student_size"] = items
    with contextlib.ExitStack() as stack:
        servers = [stack.enter_context(replay_server(**settings)) for _ in range(case.shards)]
        for server in servers:
            write(server.address, frames, items, random_priorities=case.priority_exponent > 0)
        writers = [
            stack.enter_context(writer_process(servers[index % case.shards].address))
            for index in range(0 if case.ratio is None else 2)
        ]
        return _read(servers, case, batches, writers)


def _read(
    servers: Sequence[Server], case: Case, batches: int, writers: Sequence[int] = ()
) -> dict[str, float]:
    """Batches per second, and microseconds of CPU per batch by process."""
    reader = ShardedReader(
        [
            ReplayReader(
                server.address,
                LAYOUT,
                0.99,
                BATCH_SIZE,
                block_batches=case.block,
                importance_exponent=case.priority_exponent,
                samplers=case.samplers,
            )
            for server in servers
        ]
    )
    losses = np.random.default_rng(1).exponential(size=(case.block, BATCH_SIZE)).astype(np.float32)
    updates, blocks = range(case.block), -(-batches // case.block)
    pids = [*(server.pid for server in servers), *writers]
    with contextlib.closing(reader):
        for _ in range(4 * len(servers)):
            reader.sample_mixed(0.0, timeout_seconds=STARTUP_SECONDS, updates=updates)
        cpu, own, began = [cpu_seconds(pid) for pid in pids], time.process_time(), time.monotonic()
        for _ in range(blocks):
            drawn = reader.sample_mixed(0.0, timeout_seconds=STARTUP_SECONDS, updates=updates)
            if case.sends_priorities:
                reader.update_priorities(drawn, losses)
        seconds, own = time.monotonic() - began, time.process_time() - own
    cpu = [cpu_seconds(pid) - before for pid, before in zip(pids, cpu, strict=True)]
    per_batch = 1e6 / (blocks * case.block)
    return {
        "batches/s": blocks * case.block / seconds,
        "reader us": per_batch * own,
        "servers us": per_batch * sum(cpu[: len(servers)]),
        "busiest us": per_batch * max(cpu[: len(servers)]),
        "writers us": per_batch * sum(cpu[len(servers) :]),
    }


def _await(servers: Sequence[Server]) -> None:
    for server in servers:
        write(server.address, np.zeros((1, *LAYOUT.frame_shape), np.uint8), 1)
        assert table_counts(server.address)[STUDENT_TABLE].size == 1


def _median(found: Sequence[Mapping[str, float]]) -> dict[str, float]:
    return {name: statistics.median(one[name] for one in found) for name in found[0]}


def _print_table(title: str, rows: Mapping[Any, Mapping[str, float]]) -> None:
    columns = [*next(iter(rows.values()))]
    print(f"\n{title:<22}" + "".join(f"{name:>15}" for name in columns))
    for name, found in rows.items():
        print(f"{name:<22}" + "".join(f"{found[column]:15.1f}" for column in columns))


if __name__ == "__main__":
    main()

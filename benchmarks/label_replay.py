"""What labelling a replay buffer costs: transitions per second relative to the bare forward pass.

A buffer of real Pong frames, wrapped around its cursor, is written as Dopamine writes it. The pass
is that of `rrl teacher label --address`, in a new process: unpacking, stacking, querying over
shared memory, writing labels. The service is `rrl teacher serve` in a separate process, once
with JAX and once with the backend that it chooses. The bare forward passes are the policies in a
loop with one caller and one batch, at their best batch size, before and after each pass.

On a CPU all of them share the cores. On a machine with other work, use the ratios of CPU time
rather than those of wall time.

Ratios (higher is better):
    jax over bare jax            transitions/s of the pass over states/s of the bare jitted forward
                                 pass, with the same network computed by JAX on both sides
    chosen over bare jax         the same for the backend that the service chooses
    chosen over bare chosen      over that backend's own bare forward pass
    ... cpu                      CPU time of the bare forward pass over that of pass and service

    python -m benchmarks.label_replay --quick --json
"""

from __future__ import annotations

import contextlib
import gzip
import os
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.harness import make_parser, print_outcome, read_flags
from benchmarks.label_pass import peak_bytes, run_pass
from benchmarks.teacher.bare import BareForward, Speed, bare_forward
from benchmarks.teacher.service import CHECKPOINT, Service, teacher_service
from benchmarks.teacher.usage import cpu_seconds
from rrl_agents.environments.registry import EnvironmentConfig, make_environment
from services.shared.allocator import keep_large_buffers

STACK, HORIZON, ITERATION = 4, 1, 0
PLAYED_STEPS = 4000
"""Frames of real play; longer buffers repeat them. A window of gzip holds four frames: it cannot
tell."""

NUM_ENVS = 4

RATIOS = {
    "jax over bare jax": ("label jax /s", "bare jax /s"),
    "chosen over bare jax": ("label chosen /s", "bare jax /s"),
    "chosen over bare chosen": ("label chosen /s", "bare chosen /s"),
    "jax over bare jax, cpu": ("bare jax cpu us", "label jax cpu us"),
    "chosen over bare jax, cpu": ("bare jax cpu us", "label chosen cpu us"),
    "chosen over bare chosen, cpu": ("bare chosen cpu us", "label chosen cpu us"),
}


def main() -> None:
    """Measure and print."""
    parser = make_parser(__doc__)
    parser.add_argument("--rows", type=int, help="rows of the buffer; 20,000 by default")
    parser.add_argument("--checkpoint", default=CHECKPOINT, help="Pong teacher to label with")
    flags, given = read_flags(parser)
    rows = flags.pick(full=20_000, quick=6_000, smallest=400) if given.rows is None else given.rows
    repeats = flags.pick(full=5, quick=2, smallest=1)
    seconds = flags.pick(full=1.0, quick=1.0, smallest=0.1)
    keep_large_buffers()
    with tempfile.TemporaryDirectory() as folder, contextlib.ExitStack() as stack:
        data = Path(folder, "data")
        packed = write_buffer(data, rows)
        print(f"{os.cpu_count()} CPUs, load {os.getloadavg()[0]:.2f}; {rows} rows, {packed} bytes")
        services = {
            name: stack.enter_context(teacher_service(given.checkpoint, "--backend", backend))
            for name, backend in (("jax", "jax"), ("chosen", "auto"))
        }
        bare = {
            name: bare_forward(name, given.checkpoint, service, seconds)
            for name, service in services.items()
        }
        rounds = [
            _round(data, Path(folder, f"labels{number}"), services, bare, seconds)
            for number in range(repeats)
        ]
    print_outcome(rounds, RATIOS, flags)


def write_buffer(directory: Path, rows: int) -> int:
    """Write a full buffer of real play, its cursor at a third; how many bytes its frames take."""
    directory.mkdir()
    added = rows + rows // 3
    for name, column in _played().items():
        _write_repeated(directory / f"$store$_{name}_ckpt.{ITERATION}.gz", column, rows)
    around = (added - HORIZON + np.arange(STACK + HORIZON)) % rows
    for name, array in (("add_count", np.array(added)), ("invalid_range", around)):
        with gzip.open(directory / f"{name}_ckpt.{ITERATION}.gz", "wb") as file:
            np.save(file, array, allow_pickle=False)
    return (directory / f"$store$_observation_ckpt.{ITERATION}.gz").stat().st_size


def _write_repeated(path: Path, column: NDArray[Any], rows: int) -> None:
    """As `numpy.save` would write the column, repeated up to so many rows."""
    header = {
        "descr": column.dtype.str,
        "fortran_order": False,
        "shape": (rows, *column.shape[1:]),
    }
    with gzip.open(path, "wb") as file:
        np.lib.format.write_array_header_1_0(file, header)  # type: ignore[no-untyped-call]
        for start in range(0, rows, len(column)):
            file.write(column[: rows - start].tobytes())


def _played() -> dict[str, NDArray[Any]]:
    """The columns of random play, one environment after the other."""
    environment = make_environment(EnvironmentConfig(game="pong"), NUM_ENVS)
    random = np.random.default_rng(0)
    with contextlib.closing(environment):
        frame = environment.reset(0)[..., -1].copy()
        played = []
        for _ in range(PLAYED_STEPS // NUM_ENVS):
            action = random.integers(environment.spec.num_actions, size=NUM_ENVS)
            step = environment.step(action)
            played.append((frame, action, step.reward, step.terminated))
            frame = step.observation[..., -1].copy()
    columns = (np.concatenate(np.stack(steps, axis=1)) for steps in zip(*played, strict=True))
    frames, actions, rewards, terminals = columns
    return {
        "observation": frames,
        "action": actions.astype(np.int32),
        "reward": np.clip(rewards, -1, 1).astype(np.float32),
        "terminal": terminals.astype(np.uint8),
    }


def _round(
    data: Path,
    labels: Path,
    services: Mapping[str, Service],
    bare: Mapping[str, BareForward],
    seconds: float,
) -> dict[str, float]:
    measured: dict[str, float] = {}
    speeds: dict[str, list[Speed]] = {name: [] for name in bare}

    def measure_bare() -> None:
        for name, forward in bare.items():
            speeds[name].append(forward.measure(seconds))

    measure_bare()
    for name, service in services.items():
        before = cpu_seconds(service.pid)
        done = run_pass(data, service.address, labels / name)
        cpu = cpu_seconds(service.pid) - before + done.cpu_seconds
        measured[f"label {name} /s"] = done.transitions / done.seconds
        measured[f"label {name} cpu us"] = 1e6 * cpu / done.transitions
        measured[f"label {name} own cpu us"] = 1e6 * done.cpu_seconds / done.transitions
        measured[f"label {name} import MiB"] = done.resident_bytes / 2**20
        measured[f"label {name} peak MiB"] = done.peak_bytes / 2**20
        measured[f"service {name} peak MiB"] = peak_bytes(service.pid) / 2**20
        measure_bare()
    for name, seen in speeds.items():
        measured[f"bare {name} /s"] = float(np.mean([each.states_per_second for each in seen]))
        measured[f"bare {name} cpu us"] = float(np.mean([each.cpu_us_per_state for each in seen]))
    return measured


if __name__ == "__main__":
    main()

"""What a GPU can do and how much of it the service achieves: batch sizes, types, replicas.

The network is the Nature DQN's with random weights, which do not affect the speed. First the bare
forward pass, in this process, by batch size in float32 and bfloat16, and the difference between the
two; then the service in bfloat16, as one process and as replicas that share the device,
queried by several client processes with observations in messages and in shared memory. Without a
GPU it ends with an error; `--cpu` measures the same on the CPU, and so does `--smallest`.

Ratios (higher is better): served states/s over the bare forward pass's, in bfloat16 at its best
batch size.

    python -m benchmarks.teacher.device --quick --json
"""

from __future__ import annotations

import contextlib
import os
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import jax
import numpy as np
from numpy.typing import NDArray

from benchmarks.harness import make_parser, print_ratios, read_flags
from benchmarks.teacher.closed_loop import load_process
from benchmarks.teacher.load import Load, run_load
from benchmarks.teacher.service import Service, teacher_service
from rrl_agents.checkpoints.params_codec import params_hash, params_to_bytes
from rrl_agents.checkpoints.teacher_card import Teacher, TeacherCard
from rrl_agents.checkpoints.teacher_directory import save_teacher
from rrl_agents.networks.config import NetworkConfig
from rrl_agents.networks.registry import initial_params, make_network
from services.teacher.policies.jax_policy import JaxPolicy

OBSERVATION_SHAPE = (84, 84, 4)
BATCH_SIZES = (1, 8, 32, 64, 128, 256, 512, 1024)
REPLICAS = (1, 2, 4)
"""Services on the device at once."""
LOAD_PROCESSES = 8

_PLACES = {"messages": False, "shared memory": True}
_CLIENTS_PER_PROCESS, _ROWS = 16, 32
_NUM_ACTIONS = 18
_CPU_BATCH_SIZES = (1, 8, 32)


def main() -> None:
    """Measure and print."""
    parser = make_parser(__doc__)
    parser.add_argument("--cpu", action="store_true", help="run on the CPU instead, to try it")
    flags, given = read_flags(parser)
    on_cpu = given.cpu or flags.size == "smallest"
    # The service's process has its share of the device's memory, too.
    os.environ["XLA_PYTHON_CLIENT_PREALLOCATE"] = "false"
    if on_cpu:
        os.environ["JAX_PLATFORMS"] = "cpu"
        jax.config.update("jax_platforms", "cpu")  # type: ignore[no-untyped-call]
    device = jax.devices()[0]
    if device.platform == "cpu" and not on_cpu:
        sys.exit("JAX finds no GPU here; --cpu measures the same on the CPU")
    print(f"device: {device.device_kind}")
    seconds = flags.pick(full=3.0, quick=1.0, smallest=0.2)
    teacher = _random_teacher()
    bare = _bare_rates(teacher, _CPU_BATCH_SIZES if on_cpu else BATCH_SIZES, seconds)
    tried = flags.pick(full=REPLICAS, quick=REPLICAS, smallest=REPLICAS[:1])
    served: dict[str, float] = {}
    with tempfile.TemporaryDirectory() as folder:
        save_teacher(Path(folder) / "teacher", teacher.params, teacher.card)
        for replicas in tried:
            served |= _served_rates(str(Path(folder) / "teacher"), replicas, seconds)
    best = max(rate for name, rate in bare.items() if name.startswith("bare bfloat16"))
    ratios = {f"{name} over bare": rate / best for name, rate in served.items()}
    print_ratios(ratios, flags, states_per_second=bare | served)


def _random_teacher() -> Teacher:
    config = NetworkConfig()
    network = make_network(config, _NUM_ACTIONS)
    params = jax.device_get(initial_params(network, jax.random.key(0), OBSERVATION_SHAPE))
    card = TeacherCard(
        name="random weights",
        game="unknown",
        network=config,
        num_actions=_NUM_ACTIONS,
        observation_shape=OBSERVATION_SHAPE,
        made="random weights, for measurements of speed",
        parameters_sha256=params_hash(params_to_bytes(params)),
    )
    return Teacher(params=params, card=card)


def _bare_rates(teacher: Teacher, sizes: Sequence[int], seconds: float) -> dict[str, float]:
    shape = (max(sizes), *OBSERVATION_SHAPE)
    states = np.random.default_rng(0).integers(0, 256, shape, np.uint8)
    policies = {dtype: JaxPolicy(teacher, dtype=dtype) for dtype in ("float32", "bfloat16")}
    found = {}
    for rows in sizes:
        for dtype, policy in policies.items():
            rate = _rate(policy, states[:rows], seconds)
            found[f"bare {dtype} {rows}"] = round(rate, 1)
            print(f"bare {dtype:<9} batch {rows:>5}: {rate:10.0f} states/s")
    wide, narrow = (policy.evaluate(states[: sizes[-1]]) for policy in policies.values())
    # Relative to the largest value: single ones may be near zero.
    error = float(np.abs(wide - narrow).max() / np.abs(wide).max())
    print(f"bfloat16 differs from float32 by at most {error:.1e} of the largest value")
    return found


def _rate(policy: JaxPolicy, states: NDArray[np.uint8], seconds: float) -> float:
    policy.evaluate(states)
    calls, start = 0, time.perf_counter()
    while (spent := time.perf_counter() - start) < seconds:
        policy.evaluate(states)
        calls += 1
    return len(states) * calls / spent


def _served_rates(checkpoint: str, replicas: int, seconds: float) -> dict[str, float]:
    flags = ["--backend", "jax", "--dtype", "bfloat16"]
    found = {}
    with contextlib.ExitStack() as stack:
        services = [
            stack.enter_context(teacher_service(checkpoint, *flags)) for _ in range(replicas)
        ]
        for place, shared_memory in _PLACES.items():
            rate = _served_rate(services, shared_memory, seconds)
            name = f"served {replicas} replicas {place}"
            found[name] = round(rate, 1)
            print(f"{name:<52}: {rate:10.0f} states/s", flush=True)
    return found


def _served_rate(services: Sequence[Service], shared_memory: bool, seconds: float) -> float:
    """States per second of several client processes together."""
    load = Load(
        address=",".join(service.address for service in services),
        shared_memory=shared_memory,
        clients=_CLIENTS_PER_PROCESS,
        rows=_ROWS,
    )
    with load_process(LOAD_PROCESSES) as processes:
        jobs = [
            processes.submit(run_load, load, services[0].pid, seconds)
            for _ in range(LOAD_PROCESSES)
        ]
        return sum(job.result().states_per_second for job in jobs)


if __name__ == "__main__":
    main()

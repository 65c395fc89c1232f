"""What a GPU can do and how much of it the service gets out: batch sizes, types, front ends.

The network is the Nature DQN's with random weights: speed does not depend on them. First the bare
forward, in this process, by batch size in float32 and bfloat16, and how far bfloat16's answers are
from float32's; then the service in bfloat16 with 0, 1, 2 and 4 front ends, asked by several client
processes over TCP streams and the same-host path. Without a GPU it ends with an error; `--cpu`
measures the same on the CPU, and so does `--smallest`.

Ratios (higher is better): served states/s over the bare forward's, in bfloat16 at its best size.

    python -m benchmarks.teacher.device --quick --json
"""

from __future__ import annotations

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
from rrl_agents.networks.registry import NetworkConfig, initial_params, make_network
from rrl_client.settings import Transport
from services.teacher.policies.jax_policy import JaxPolicy

OBSERVATION_SHAPE = (84, 84, 4)
BATCH_SIZES = (1, 8, 32, 64, 128, 256, 512, 1024)
FRONT_ENDS = (0, 1, 2, 4)
LOAD_PROCESSES = 4

_TRANSPORTS: tuple[Transport, ...] = ("stream", "same_host")
_CLIENTS_PER_PROCESS, _ROWS = 16, 32
_NUM_ACTIONS = 18
_CPU_BATCH_SIZES = (1, 8, 32)


def main() -> None:
    """Measure and print."""
    parser = make_parser(__doc__)
    parser.add_argument("--cpu", action="store_true", help="do all the same on the CPU, to try it")
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
    counts = flags.pick(full=FRONT_ENDS, quick=FRONT_ENDS, smallest=FRONT_ENDS[:1])
    served: dict[str, float] = {}
    with tempfile.TemporaryDirectory() as folder:
        save_teacher(Path(folder) / "teacher", teacher.params, teacher.card)
        for front_ends in counts[:2] if on_cpu else counts:
            served |= _served_rates(str(Path(folder) / "teacher"), front_ends, seconds)
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


def _served_rates(checkpoint: str, front_ends: int, seconds: float) -> dict[str, float]:
    flags = ["--backend", "jax", "--dtype", "bfloat16"]
    if front_ends:
        flags += ["--front-ends", str(front_ends)]
    found = {}
    with teacher_service(checkpoint, *flags) as service:
        for transport in _TRANSPORTS:
            rate, cpu = _served_rate(service, transport, seconds)
            found[f"served {transport} front ends {front_ends}"] = round(rate, 1)
            print(
                f"served over {transport:<9} with {front_ends} front ends: {rate:10.0f} states/s, "
                f"server CPU {cpu:.0f} us per state"
            )
    return found


def _served_rate(service: Service, transport: Transport, seconds: float) -> tuple[float, float]:
    """States per second of several client processes together, and server CPU us per state."""
    load = Load(
        address=service.address, transport=transport, clients=_CLIENTS_PER_PROCESS, rows=_ROWS
    )
    with load_process(LOAD_PROCESSES) as processes:
        jobs = [
            processes.submit(run_load, load, service.pid, seconds) for _ in range(LOAD_PROCESSES)
        ]
        outcomes = [job.result() for job in jobs]
    rate = sum(outcome.states_per_second for outcome in outcomes)
    # Each process sees the whole server's time, over its own states alone.
    server_seconds = np.mean(
        [outcome.server_us_per_state * outcome.states_per_second for outcome in outcomes]
    )
    return rate, float(server_seconds / rate)


if __name__ == "__main__":
    main()

"""What the parts of a run cost on their own, in CPU seconds: environment steps, networks, updates.

Two processes measure at once, one playing and one updating, as in a run: cores that share caches,
or are two threads of one core, are slower when both are busy.
"""

from __future__ import annotations

import dataclasses
import multiprocessing
import os
import time
from collections.abc import Callable
from multiprocessing.synchronize import Event
from typing import Any

import numpy as np

from benchmarks.roles import ACTOR_ENVIRONMENT
from rrl_agents.environments.registry import EnvironmentConfig
from rrl_agents.networks.config import ComputeType, NetworkConfig
from rrl_agents.reincarnation.registry import MethodConfig
from rrl_agents.students.config import StudentConfig

_STARTUP_SECONDS = 300.0
_SLICE_SECONDS = 0.3


@dataclasses.dataclass(frozen=True, kw_only=True)
class Parts:
    """What is measured.

    Attributes:
        environment: What is played.
        num_envs: Environments stepped together, states of one forward pass.
        network: The student's architecture.
        student: Its algorithm.
        teacher: The teacher's checkpoint.
        method: Whose update is measured.
        dtype: What the update's layers compute in.
    """

    environment: EnvironmentConfig
    num_envs: int
    network: NetworkConfig
    student: StudentConfig
    teacher: str
    method: MethodConfig
    dtype: ComputeType


@dataclasses.dataclass(frozen=True, kw_only=True)
class BareCosts:
    """CPU seconds.

    Attributes:
        env_step: Of one step of one environment.
        student_state: Of the student's forward pass, for each state.
        teacher_state: Of the teacher's, by the backend that it chooses.
        update: Of one update.
    """

    env_step: float
    student_state: float
    teacher_state: float
    update: float


def measure_bare(parts: Parts, seconds: float) -> BareCosts:
    """Measure all parts.

    Args:
        parts: What is measured.
        seconds: Time for the measurement, beside compilation.
    """
    context = multiprocessing.get_context("spawn")
    ready, stop = context.Barrier(2), context.Event()
    found: Any = context.Queue()
    playing = context.Process(target=_play, args=(parts, seconds, ready, stop, found))
    updating = context.Process(target=_update, args=(parts, ready, stop, found))
    # Read when JAX first computes.
    before = dict(os.environ)
    os.environ.update(ACTOR_ENVIRONMENT)
    playing.start()
    os.environ.clear()
    os.environ.update(before)
    updating.start()
    try:
        costs = found.get(timeout=_STARTUP_SECONDS + seconds)
        costs |= found.get(timeout=_STARTUP_SECONDS)
    finally:
        stop.set()
        for process in (playing, updating):
            process.join(30)
            process.kill()
    return BareCosts(**costs)


def _play(parts: Parts, seconds: float, ready: Any, stop: Event, found: Any) -> None:
    from rrl_agents.environments.registry import make_environment
    from services.teacher.policies.loading import load_policy

    environment = make_environment(parts.environment, parts.num_envs)
    spec, random = environment.spec, np.random.default_rng(0)
    observations = environment.reset(0)
    teacher = load_policy(parts.teacher)

    def step() -> None:
        environment.step(random.integers(0, spec.num_actions, parts.num_envs))

    kinds: dict[str, Callable[[], object]] = {
        "env_step": step,
        "student_state": _forward(parts.network, observations, spec.num_actions),
        "teacher_state": lambda: teacher.evaluate(observations),
    }
    for kind in kinds.values():
        kind()
    spent, calls = dict.fromkeys(kinds, 0.0), dict.fromkeys(kinds, 0)
    ready.wait(_STARTUP_SECONDS)
    end = time.perf_counter() + seconds
    while time.perf_counter() < end or not all(calls.values()):
        for name, kind in kinds.items():
            slice_end, before = time.perf_counter() + _SLICE_SECONDS, time.process_time()
            while time.perf_counter() < slice_end:
                kind()
                calls[name] += 1
            spent[name] += time.process_time() - before
    stop.set()
    environment.close()
    found.put({name: spent[name] / calls[name] / parts.num_envs for name in kinds})


def _forward(network_config: NetworkConfig, observations: Any, actions: int) -> Callable[[], None]:
    import jax

    from rrl_agents.behaviour.epsilon_greedy import make_policy
    from rrl_agents.networks.registry import initial_params, make_network

    network = make_network(network_config, actions)
    params = initial_params(network, jax.random.key(0), observations.shape[1:])
    policy = make_policy(network)

    def forward() -> None:
        np.asarray(policy(params, observations, 0, 0.0)[0])

    return forward


def _update(parts: Parts, ready: Any, stop: Event, found: Any) -> None:
    from benchmarks.bare_update import BLOCK, BareUpdate, random_batch
    from rrl_agents.environments.registry import make_environment
    from rrl_agents.reincarnation.registry import make_recipe

    environment = make_environment(parts.environment, 1)
    spec = environment.spec
    environment.close()
    recipe = make_recipe(parts.method)
    batch = random_batch(spec, recipe.q_learning.batch_size)
    bare = BareUpdate(recipe, parts.network, parts.student, spec, batch, dtype=parts.dtype)
    bare.repeat(seconds=0)
    updates = 0
    ready.wait(_STARTUP_SECONDS)
    before = time.process_time()
    while not stop.is_set() or updates == 0:
        updates += bare.make(BLOCK)
    found.put({"update": (time.process_time() - before) / updates})

"""Whether a system works again: everybody serves, and everything that should move does."""

from __future__ import annotations

import dataclasses
import time

import grpc
import jax
import numpy as np
from grpc_health.v1 import health_pb2, health_pb2_grpc

from rrl_agents.types import Progress, Stage
from services.learner.client import LearnerClient, LearnerUnavailable, Purpose
from tests.faults.ports import LOOPBACK
from tests.faults.system import ACTORS, EVALUATOR, LEARNER, REPLAY, TEACHER, System
from tests.faults.watch import Watch, agent_steps

_LOOK_SECONDS = 0.1
_HEALTH_SECONDS = 1.0
_MORE_UPDATES = 50
_MORE_STEPS = 100
"""More than what lies in queues and may still arrive while a peer is gone."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Recovery:
    """How a system came back.

    Attributes:
        serving_seconds: Until everybody was alive and healthy.
        seconds: Until all clocks and all links moved again.
        last: What came back last.
        missing: What did not, in the time allowed; empty when it is well.
    """

    serving_seconds: float
    seconds: float
    last: str
    missing: tuple[str, ...]


def await_recovery(system: System, watch: Watch, since: float, patience_seconds: float) -> Recovery:
    """Wait until a system works again.

    Args:
        system: Which.
        watch: On it.
        since: `time.monotonic()` from which on it can.
        patience_seconds: Longest wait.
    """
    end = since + patience_seconds
    last = "nothing was away"
    while (missing := _not_serving(system)) and time.monotonic() < end:
        last = missing[0]
        time.sleep(_LOOK_SECONDS)
    serving_at = time.monotonic()
    if not missing:
        answered = system.links.answered()
        while (missing := _not_moving(system, watch, serving_at, answered)) and (
            time.monotonic() < end
        ):
            last = missing[0]
            time.sleep(_LOOK_SECONDS)
    return Recovery(
        serving_seconds=serving_at - since,
        seconds=time.monotonic() - since,
        last=last,
        missing=tuple(missing),
    )


def _not_serving(system: System) -> list[str]:
    ports = {
        TEACHER: system.ports.teacher,
        REPLAY: system.ports.control,
        LEARNER: system.ports.learner,
    }
    missing = []
    for role in system.supervisor.roles:
        if system.supervisor.pid(role) is None:
            missing.append(f"{role} has no process")
        elif role in ports and not is_healthy(f"{LOOPBACK}:{ports[role]}"):
            missing.append(f"{role} is not healthy")
    return missing


def is_healthy(address: str) -> bool:
    """What a probe of grpc.health.v1 says."""
    with grpc.insecure_channel(address) as channel:
        try:
            answer = health_pb2_grpc.HealthStub(channel).Check(
                health_pb2.HealthCheckRequest(), timeout=_HEALTH_SECONDS
            )
        except grpc.RpcError:
            return False
        return bool(answer.status == health_pb2.HealthCheckResponse.SERVING)


def _not_moving(
    system: System, watch: Watch, since: float, answered: dict[tuple[str, str], int]
) -> list[str]:
    samples = watch.samples_since(since)
    if not samples:
        return ["the learner says nothing"]
    # Where the learner goes back to a checkpoint after `since`, its way begins there.
    lowest = min(samples, key=lambda sample: sample.progress.learner_updates).progress
    now = samples[-1].progress
    missing = _clocks_standing(lowest, now)
    links = system.links.answered()
    quiet = {ends for ends, count in links.items() if count <= answered[ends]}
    missing += [f"{client} hears nothing of {server}" for client, server in _needed(now) & quiet]
    return missing


def _clocks_standing(before: Progress, now: Progress) -> list[str]:
    missing = []
    acts = now.stage in (Stage.COLLECT, Stage.ONLINE)
    if acts and agent_steps(now) < agent_steps(before) + _MORE_STEPS:
        missing.append(f"agent steps stand at {agent_steps(now)}")
    learns = now.stage in (Stage.OFFLINE, Stage.ONLINE)
    if learns and now.learner_updates < before.learner_updates + _MORE_UPDATES:
        missing.append(f"updates stand at {now.learner_updates}")
    if now.stage is Stage.ONLINE and now.evaluations <= before.evaluations:
        missing.append(f"evaluations stand at {now.evaluations}")
    return missing


def _needed(progress: Progress) -> set[tuple[str, str]]:
    """Links that carry something in a stage."""
    needed = {(client, LEARNER) for client in (EVALUATOR, *ACTORS)} | {(LEARNER, REPLAY)}
    if progress.stage in (Stage.COLLECT, Stage.ONLINE):
        needed |= {(actor, server) for actor in ACTORS for server in (REPLAY, TEACHER)}
    return needed


def weights_are_finite(system: System) -> bool | None:
    """Whether the weights that the learner gives out are; None where it gives none."""
    client = LearnerClient(f"{LOOPBACK}:{system.ports.learner}")
    try:
        params = client.fetch(0, Purpose.ACT).params
    except LearnerUnavailable:
        return None
    finally:
        client.close()
    if params is None:
        return None
    return all(bool(np.isfinite(leaf).all()) for leaf in jax.tree.leaves(params))

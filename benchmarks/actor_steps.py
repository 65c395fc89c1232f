"""What an actor costs: its steps per second against bare environments, and with a bare policy.

Teacher service and replay server run as processes of their own; the weights come from the real
weight server. The actor is the whole `Actor.run`: policy, environments, teacher queries, writing.
It is counted where its transitions arrive, in the student's table, whose rate limiter is set to
hold nobody back. The bare environments take random actions; the bare policy is the same compiled
network. All take turns, so that a slower minute of the machine meets all. On a CPU teacher and
replay share the cores: the ratios hold their cost too.

Ratios (higher is better):
    taught_actor_over_env           actor with a query for every state, over the bare environments
    weaned_actor_over_env           actor without queries, over the bare environments
    taught_actor_over_env_policy    the same actors over the environments with the bare policy
    weaned_actor_over_env_policy

    python benchmarks/actor_steps.py --quick --json
"""

from __future__ import annotations

import contextlib
import dataclasses
import os
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import jax
import numpy as np
from harness import parse_flags, print_outcome, replay_service, teacher_service
from numpy.typing import NDArray

from protos.rrl.learner.v1 import learner_pb2
from rrl_agents.behaviour.epsilon_greedy import make_policy
from rrl_agents.environments.registry import make_environment
from rrl_agents.networks.registry import initial_params, make_network
from rrl_agents.types import Params, Progress, Stage
from services.actor.loop import Actor, build_actor
from services.launcher.experiment import Experiment
from services.launcher.presets import DEMO, PRESETS
from services.launcher.resolution import resolve
from services.learner.codec import EvaluationReport, progress_to_proto
from services.learner.evaluation_desk import UnknownWeights
from services.learner.weight_server import WeightServer
from services.learner.weight_store import Offer, Snapshot
from services.replay.reader import STUDENT_TABLE, table_counts

EXPERIMENT = PRESETS["qdagger"][DEMO]
# Far more steps than are played here: nothing is sampled, so inserts would block beyond.
UNLIMITED = ("--method.q-learning.min-replay-size", "500000", "--replay-capacity", "500000")
SETTLE_SECONDS = 1.5

RATIOS = {
    "taught_actor_over_env": ("taught_actor_steps_per_s", "env_steps_per_s"),
    "weaned_actor_over_env": ("weaned_actor_steps_per_s", "env_steps_per_s"),
    "taught_actor_over_env_policy": ("taught_actor_steps_per_s", "env_policy_steps_per_s"),
    "weaned_actor_over_env_policy": ("weaned_actor_steps_per_s", "env_policy_steps_per_s"),
}


def main() -> None:
    """Measure and print."""
    flags = parse_flags(__doc__)
    repeats, seconds = (2, 1.5) if flags.quick else (7, 5.0)
    experiment = resolve(EXPERIMENT)
    # As the launcher starts actors; read when JAX first computes.
    os.environ.update(experiment.process_environment("actor"))
    jax.config.update("jax_platforms", "cpu")  # type: ignore[no-untyped-call]
    bare = _Bare(experiment)
    with (
        tempfile.TemporaryDirectory() as folder,
        teacher_service(EXPERIMENT.teacher.checkpoint) as teacher,
        replay_service(Path(folder), "qdagger", *UNLIMITED) as replay,
        _paused_actor(experiment, bare.params, teacher, replay.data) as run,
    ):
        rounds = [
            {
                "env_steps_per_s": bare.rate(bare.random_actions, seconds),
                "env_policy_steps_per_s": bare.rate(bare.policy_actions, seconds),
                "weaned_actor_steps_per_s": _actor_rate(run, replay.data, 0.0, seconds),
                "taught_actor_steps_per_s": _actor_rate(run, replay.data, 1.0, seconds),
            }
            for _ in range(repeats)
        ]
    print_outcome(rounds, RATIOS, flags)


class _Bare:
    """The actor's environments and network with nothing around them."""

    def __init__(self, experiment: Experiment) -> None:
        config, spec = experiment.config, experiment.spec
        self._environment = make_environment(config.environment, config.envs_per_actor)
        self._observations = self._environment.reset(0)
        network = make_network(config.network, spec.num_actions)
        self.params: Params = jax.device_get(
            initial_params(network, jax.random.key(0), spec.observation_shape)
        )
        self._policy = make_policy(network)
        self._random = np.random.default_rng(0)
        self._num_actions = spec.num_actions

    def random_actions(self) -> NDArray[np.int64]:
        return self._random.integers(0, self._num_actions, self._environment.num_envs)

    def policy_actions(self) -> NDArray[np.int64]:
        key = jax.random.key(self._random.integers(2**32))
        # As the actor before its replay is filled: every action random, and chosen all the same.
        actions, _ = self._policy(self.params, self._observations, key, 1.0)
        return np.asarray(actions, np.int64)

    def rate(self, actions: Callable[[], NDArray[np.int64]], seconds: float) -> float:
        """Steps of single environments per second."""
        actions()
        steps, start = 0, time.perf_counter()
        while time.perf_counter() - start < seconds:
            step = self._environment.step(actions())
            self._observations = step.observation
            steps += int(np.count_nonzero(~step.episode_start))
        return steps / (time.perf_counter() - start)


class _Run:
    """What the weight server shows: one set of weights, and a phase that the benchmark sets."""

    def __init__(self, params: Params, random_return: float) -> None:
        self.progress = Progress(random_return=random_return, stage=Stage.OFFLINE)
        self.acting = Offer()
        self.evaluation = Offer()
        self.acting.publish(Snapshot(version=1, params=params, progress=self.progress))

    def move(self, stage: Stage, weaning_weight: float = 1.0) -> None:
        self.progress = dataclasses.replace(
            self.progress, stage=stage, weaning_weight=weaning_weight
        )

    def report_progress(self) -> learner_pb2.GetProgressResponse:
        return learner_pb2.GetProgressResponse(progress=progress_to_proto(self.progress))

    def take_evaluation(self, report: EvaluationReport) -> Progress:
        raise UnknownWeights(f"weights {report.weights_version} are not evaluated here")


@contextlib.contextmanager
def _paused_actor(
    experiment: Experiment, params: Params, teacher: str, replay: str
) -> Iterator[_Run]:
    """An actor on a thread that waits for the online phase."""
    run = _Run(params, experiment.random_return)
    server = WeightServer(run, host="127.0.0.1", port=0)
    config = experiment.actor_config(
        0,
        learner_address=f"127.0.0.1:{server.start()}",
        replay_address=replay,
        teacher_address=teacher,
    )
    actor = build_actor(dataclasses.replace(config, weights_period_seconds=0.1))
    stop = threading.Event()
    failures: list[Exception] = []
    thread = threading.Thread(target=_run_actor, args=(actor, stop, failures))
    thread.start()
    try:
        yield run
    finally:
        stop.set()
        thread.join()
        server.stop(0.0)
    if failures:
        raise failures[0]


def _run_actor(actor: Actor, stop: threading.Event, failures: list[Exception]) -> None:
    try:
        actor.run(stop)
    except Exception as error:
        failures.append(error)


def _actor_rate(run: _Run, replay: str, weaning_weight: float, seconds: float) -> float:
    """Transitions per second that arrive in the student's table."""
    run.move(Stage.ONLINE, weaning_weight)
    before_any = _inserted(replay)
    while _inserted(replay) == before_any:
        time.sleep(0.05)
    time.sleep(SETTLE_SECONDS)
    before, start = _inserted(replay), time.perf_counter()
    time.sleep(seconds)
    rate = (_inserted(replay) - before) / (time.perf_counter() - start)
    run.move(Stage.OFFLINE)
    # The actor hears of it and writes what is pending.
    time.sleep(SETTLE_SECONDS / 3)
    return rate


def _inserted(replay: str) -> int:
    return table_counts(replay)[STUDENT_TABLE].inserted


if __name__ == "__main__":
    main()

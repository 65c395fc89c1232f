"""What an actor costs: its steps per second against bare environments, and with a bare policy.

Teacher, replay, learner and two actors are processes of the `rrl` command. The learner waits for
more steps than are played here, so it only hands out weights. One actor asks the teacher about
every state, as kickstarting does at first; the other plays for a method without a teacher, as all
do once they are weaned. An actor whose turn it is not is stopped by a signal. Steps are counted
where they arrive, in the student's table, whose rate limiter never blocks an insert here. The bare
environments take random actions; the bare policy is the same compiled network. All take turns, so
that a slower minute of the machine meets all. On a CPU teacher and replay share the cores: the
ratios hold their cost too.

Ratios (higher is better):
    taught_actor_over_env           actor with a query for every state, over the bare environments
    weaned_actor_over_env           actor without queries, over the bare environments
    taught_actor_over_env_policy    the same actors over the environments with the bare policy
    weaned_actor_over_env_policy

    python -m benchmarks.actors --quick --json
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import jax
import numpy as np
from numpy.typing import NDArray

from benchmarks.harness import parse_flags, print_outcome
from benchmarks.roles import ACTOR_ENVIRONMENT, learner_service, replay_service, running
from benchmarks.teacher.service import teacher_service
from rrl_agents.behaviour.epsilon_greedy import make_policy
from rrl_agents.environments.registry import EnvironmentConfig, make_environment
from rrl_agents.networks.config import NetworkConfig
from rrl_agents.networks.registry import initial_params, make_network
from rrl_agents.types import Params
from services.replay.connection import table_counts
from services.replay.table_names import STUDENT_TABLE

GAME = "pong"
NUM_ENVS = 8
# The demo's student: of a larger one the actor's own cost is a smaller part.
NETWORK = NetworkConfig(features=(16, 32, 32), hidden_units=256, padding="VALID")
TAUGHT, WEANED = "kickstarting", "tabula_rasa"
EXPERIMENT = (
    *("--environment.game", GAME, "--envs-per-actor", str(NUM_ENVS), "--num-actors", "1"),
    *("--network.features", *map(str, NETWORK.features)),
    *("--network.hidden-units", str(NETWORK.hidden_units), "--network.padding", NETWORK.padding),
    # The two methods differ in it.
    *("--method.q-learning.n-step", "3"),
    # Far more steps than are played here.
    *("--method.q-learning.min-replay-size", "900000", "--replay-capacity", "1000000"),
)

RATIOS = {
    "taught_actor_over_env": ("taught_actor_steps_per_s", "env_steps_per_s"),
    "weaned_actor_over_env": ("weaned_actor_steps_per_s", "env_steps_per_s"),
    "taught_actor_over_env_policy": ("taught_actor_steps_per_s", "env_policy_steps_per_s"),
    "weaned_actor_over_env_policy": ("weaned_actor_steps_per_s", "env_policy_steps_per_s"),
}


def main() -> None:
    """Measure and print."""
    flags = parse_flags(__doc__)
    repeats = flags.pick(full=7, quick=2, smallest=1)
    seconds = flags.pick(full=5.0, quick=1.5, smallest=0.3)
    settle_seconds = flags.pick(full=1.5, quick=1.5, smallest=0.3)
    # Read when JAX first computes.
    os.environ.update(ACTOR_ENVIRONMENT)
    bare = _Bare()
    with tempfile.TemporaryDirectory() as folder, _paused_actors(Path(folder)) as actors:
        rounds = [
            {
                "env_steps_per_s": bare.rate(bare.random_actions, seconds),
                "env_policy_steps_per_s": bare.rate(bare.policy_actions, seconds),
                "weaned_actor_steps_per_s": actors[WEANED].rate(settle_seconds, seconds),
                "taught_actor_steps_per_s": actors[TAUGHT].rate(settle_seconds, seconds),
            }
            for _ in range(repeats)
        ]
    print_outcome(rounds, RATIOS, flags)


class _Bare:
    """The actor's environments and network with nothing around them."""

    def __init__(self) -> None:
        self._environment = make_environment(EnvironmentConfig(game=GAME), NUM_ENVS)
        spec = self._environment.spec
        self._observations = self._environment.reset(0)
        network = make_network(NETWORK, spec.num_actions)
        self._params: Params = jax.device_get(
            initial_params(network, jax.random.key(0), spec.observation_shape)
        )
        self._policy = make_policy(network)
        self._random = np.random.default_rng(0)
        self._num_actions = spec.num_actions

    def random_actions(self) -> NDArray[np.int64]:
        return self._random.integers(0, self._num_actions, NUM_ENVS)

    def policy_actions(self) -> NDArray[np.int64]:
        seed = int(self._random.integers(2**32))
        # As the actor before its replay is filled: every action random, and chosen all the same.
        actions, _ = self._policy(self._params, self._observations, seed, 1.0)
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


class _PausedActor:
    """An actor that plays only while it is measured.

    Args:
        process: It plays already.
        replay: Where it writes.
    """

    def __init__(self, process: subprocess.Popen[str], replay: str) -> None:
        self._process = process
        self._replay = replay
        self._play_on()
        self._process.send_signal(signal.SIGSTOP)

    def rate(self, settle_seconds: float, seconds: float) -> float:
        """Transitions per second that arrive in the student's table."""
        self._process.send_signal(signal.SIGCONT)
        self._play_on()
        time.sleep(settle_seconds)
        before, start = _inserted(self._replay), time.perf_counter()
        time.sleep(seconds)
        # In bursts, by the writer's chunks: at least one has to be within the window.
        self._play_on()
        rate = (_inserted(self._replay) - before) / (time.perf_counter() - start)
        self._process.send_signal(signal.SIGSTOP)
        return rate

    def _play_on(self) -> None:
        """Wait for the next transition."""
        before = _inserted(self._replay)
        while _inserted(self._replay) == before:
            if self._process.poll() is not None:
                raise RuntimeError("an actor ended; its log is above")
            time.sleep(0.02)


@contextlib.contextmanager
def _paused_actors(folder: Path) -> Iterator[dict[str, _PausedActor]]:
    """By method: two actors on one run, that of the taught one."""
    with contextlib.ExitStack() as stack:
        teacher = stack.enter_context(teacher_service())
        run = (TAUGHT, *EXPERIMENT)
        _, replay = stack.enter_context(replay_service(folder / "replay", *run))
        learner = stack.enter_context(learner_service(folder / "run", replay, *run))
        addresses = (
            *("--learner-address", learner.address, "--replay-address", replay.data),
            *("--teacher-address", teacher.address),
        )
        actors = {}
        for index, method in enumerate((WEANED, TAUGHT)):
            arguments = ("actor", method, *EXPERIMENT, *addresses, "--index", str(index))
            role = stack.enter_context(running(*arguments, environment=ACTOR_ENVIRONMENT))
            actors[method] = _PausedActor(role.process, replay.data)
        yield actors


def _inserted(replay: str) -> int:
    return table_counts(replay)[STUDENT_TABLE].inserted


if __name__ == "__main__":
    main()

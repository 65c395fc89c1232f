"""What an actor costs: its steps per second compared with bare environments and a bare policy.

Teacher, replay, learner and two actors are processes of the `rrl` command. The learner waits for
more steps than this benchmark plays, so it only serves weights. One actor queries the teacher about
every state, as kickstarting does at first; the other plays for a method without a teacher, like
every weaned student. A signal stops the actor that is not being measured. Steps are counted in the
student's table, whose rate limiter never blocks an insert here. The bare environments take random
actions; the bare policy is the same compiled network. Measurements alternate, so that a slow minute
of the machine affects all. On a CPU teacher and replay share the cores: ratios of steps/s include
their cost, ratios of CPU time only the actor's.

Ratios (higher is better):
    weaned_actor            steps/s of the actor without queries, over the bare environments and
                            policy; a writer that runs beside the environments hides its cost
    taught_actor            the same for the actor with a query for every state
    weaned_actor_cpu        CPU time of a bare step over that of an actor's step
    taught_actor_cpu
    writes_cpu              CPU time of a bare step over that of a bare step and the bare writes of
                            its rows: the upper bound of weaned_actor_cpu with Reverb

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
from typing import NamedTuple

import jax
import numpy as np
import psutil
from numpy.typing import NDArray

from benchmarks.harness import parse_flags, print_outcome
from benchmarks.roles import ACTOR_ENVIRONMENT, learner_service, replay_service, running
from benchmarks.teacher.service import teacher_service
from rrl_agents.behaviour.epsilon_greedy import make_policy
from rrl_agents.environments.registry import EnvironmentConfig, make_environment
from rrl_agents.networks.config import NetworkConfig
from rrl_agents.networks.registry import initial_params, make_network
from rrl_agents.types import Params
from services.replay.connection import connect, table_counts
from services.replay.item_layout import ItemLayout, StepRow
from services.replay.table_names import STUDENT_TABLE, TEACHER_TABLE
from services.replay.writer import ItemWriter, WriterOptions

GAME = "pong"
NUM_ENVS = 8
# The demo's student: of a larger one the actor's own cost is a smaller part.
NETWORK = NetworkConfig(features=(16, 32, 32), hidden_units=256, padding="VALID")
N_STEP = 3
TAUGHT, WEANED = "kickstarting", "tabula_rasa"
EXPERIMENT = (
    *("--environment.game", GAME, "--envs-per-actor", str(NUM_ENVS), "--num-actors", "1"),
    *("--network.features", *map(str, NETWORK.features)),
    *("--network.hidden-units", str(NETWORK.hidden_units), "--network.padding", NETWORK.padding),
    # The two methods differ in it.
    *("--method.q-learning.n-step", str(N_STEP)),
    # Far more steps than are played here.
    *("--method.q-learning.min-replay-size", "900000", "--replay-capacity", "1000000"),
)

_STEP = "env_policy"
RATIOS = {
    **{
        f"{kind}_actor": (f"{kind}_actor_steps_per_s", f"{_STEP}_steps_per_s")
        for kind in ("weaned", "taught")
    },
    **{
        f"{kind}_actor_cpu": (f"{_STEP}_cpu_us", f"{kind}_actor_cpu_us")
        for kind in ("weaned", "taught")
    },
    "writes_cpu": (f"{_STEP}_cpu_us", "env_policy_and_write_cpu_us"),
}


def main() -> None:
    """Measure and print."""
    flags = parse_flags(__doc__)
    repeats = flags.pick(full=7, quick=3, smallest=1)
    seconds = flags.pick(full=5.0, quick=2.0, smallest=0.3)
    settle_seconds = flags.pick(full=1.5, quick=1.5, smallest=0.3)
    # Read when JAX first computes.
    os.environ.update(ACTOR_ENVIRONMENT)
    bare = _Bare()
    with tempfile.TemporaryDirectory() as folder, _paused_actors(Path(folder)) as actors:
        rounds = [
            {
                **_named("env", bare.rate(bare.random_actions, seconds)),
                **_named(_STEP, played := bare.rate(bare.policy_actions, seconds)),
                "env_policy_and_write_cpu_us": played.cpu_us
                + bare.write_cpu_us(actors.replay, steps=int(200 * seconds)),
                **_named("weaned_actor", actors.weaned.rate(settle_seconds, seconds)),
                **_named("taught_actor", actors.taught.rate(settle_seconds, seconds)),
            }
            for _ in range(repeats)
        ]
    print_outcome(rounds, RATIOS, flags)


class _Rate(NamedTuple):
    """Of steps of single environments.

    Attributes:
        steps_per_s: By the clock.
        cpu_us: Microseconds of CPU time of one.
    """

    steps_per_s: float
    cpu_us: float


def _named(name: str, rate: _Rate) -> dict[str, float]:
    return {f"{name}_steps_per_s": rate.steps_per_s, f"{name}_cpu_us": rate.cpu_us}


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
        self._layout = ItemLayout(
            frame_shape=spec.frame_shape,
            stack_size=spec.stack_size,
            n_step=N_STEP,
            num_actions=spec.num_actions,
            clips_rewards=True,
        )

    def random_actions(self) -> NDArray[np.int64]:
        return self._random.integers(0, self._num_actions, NUM_ENVS)

    def policy_actions(self) -> NDArray[np.int64]:
        seed = int(self._random.integers(2**32))
        # As the actor before its replay is filled: every action random, and chosen all the same.
        actions, _ = self._policy(self._params, self._observations, seed, 1.0)
        return np.asarray(actions, np.int64)

    def rate(self, actions: Callable[[], NDArray[np.int64]], seconds: float) -> _Rate:
        """Play for so long."""
        actions()
        steps, start, spent = 0, time.perf_counter(), time.process_time()
        while time.perf_counter() - start < seconds:
            step = self._environment.step(actions())
            self._observations = step.observation
            steps += int(np.count_nonzero(~step.episode_start))
        spent = time.process_time() - spent
        return _Rate(steps / (time.perf_counter() - start), 1e6 * spent / steps)

    def write_cpu_us(self, replay: str, steps: int) -> float:
        """CPU microseconds of a row's write and its item, one row again and again."""
        client = connect(replay, TEACHER_TABLE, self._layout, timeout_seconds=30)
        items = ItemWriter(client, TEACHER_TABLE, self._layout, WriterOptions().chunk_length)
        frame = np.ascontiguousarray(self._environment.spec.newest_frames(self._observations)[0])
        row = self._layout.row(StepRow(frame, 0, 0.0, False, None))
        items.append_padding(self._layout.stack_size - 1)
        spent = time.process_time()
        for _ in range(steps):
            items.append(row, begins_item=True)
            items.flush(WriterOptions().max_pending_items, timeout_seconds=60)
        items.flush(0, timeout_seconds=60)
        spent = time.process_time() - spent
        items.close()
        return 1e6 * spent / steps


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

    def rate(self, settle_seconds: float, seconds: float) -> _Rate:
        """Of the transitions that arrive in the student's table."""
        self._process.send_signal(signal.SIGCONT)
        self._play_on()
        time.sleep(settle_seconds)
        before, start, spent = _inserted(self._replay), time.perf_counter(), self._spent()
        time.sleep(seconds)
        # In bursts, by the writer's chunks: at least one has to be within the window.
        self._play_on()
        steps = _inserted(self._replay) - before
        wall, spent = time.perf_counter() - start, self._spent() - spent
        self._process.send_signal(signal.SIGSTOP)
        return _Rate(steps / wall, 1e6 * spent / steps)

    def _spent(self) -> float:
        times = psutil.Process(self._process.pid).cpu_times()
        return float(times.user + times.system)

    def _play_on(self) -> None:
        """Wait for the next transition."""
        before = _inserted(self._replay)
        while _inserted(self._replay) == before:
            if self._process.poll() is not None:
                raise RuntimeError("an actor ended; its log is above")
            time.sleep(0.02)


class _Actors(NamedTuple):
    """Two actors of one run, that of the taught one, and where they write."""

    weaned: _PausedActor
    taught: _PausedActor
    replay: str


@contextlib.contextmanager
def _paused_actors(folder: Path) -> Iterator[_Actors]:
    with contextlib.ExitStack() as stack:
        teacher = stack.enter_context(teacher_service())
        run = (TAUGHT, *EXPERIMENT)
        _, replay = stack.enter_context(replay_service(folder / "replay", *run))
        learner = stack.enter_context(learner_service(folder / "run", replay, *run))
        addresses = (
            *("--learner-address", learner.address, "--replay-address", replay.data),
            *("--teacher-address", teacher.address),
        )

        def actor(index: int, method: str) -> _PausedActor:
            arguments = ("actor", method, *EXPERIMENT, *addresses, "--index", str(index))
            role = stack.enter_context(running(*arguments, environment=ACTOR_ENVIRONMENT))
            return _PausedActor(role.process, replay.data)

        yield _Actors(actor(0, WEANED), actor(1, TAUGHT), replay.data)


def _inserted(replay: str) -> int:
    return table_counts(replay)[STUDENT_TABLE].inserted


if __name__ == "__main__":
    main()

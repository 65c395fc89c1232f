"""What the learner's loop costs: its updates per second against the bare jitted update.

The replay server runs as a process of its own and holds a few thousand transitions of Pong, played
at random. The loop is `Learner.step` in the offline stage: sampling, decoding, the update, clocks
and metrics. The bare update repeats on one batch that is on the device already. Both take turns, so
that a slower minute of the machine meets both. On a CPU the replay server shares the cores: the
ratio holds its cost too.

Ratios (higher is better):
    learner_over_bare_update           updates/s of the loop over the bare update, for the small
                                       student of the demo
    learner_over_bare_update_nature    the same for the full Nature DQN

    python -m benchmarks.learner --quick --json
"""

from __future__ import annotations

import contextlib
import tempfile
import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path

import jax
import numpy as np
from numpy.typing import NDArray

from benchmarks.harness import parse_flags, print_outcome
from benchmarks.roles import replay_service
from rrl_agents.environments.registry import EnvironmentConfig, make_environment
from rrl_agents.networks.registry import NetworkConfig, initial_params, make_network
from rrl_agents.reincarnation.qdagger import QDaggerConfig
from rrl_agents.reincarnation.registry import make_recipe
from rrl_agents.students.config import StudentConfig
from rrl_agents.training.train_state import initial_train_state
from rrl_agents.training.update_step import make_update_step
from rrl_agents.types import Batch, EnvironmentSpec, Progress, Stage
from services.actor.behaviours import Annotator, Labels
from services.actor.rollout import Rollout
from services.launcher.presets import DEMO, PRESETS
from services.learner.config import LearnerConfig, ShardAddress
from services.learner.loop import Learner
from services.learner.role import build_learner
from services.learner.stages import StageTargets
from services.replay.item_layout import ItemLayout
from services.replay.reader import ReplayReader
from services.replay.table_names import TEACHER_TABLE
from services.replay.writer import ReplayWriter

NUM_ENVS = 8
METHOD = QDaggerConfig()
NETWORKS: Mapping[str, NetworkConfig] = {
    "": PRESETS["qdagger"][DEMO].network,
    "_nature": NetworkConfig(),
}
RATIOS = {
    f"learner_over_bare_update{suffix}": (f"learner_updates_per_s{suffix}", f"bare_per_s{suffix}")
    for suffix in NETWORKS
}
NEVER = 10**9
BLOCK = 10


def main() -> None:
    """Measure and print."""
    flags = parse_flags(__doc__)
    repeats = flags.pick(full=7, quick=3, smallest=1)
    updates = flags.pick(full=200, quick=20, smallest=10)
    steps_per_env = flags.pick(full=400, quick=400, smallest=40)
    with (
        tempfile.TemporaryDirectory() as folder,
        replay_service(Path(folder, "replay"), "qdagger") as (_, replay),
    ):
        spec = _fill(replay.data, steps_per_env)
        students = {
            suffix: _Student(Path(folder, f"run{suffix}"), network, spec, replay, updates)
            for suffix, network in NETWORKS.items()
        }
        # All have joined: from now on the tables may be sampled.
        for student in students.values():
            student.warm_up(replay.data)
        rounds = [
            {
                name + suffix: value
                for suffix, student in students.items()
                for name, value in student.measure().items()
            }
            for _ in range(repeats)
        ]
    print_outcome(rounds, RATIOS, flags)


class _Student:
    """One architecture: a learner in its offline stage, and the bare update beside it."""

    def __init__(
        self,
        run: Path,
        network: NetworkConfig,
        spec: EnvironmentSpec,
        replay: ShardAddress,
        updates: int,
    ) -> None:
        self._network = network
        self._spec = spec
        self._updates = updates
        self._stop = threading.Event()
        self._learner = _offline_learner(run, network, spec, replay, log_period=updates)
        self._learner.restore_replay(self._stop)

    def warm_up(self, address: str) -> None:
        batch = _one_batch(address, self._spec)
        self._bare_update = _bare_update(self._network, self._spec, batch)
        self._learn()
        self._repeat_bare()

    def measure(self) -> dict[str, float]:
        return {
            "bare_per_s": self._rate(self._repeat_bare),
            "learner_updates_per_s": self._rate(self._learn),
        }

    def _rate(self, work: Callable[[], None]) -> float:
        start = time.perf_counter()
        work()
        return self._updates / (time.perf_counter() - start)

    def _learn(self) -> None:
        # The log's period is this many updates: at its end the device is waited for.
        end = self._learner.progress.offline_updates + self._updates
        while self._learner.progress.offline_updates < end:
            self._learner.step(self._stop)

    def _repeat_bare(self) -> None:
        for _ in range(self._updates):
            done = self._bare_update()
        done.block_until_ready()


def _offline_learner(
    run: Path,
    network: NetworkConfig,
    spec: EnvironmentSpec,
    replay: ShardAddress,
    *,
    log_period: int,
) -> Learner:
    return build_learner(
        LearnerConfig(
            run=run,
            method=METHOD,
            network=network,
            spec=spec,
            targets=StageTargets(teacher_steps=1, offline_updates=NEVER, online_updates=1),
            random_return=-20.7,
            teacher_return=20.0,
            seed=0,
            replay=(replay,),
            offline_evaluation_period=NEVER,
            checkpoint_period_seconds=NEVER,
            log_period_updates=log_period,
            updates_per_block=BLOCK,
        )
    )


def _bare_update(
    network_config: NetworkConfig, spec: EnvironmentSpec, batch: Batch
) -> Callable[[], jax.Array]:
    """The update on a batch that is on the device; each call goes on from the last one's state."""
    recipe, student = make_recipe(METHOD), StudentConfig()
    network = make_network(network_config, spec.num_actions)
    update = make_update_step(network, recipe.terms, recipe.q_learning.optimiser, student)
    params = initial_params(network, jax.random.key(0), spec.observation_shape)
    state = initial_train_state(params, recipe.q_learning.optimiser)
    on_device: Batch = jax.device_put(batch)
    progress = Progress(random_return=-20.7, teacher_return=20.0, stage=Stage.OFFLINE)
    factors = recipe.term_weights(progress, network_config, student)
    weights = {name: np.float32(factor) for name, factor in factors.items()}
    learning_rate = np.float32(recipe.learning_rate(progress))
    period = np.int32(recipe.q_learning.target_update_period)
    key = jax.random.key(1)

    def once() -> jax.Array:
        nonlocal state
        state, metrics = update(state, on_device, weights, learning_rate, period, key)
        return metrics.loss

    return once


def _one_batch(address: str, spec: EnvironmentSpec) -> Batch:
    q_learning = METHOD.q_learning
    reader = ReplayReader(address, _layout(spec), q_learning.discount, q_learning.batch_size)
    with contextlib.closing(reader):
        batch = reader.sample(TEACHER_TABLE, timeout_seconds=30).batch
    # Rows in memory as the network wants them: the loop's transposition is the loop's cost.
    return Batch(*(np.ascontiguousarray(column) for column in batch))


def _fill(address: str, steps_per_env: int) -> EnvironmentSpec:
    """Random play of Pong into the teacher's table, with labels as random as the actions."""
    environment = make_environment(EnvironmentConfig(game="pong"), NUM_ENVS)
    spec, random = environment.spec, np.random.default_rng(0)

    def policy(
        observations: NDArray[np.uint8], episode_start: NDArray[np.bool_]
    ) -> tuple[NDArray[np.int64], Labels]:
        del episode_start  # Random play is the same anywhere in an episode.
        values = random.random((len(observations), spec.num_actions), np.float32)
        return values.argmax(axis=1), values

    with (
        contextlib.closing(environment),
        contextlib.closing(ReplayWriter(address, TEACHER_TABLE, _layout(spec), NUM_ENVS)) as writer,
    ):
        rollout = Rollout(environment, writer, Annotator(), seed=0, max_pending=0)
        for _ in range(steps_per_env):
            rollout.step(policy)
        rollout.finish()
        writer.flush(timeout_seconds=30)
    return spec


def _layout(spec: EnvironmentSpec) -> ItemLayout:
    return ItemLayout(
        frame_shape=spec.frame_shape,
        stack_size=spec.stack_size,
        n_step=METHOD.q_learning.n_step,
        num_actions=spec.num_actions,
        clips_rewards=True,
        frame_dtype=spec.frame_dtype,
    )


if __name__ == "__main__":
    main()

"""A small run of Catch with a real replay server, for tests of the learner."""

from __future__ import annotations

import contextlib
import dataclasses
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import jax
import numpy as np

from rrl_agents.environments import catch
from rrl_agents.environments.registry import EnvironmentConfig, make_environment
from rrl_agents.networks.registry import NetworkConfig
from rrl_agents.reincarnation.qdagger import QDaggerConfig, WeaningConfig
from rrl_agents.training.q_learning_config import QLearningConfig
from rrl_agents.training.train_state import TrainState
from rrl_agents.types import Progress
from services.learner.client import LearnerClient
from services.learner.codec import EvaluationReport, progress_from_proto
from services.learner.config import LearnerConfig, ShardAddress
from services.learner.loop import Learner
from services.learner.role import build_learner, run_learner
from services.learner.stage_transitions import StageTargets
from services.replay.config import ReplayConfig
from services.replay.control_server import control_server
from services.replay.item_layout import ItemLayout, StepRow
from services.replay.role import ReplayRole
from services.replay.writer import ReplayWriter
from services.shared.addresses import free_port
from tests.support.patience import PATIENCE_SECONDS

LAYOUT = ItemLayout(
    frame_shape=(catch.ROWS, catch.COLUMNS),
    stack_size=1,
    n_step=3,
    num_actions=catch.NUM_ACTIONS,
    clips_rewards=False,
)
METHOD = QDaggerConfig(
    q_learning=QLearningConfig(
        n_step=3, min_replay_size=32, target_update_steps=8, epsilon_decay_steps=100
    ),
    offline_updates=6,
    weaning=WeaningConfig(wean_steps=1_000_000),
)
EPISODES = 10
STEPS = EPISODES * (catch.ROWS - 1)
"""Decisions of one table; an episode of one ball lasts 9. The student's table takes 32 + 512 / 8 of
them before any is sampled."""


class ReplayShard:
    """A replay role with its control, in this process."""

    def __init__(
        self, folder: Path, port: int = 0, control_port: int = 0, *, gives_once: bool = False
    ) -> None:
        self._folder = folder
        self._gives_once = gives_once
        self._role = ReplayRole(
            ReplayConfig(
                layout=LAYOUT,
                checkpoint_root=folder / "working",
                teacher_capacity=1000,
                student_capacity=1000,
                min_student_size=32,
                samples_per_insert=32 / 4,
                gives_teacher_data_once=gives_once,
                teacher_steps=STEPS if gives_once else None,
                port=port,
            ),
            folder / "checkpoints",
        )
        self._control = control_server(self._role, host="127.0.0.1", port=control_port)
        self.port = self._role.start()
        self.control_port = self._control.start()
        self.address = self._role.address
        self.shard = ShardAddress(data=self.address, control=f"127.0.0.1:{self.control_port}")

    def stop(self) -> None:
        self._control.stop()
        self._role.stop()

    def cut_off(self) -> None:
        """Stop the control: no call is answered."""
        self._control.stop()

    def reach_again(self) -> None:
        self._control = control_server(self._role, host="127.0.0.1", port=self.control_port)
        self._control.start()

    def again(self) -> ReplayShard:
        """Another one at the same ports, as after a kill."""
        self.stop()
        return ReplayShard(self._folder, self.port, self.control_port, gives_once=self._gives_once)


def fill(address: str, table: str) -> None:
    """Play whole episodes; every row is labelled."""
    environment = make_environment(EnvironmentConfig(name="catch"), 1)
    random = np.random.default_rng(0)
    writer = ReplayWriter(address, table, LAYOUT, 1)
    observation = environment.reset(seed=0)
    for _ in range(EPISODES):
        terminated = False
        while not terminated:
            action = int(random.integers(catch.NUM_ACTIONS))
            step = environment.step(np.asarray([action], np.int64))
            terminated = bool(step.terminated[0])
            values = random.normal(size=catch.NUM_ACTIONS).astype(np.float32)
            row = StepRow(
                environment.spec.newest_frames(observation[0]),
                action,
                float(step.reward[0]),
                terminated,
                values,
            )
            writer.append(0, row)
            observation = step.observation
        writer.end_episode(0, None)
        observation = environment.step(np.zeros(1, np.int64)).observation
    assert writer.flush(timeout_seconds=PATIENCE_SECONDS)
    writer.close()


def config_of(run: Path, *replay: ShardAddress) -> LearnerConfig:
    return LearnerConfig(
        run=run,
        method=METHOD,
        network=NetworkConfig(name="mlp", features=(16,)),
        spec=make_environment(EnvironmentConfig(name="catch"), 1).spec,
        targets=StageTargets(teacher_steps=STEPS, offline_updates=6, online_updates=40),
        random_return=-0.6,
        teacher_return=1.0,
        seed=3,
        replay=replay,
        port=free_port(),
        publish_period_updates=1,
        offline_evaluation_period=3,
        online_evaluation_period=5,
    )


@dataclasses.dataclass
class Workplace:
    """One run with its replay server, and a learner that works in it."""

    run: Path
    replay: ReplayShard
    learner: Learner
    config: LearnerConfig


def joined(config: LearnerConfig) -> Learner:
    """A learner that stands on one checkpoint with its replay."""
    learner = build_learner(config)
    assert learner.restore_replay(threading.Event())
    return learner


def state_of(learner: Learner) -> TrainState:
    state: TrainState = jax.device_get(learner.training.state)
    return state


def work(learner: Learner, updates: int) -> None:
    """Step until so many updates are done."""
    stop = threading.Event()
    for _ in range(10 * updates + 100):
        if learner.progress.learner_updates >= updates:
            return
        learner.step(stop)
    raise AssertionError(f"still at {learner.progress}")


@contextlib.contextmanager
def working(config: LearnerConfig) -> Iterator[Callable[[], Progress]]:
    """`run_learner` in a thread; gives what asks it for its progress."""
    stop = threading.Event()
    failures: list[BaseException] = []

    def work() -> None:
        try:
            run_learner(config, stop)
        except BaseException as error:
            failures.append(error)

    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    client = LearnerClient(f"localhost:{config.port}")
    try:
        yield lambda: progress_from_proto(client.progress().progress)
    finally:
        stop.set()
        thread.join(PATIENCE_SECONDS)
        client.close()
    assert not failures and not thread.is_alive()


def save_after(config: LearnerConfig, *updates: int) -> int:
    """Checkpoints after so many updates, by a learner that then ends as by a kill; the last's
    number.

    Entering a stage saves one too.
    """
    learner = joined(config)
    for number in updates:
        work(learner, number)
        learner.save_checkpoint()
    number = learner.checkpoint_number
    work(learner, updates[-1] + 2)
    assert learner.checkpoint_number == number
    learner.close()
    return number


def wait_for(ask: Any, is_it: Any) -> Any:
    """Ask until the answer is the wanted one."""
    pause = threading.Event()
    end = time.monotonic() + PATIENCE_SECONDS
    while time.monotonic() < end:
        try:
            if is_it(answer := ask()):
                return answer
        except Exception as error:
            if "did not answer" not in str(error):
                raise
        pause.wait(0.1)
    raise AssertionError(f"waited {PATIENCE_SECONDS:g} s in vain")


@contextlib.contextmanager
def another_learner(workplace: Workplace, **changes: Any) -> Iterator[Learner]:
    """A learner with other settings, in the place of the one that is there."""
    workplace.learner.close()
    workplace.learner = joined(dataclasses.replace(workplace.config, **changes))
    yield workplace.learner


def short(config: LearnerConfig) -> LearnerConfig:
    """The same with one update of each kind."""
    return dataclasses.replace(
        config, targets=StageTargets(teacher_steps=STEPS, offline_updates=1, online_updates=1)
    )


def report_final(client: LearnerClient, updates: int) -> None:
    played = EvaluationReport(
        weights_version=updates + 1, episode_returns=(0.0,), episode_steps=(9,), epsilon=0.001
    )
    client.report(played)


@contextlib.contextmanager
def no_place_for_checkpoints(run: Path) -> Iterator[None]:
    """A file where the folder of checkpoints was: writing one fails as on a full disk."""
    folder, aside = run / "checkpoints", run / "aside"
    folder.rename(aside)
    folder.touch()
    try:
        yield
    finally:
        folder.unlink()
        aside.rename(folder)


def assert_equal_trees(one: Any, other: Any) -> None:
    assert jax.tree.structure(one) == jax.tree.structure(other)
    for mine, theirs in zip(jax.tree.leaves(one), jax.tree.leaves(other), strict=True):
        assert mine.dtype == theirs.dtype
        np.testing.assert_array_equal(mine, theirs)

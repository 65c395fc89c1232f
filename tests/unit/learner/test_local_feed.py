"""The learner's replay in its own process: the replay ratio, and draws that seeds decide."""

from __future__ import annotations

import threading
from pathlib import Path

import numpy as np
import pytest
from prometheus_client import CollectorRegistry

from rrl_agents.networks.registry import NetworkConfig
from rrl_agents.reincarnation.offline_pretraining import RehearsalConfig
from rrl_agents.reincarnation.qdagger import QDaggerConfig
from rrl_agents.reincarnation.registry import MethodConfig, make_recipe
from rrl_agents.students.config import StudentConfig
from rrl_agents.training.q_learning_config import QLearningConfig
from rrl_agents.types import EnvironmentSpec, Progress, Stage
from services.learner.config import LearnerConfig, ShardAddress
from services.learner.local_feed import LocalFeed
from services.learner.metrics import LearnerMetrics
from services.learner.run_clock import RunClock
from services.learner.stage_transitions import StageTargets
from services.replay.config import ReplayConfig
from services.replay.item_layout import ItemLayout, StepRow
from services.replay.local_tables import LocalTables
from services.replay.local_writer import LocalWriter
from services.replay.table_names import STUDENT_TABLE, TEACHER_TABLE

LAYOUT = ItemLayout(frame_shape=(2,), stack_size=1, n_step=1, num_actions=2, clips_rewards=False)
SPEC = EnvironmentSpec(
    name="numbers",
    frame_shape=(2,),
    stack_size=1,
    num_actions=2,
    frames_per_step=1,
    max_episode_steps=100,
)
Q_LEARNING = QLearningConfig(
    n_step=1, batch_size=8, min_replay_size=20, update_period=4, target_update_steps=8
)


class Place:
    """A feed over tables that a test fills."""

    def __init__(
        self, folder: Path, method: MethodConfig, student: StudentConfig | None = None
    ) -> None:
        student = student or StudentConfig()
        self.tables = LocalTables(
            ReplayConfig(
                layout=LAYOUT,
                checkpoint_root=folder / "working",
                min_student_size=20,
                student_priority_exponent=student.priority_exponent,
            ),
            folder / "checkpoints",
        )
        recipe = make_recipe(method)
        self.clock = RunClock(
            Progress(random_return=0.0, teacher_return=1.0, stage=Stage.ONLINE),
            recipe.weaning_weight,
        )
        config = LearnerConfig(
            run=folder,
            method=method,
            network=NetworkConfig(name="mlp", features=(2,)),
            spec=SPEC,
            targets=StageTargets(teacher_steps=30, offline_updates=5, online_updates=50),
            random_return=0.0,
            teacher_return=1.0,
            seed=3,
            replay=(ShardAddress(data="", control=""),),
            student=student,
            updates_per_block=4,
        )
        self.feed = LocalFeed(
            self.tables, LAYOUT, config, recipe, self.clock, LearnerMetrics(CollectorRegistry())
        )

    def play(self, table: str, steps: int) -> None:
        writer = LocalWriter(self.tables.tables[table], LAYOUT, 1)
        for number in range(steps):
            frame = np.full(2, number % 250, np.uint8)
            writer.append(0, StepRow(frame, 0, 1.0, number == steps - 1, None))
        writer.end_episode(0, None)
        self.feed.count()


def test_an_update_needs_as_many_steps_as_the_ratio_says_and_not_one_less(tmp_path: Path) -> None:
    place = Place(tmp_path, QDaggerConfig(q_learning=Q_LEARNING))
    # min_replay_size 20, and 4 steps for each update: 3 updates take 32.
    place.play(STUDENT_TABLE, 31)
    assert place.feed.lacks_steps(range(3))
    assert place.feed.take(range(3)) is None
    assert not place.feed.lacks_steps(range(2))
    place.play(STUDENT_TABLE, 1)
    assert not place.feed.lacks_steps(range(3))
    assert place.feed.take(range(3)) is not None
    place.clock.count_updates(3)
    assert place.feed.lacks_steps(range(3, 4))
    place.play(STUDENT_TABLE, 4)
    assert not place.feed.lacks_steps(range(3, 4))
    assert place.clock.progress.actor_steps == 36


def test_the_draws_of_an_update_are_the_same_in_a_block_of_any_size(tmp_path: Path) -> None:
    place = Place(tmp_path, RehearsalConfig(q_learning=Q_LEARNING))
    place.play(TEACHER_TABLE, 30)
    place.play(STUDENT_TABLE, 60)
    block = place.feed.take(range(10, 14))
    assert block is not None
    sample = block.drawn.sample
    assert 0 < sample.from_student.mean() < 1
    for index, update in enumerate(range(10, 14)):
        one = place.feed.take(range(update, update + 1))
        assert one is not None
        assert one.drawn.sample.item_key[0].tolist() == sample.item_key[index].tolist()
        assert one.drawn.sample.from_student[0].tolist() == sample.from_student[index].tolist()


def test_priorities_are_there_for_the_next_block_and_in_the_next_checkpoint(
    tmp_path: Path,
) -> None:
    student = StudentConfig(priority_exponent=1.0, importance_exponent=0.5)
    place = Place(tmp_path, QDaggerConfig(q_learning=Q_LEARNING), student)
    place.play(STUDENT_TABLE, 60)
    block = place.feed.take(range(1))
    assert block is not None
    key = int(block.drawn.sample.item_key[0, 0])
    # As the device gives them: for a whole block, of which one batch was asked for.
    wanted = np.zeros((4, 8))
    wanted[0] = np.where(block.drawn.sample.item_key[0] == key, 1e6, 0.0)
    place.feed.update_priorities(block, wanted)
    assert place.feed.largest_priority == pytest.approx(1e6)
    place.feed.save(1, [])
    for _ in range(2):
        again = place.feed.take(range(1, 2))
        assert again is not None
        # A million of a million and 59 at most: each of 8 draws is another item once in 17,000.
        assert (again.drawn.sample.item_key == key).mean() > 0.8
        place.feed.restore(1, threading.Event())


def test_the_clocks_are_the_items_of_both_tables(tmp_path: Path) -> None:
    place = Place(tmp_path, QDaggerConfig(q_learning=Q_LEARNING))
    place.play(TEACHER_TABLE, 7)
    place.play(STUDENT_TABLE, 11)
    progress = place.clock.progress
    assert (progress.teacher_steps, progress.actor_steps) == (7, 11)

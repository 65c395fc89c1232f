"""Hand-worked episodes through a real Reverb server, compared with the definition."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from services.replay.config import ReplayConfig
from services.replay.connection import table_counts
from services.replay.failures import ReplayTimeout
from services.replay.item_layout import ItemLayout, StepRow
from services.replay.reader import ReplayReader
from services.replay.server import build_replay
from services.replay.table_names import STUDENT_TABLE, TEACHER_TABLE
from services.replay.writer import ReplayWriter
from services.shared.errors import UserError
from tests.support.patience import PATIENCE_SECONDS

GAMMA = 0.5
LAYOUT = ItemLayout(frame_shape=(3, 2), stack_size=4, n_step=3, num_actions=2, clips_rewards=False)


@pytest.fixture
def address(tmp_path: Path) -> Iterator[str]:
    server = build_replay(
        ReplayConfig(layout=LAYOUT, checkpoint_root=tmp_path / "replay", min_student_size=1)
    )
    server.start()
    yield server.address
    server.stop()


@dataclasses.dataclass(frozen=True)
class Episode:
    """Frame t is filled with `first + t`; the reward of step t is t + 1 tenths.

    Steps with an even number are answered by the teacher: action values (first + t, -t).
    """

    first: int
    steps: int
    terminated: bool

    def frame(self, t: int) -> NDArray[np.uint8]:
        return np.full(LAYOUT.frame_shape, self.first + t if t >= 0 else 0, np.uint8)

    def stack(self, t: int) -> list[int]:
        return [int(self.frame(t - age)[0, 0]) for age in (3, 2, 1, 0)]

    def reward(self, t: int) -> float:
        return (t + 1) / 10

    def teacher_outputs(self, t: int) -> NDArray[np.float32] | None:
        return np.asarray([self.first + t, -t], np.float32) if t % 2 == 0 else None


def write(writer: ReplayWriter, env: int, episode: Episode) -> None:
    for t in range(episode.steps):
        writer.append(
            env,
            StepRow(
                frame=episode.frame(t),
                action=t % 2,
                reward=episode.reward(t),
                terminated=episode.terminated and t == episode.steps - 1,
                teacher_outputs=episode.teacher_outputs(t),
            ),
        )
    writer.end_episode(env, None if episode.terminated else episode.frame(episode.steps))


Transition = tuple[list[int], int, float, float, list[int] | None, list[float], float]


def transitions_by_definition(episode: Episode) -> dict[int, Transition]:
    """Of each step, by its frame's number."""
    transitions = {}
    for t in range(episode.steps):
        k = min(LAYOUT.n_step, episode.steps - t)
        ended = episode.terminated and t + k == episode.steps
        teacher_outputs = episode.teacher_outputs(t)
        transitions[episode.first + t] = (
            episode.stack(t),
            t % 2,
            sum(GAMMA**i * episode.reward(t + i) for i in range(k)),
            0.0 if ended else GAMMA**k,
            None if ended else episode.stack(t + k),
            [0.0, 0.0] if teacher_outputs is None else teacher_outputs.tolist(),
            0.0 if teacher_outputs is None else 1.0,
        )
    return transitions


def transitions_from_replay(address: str, table: str) -> dict[int, Transition]:
    """All that the table holds: enough batches to meet every item, all but surely."""
    reader = ReplayReader(address, LAYOUT, GAMMA, 32)
    found = {}
    for _ in range(12 * table_counts(address)[table].size // 32 + 2):
        batch = reader.sample(table, timeout_seconds=PATIENCE_SECONDS).batch
        # Every pixel of a frame holds its number.
        assert (batch.observation == batch.observation[:, :1, :1]).all()
        for row in range(32):
            observation = batch.observation[row, 0, 0].tolist()
            discount = float(batch.discount[row])
            found[observation[-1]] = (
                observation,
                int(batch.action[row]),
                pytest.approx(float(batch.n_step_return[row]), abs=1e-6),
                discount,
                batch.next_observation[row, 0, 0].tolist() if discount else None,
                batch.teacher_outputs[row].tolist(),
                float(batch.has_teacher[row]),
            )
    reader.close()
    return found


EPISODES = {
    "one_step_ending_by_death": [Episode(1, 1, True)],
    "one_step_cut_off": [Episode(1, 1, False)],
    "shorter_than_n_ending_by_death": [Episode(1, 2, True)],
    "shorter_than_n_cut_off": [Episode(1, 2, False)],
    "exactly_n_steps": [Episode(1, 3, True)],
    "longer_than_n_ending_by_death": [Episode(1, 9, True)],
    "longer_than_n_ending_by_the_step_limit": [Episode(1, 9, False)],
    "back_to_back": [Episode(1, 5, True), Episode(50, 2, False), Episode(90, 6, True)],
}


@pytest.mark.parametrize("episodes", EPISODES.values(), ids=EPISODES.keys())
def test_every_transition_is_the_one_of_the_definition(
    address: str, episodes: list[Episode]
) -> None:
    writer = ReplayWriter(address, TEACHER_TABLE, LAYOUT, 1)
    expected: dict[int, Transition] = {}
    for episode in episodes:
        write(writer, 0, episode)
        expected |= transitions_by_definition(episode)
    assert writer.flush(timeout_seconds=PATIENCE_SECONDS)
    writer.close()
    # One item per step, none for padding.
    assert table_counts(address)[TEACHER_TABLE].inserted == len(expected)
    assert transitions_from_replay(address, TEACHER_TABLE) == expected


def test_interleaved_environments_keep_to_their_own_episodes(address: str) -> None:
    writer = ReplayWriter(address, TEACHER_TABLE, LAYOUT, 2)
    left, right = Episode(1, 6, False), Episode(100, 4, True)
    for t in range(4):
        for env, episode in enumerate((left, right)):
            ends = episode.terminated and t == 3
            row = StepRow(
                episode.frame(t), t % 2, episode.reward(t), ends, episode.teacher_outputs(t)
            )
            writer.append(env, row)
    writer.end_episode(1, None)
    for t in (4, 5):
        row = StepRow(left.frame(t), t % 2, left.reward(t), False, left.teacher_outputs(t))
        writer.append(0, row)
    writer.end_episode(0, left.frame(6))
    assert writer.flush(timeout_seconds=PATIENCE_SECONDS)
    writer.close()
    expected = transitions_by_definition(left) | transitions_by_definition(right)
    assert transitions_from_replay(address, TEACHER_TABLE) == expected


def test_an_episode_must_be_ended_the_way_its_last_step_says(address: str) -> None:
    writer = ReplayWriter(address, STUDENT_TABLE, LAYOUT, 1)
    frame = np.zeros(LAYOUT.frame_shape, np.uint8)
    with pytest.raises(ValueError, match="no episode to end"):
        writer.end_episode(0, None)
    writer.append(0, StepRow(frame, 0, 0.0, False, None))
    with pytest.raises(ValueError, match="terminated=False"):
        writer.end_episode(0, None)
    writer.append(0, StepRow(frame, 0, 0.0, True, None))
    with pytest.raises(ValueError, match="terminated=True"):
        writer.end_episode(0, frame)
    with pytest.raises(ValueError, match="call end_episode"):
        writer.append(0, StepRow(frame, 0, 0.0, False, None))
    writer.close()


def test_mixed_batches_hold_the_teachers_share_and_spare_the_other_table(address: str) -> None:
    for table, first in ((TEACHER_TABLE, 1), (STUDENT_TABLE, 101)):
        writer = ReplayWriter(address, table, LAYOUT, 1)
        write(writer, 0, Episode(first, 60, True))
        assert writer.flush(timeout_seconds=PATIENCE_SECONDS)
        writer.close()
    reader = ReplayReader(address, LAYOUT, GAMMA, 32, block_batches=3)
    newest = reader.sample_mixed(1.0, PATIENCE_SECONDS, updates=range(3)).batch.observation[
        :, :, 0, 0, -1
    ]
    assert newest.shape == (3, 32)
    assert np.max(newest) <= 60
    assert table_counts(address)[STUDENT_TABLE].sampled == 0
    blocks = [reader.sample_mixed(0.25, PATIENCE_SECONDS, updates=range(3)) for _ in range(10)]
    newest = np.stack([block.batch.observation[:, :, 0, 0, -1] for block in blocks])
    np.testing.assert_array_equal(newest > 60, [block.from_student for block in blocks])
    # 960 draws with p = 0.25: mean 240, standard deviation sqrt(960 * 0.25 * 0.75) = 13.4.
    assert 240 - 5 * 13.4 < np.sum(newest <= 60) < 240 + 5 * 13.4
    # Each batch has a share of its own: 32 draws, mean 8, standard deviation 2.4.
    of_batches = np.sum(newest <= 60, axis=-1)
    assert of_batches.min() < 8 < of_batches.max()
    reader.close()


def test_an_empty_table_times_out_and_gives_its_batch_once_there_is_one(address: str) -> None:
    reader = ReplayReader(address, LAYOUT, GAMMA, 4)
    with pytest.raises(ReplayTimeout, match="'teacher' gave no batch"):
        reader.sample(TEACHER_TABLE, timeout_seconds=0.2)
    writer = ReplayWriter(address, TEACHER_TABLE, LAYOUT, 1)
    write(writer, 0, Episode(1, 5, True))
    assert writer.flush(timeout_seconds=PATIENCE_SECONDS)
    assert len(reader.sample(TEACHER_TABLE, timeout_seconds=PATIENCE_SECONDS).batch.action) == 4
    reader.close()
    writer.close()


def test_a_layout_of_another_experiment_is_refused_by_both_sides(address: str) -> None:
    other = dataclasses.replace(LAYOUT, num_actions=6)
    with pytest.raises(UserError, match="2 actions, but this experiment has .* 6 actions"):
        ReplayWriter(address, TEACHER_TABLE, other, 1)
    reader = ReplayReader(address, other, GAMMA, 32)
    with pytest.raises(UserError, match="2 actions, but this experiment has .* 6 actions"):
        reader.sample(TEACHER_TABLE, timeout_seconds=1)
    with pytest.raises(UserError, match="no table 'expert'"):
        ReplayWriter(address, "expert", LAYOUT, 1)

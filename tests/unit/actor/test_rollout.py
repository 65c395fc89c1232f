"""What `Rollout` writes, read back from a real replay server.

The environment numbers its observations: the newest frame of observation c of environment e is
(e, c), its reward is c / 100, the policy's action is (e + c) % 3, the teacher's values are the sum
of all pixels, times 1, 2 and 3. A stored transition can thus be checked against the definition,
whatever its place.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
from numpy.typing import NDArray

from rrl_agents.environments.registry import EnvironmentConfig, make_environment
from rrl_agents.environments.vector_environment import Step, VectorEnvironment
from rrl_agents.types import Batch, EnvironmentSpec
from rrl_client import TeacherClient
from services.actor.behaviours import Annotator, Labels
from services.actor.rollout import Rollout
from services.replay.config import ReplayConfig
from services.replay.connection import table_counts
from services.replay.item_layout import ItemLayout, StepRow
from services.replay.reader import ReplayReader
from services.replay.server import build_replay
from services.replay.table_names import STUDENT_TABLE
from services.replay.writer import ReplayWriter, WriterStopped
from tests.support.patience import PATIENCE_SECONDS
from tests.support.policies import PixelSums

CATCH = EnvironmentConfig(name="catch")
GAMMA = 0.5
NUM_ENVS = 3
TERMINATES_AFTER, CUT_OFF_AFTER = 3, 5
SPEC = EnvironmentSpec(
    name="counting",
    frame_shape=(1, 2),
    stack_size=2,
    num_actions=3,
    frames_per_step=1,
    max_episode_steps=CUT_OFF_AFTER,
)
LAYOUT = ItemLayout(frame_shape=(1, 2), stack_size=2, n_step=1, num_actions=3, clips_rewards=False)


class Counting:
    """Environment 0 terminates after 3 steps, 1 is cut off after 5, 2 never ends."""

    spec = SPEC
    num_envs = NUM_ENVS

    def reset(self, seed: int) -> NDArray[np.uint8]:
        self._clock = 0
        return self._observations()

    def begin_step(self, action: NDArray[np.int64]) -> None:
        pass

    def finish_step(self) -> Step:
        reward = np.full(NUM_ENVS, self._clock / 100, np.float32)
        self._clock += 1
        age = np.asarray([episode_age(env, self._clock) for env in range(NUM_ENVS)])
        return Step(
            observation=self._observations(),
            reward=reward,
            terminated=age == (TERMINATES_AFTER, -1, -1),
            truncated=age == (-1, CUT_OFF_AFTER, -1),
            episode_start=age == 0,
        )

    def close(self) -> None:
        pass

    def _observations(self) -> NDArray[np.uint8]:
        return np.asarray([stack(env, self._clock) for env in range(NUM_ENVS)], np.uint8)


def episode_age(env: int, clock: int) -> int:
    """Steps since the episode of observation `clock` began; one call between episodes resets."""
    return clock % (TERMINATES_AFTER + 1, CUT_OFF_AFTER + 1, 256)[env]


def stack(env: int, clock: int) -> NDArray[np.uint8]:
    """uint8 [1, 2, 2]: frames (env, clock - 1), or zeros at a start, and (env, clock)."""
    before = (env, clock - 1) if episode_age(env, clock) > 0 else (0, 0)
    return np.asarray([before, (env, clock)], np.uint8).T[np.newaxis]


class Transition(NamedTuple):
    action: int
    reward: float
    discount: float
    observation: list[int]
    next_observation: list[int]
    teacher_outputs: list[float]
    has_teacher: float


def transitions_by_definition(steps: int, labelled: set[int]) -> dict[tuple[int, int], Transition]:
    """By environment and clock of the state acted in; `labelled` are the clocks with an answer."""
    found = {}
    for env in range(NUM_ENVS):
        for clock in range(steps):
            ended = episode_age(env, clock) == (TERMINATES_AFTER, CUT_OFF_AFTER, -1)[env]
            if ended:
                continue
            terminates = env == 0 and episode_age(env, clock + 1) == TERMINATES_AFTER
            answered = clock in labelled
            found[env, clock] = Transition(
                action=(env + clock) % 3,
                reward=float(np.float32(clock / 100)),
                discount=0.0 if terminates else GAMMA,
                observation=stack(env, clock).ravel().tolist(),
                next_observation=[] if terminates else stack(env, clock + 1).ravel().tolist(),
                teacher_outputs=values(stack(env, clock)[np.newaxis])[0].tolist()
                if answered
                else [0, 0, 0],
                has_teacher=float(answered),
            )
    return found


def transitions_from_replay(address: str) -> dict[tuple[int, int], Transition]:
    """All that the table holds: enough batches to meet every item, all but surely."""
    found = {}
    for batch in batches(address, LAYOUT):
        for row in range(32):
            newest = tuple(batch.observation[row, 0, :, -1].tolist())
            discount = float(batch.discount[row])
            found[newest] = Transition(
                action=int(batch.action[row]),
                reward=float(batch.n_step_return[row]),
                discount=discount,
                observation=batch.observation[row].ravel().tolist(),
                next_observation=batch.next_observation[row].ravel().tolist() if discount else [],
                teacher_outputs=batch.teacher_outputs[row].tolist(),
                has_teacher=float(batch.has_teacher[row]),
            )
    return found


def batches(address: str, layout: ItemLayout) -> Iterator[Batch]:
    reader = ReplayReader(address, layout, GAMMA, 32)
    for _ in range(12 * table_counts(address)[STUDENT_TABLE].size // 32 + 2):
        yield reader.sample(STUDENT_TABLE, timeout_seconds=PATIENCE_SECONDS).batch
    reader.close()


def act(observations: NDArray[np.uint8], labels: Labels) -> tuple[NDArray[np.int64], Labels]:
    env, clock = observations[:, 0, :, -1].astype(np.int64).T
    return (env + clock) % 3, labels


def values(observations: NDArray[np.uint8]) -> NDArray[np.float32]:
    """What the teacher would answer."""
    sums = observations.reshape(len(observations), -1).sum(axis=1)
    return np.outer(sums, [1, 2, 3]).astype(np.float32)


class Table:
    """One replay server and the plays into it."""

    def __init__(self, folder: Path, layout: ItemLayout) -> None:
        self._layout = layout
        self._server = build_replay(
            ReplayConfig(
                layout=layout, checkpoint_root=folder, min_student_size=1, error_buffer=1e6
            )
        )
        self._server.start()
        self.address = self._server.address
        self.annotator = Annotator()
        self.writer: ReplayWriter | None = None

    def rollout(
        self, environment: VectorEnvironment, *, max_pending: int = 8, **settings: Any
    ) -> Rollout:
        num_envs = environment.num_envs
        self.writer = ReplayWriter(self.address, STUDENT_TABLE, self._layout, num_envs)
        return Rollout(
            environment, self.writer, self.annotator, seed=0, max_pending=max_pending, **settings
        )

    def inserted(self) -> int:
        assert self.writer is not None
        assert self.writer.flush(timeout_seconds=PATIENCE_SECONDS)
        return table_counts(self.address)[STUDENT_TABLE].inserted

    def close(self) -> None:
        if self.writer is not None:
            self.writer.close()
        self._server.stop()


@pytest.fixture
def table(tmp_path: Path) -> Iterator[Table]:
    made = Table(tmp_path / "replay", LAYOUT)
    yield made
    made.close()


# After 3 steps environment 0 has just terminated, after 4 just been reset, after 5 environment 1
# has just been cut off, after 6 just been reset; after 16 episodes of both have come and gone.
@pytest.mark.parametrize("steps", [1, 3, 4, 5, 6, 16])
def test_a_stretch_of_any_length_stores_every_step_once_and_no_reset(
    table: Table, steps: int
) -> None:
    rollout = table.rollout(Counting())
    for _ in range(steps):
        rollout.step(lambda observations, starts: act(observations, values(observations)))
    rollout.finish()
    expected = transitions_by_definition(steps, labelled=set(range(steps)))
    # One item per step: none for padding, none across the start of an episode.
    assert table.inserted() == len(expected)
    assert transitions_from_replay(table.address) == expected


def test_late_answers_find_their_states(
    table: Table, teacher: TeacherClient, teacher_policy: PixelSums
) -> None:
    rollout = table.rollout(Counting(), max_pending=8)

    def three_kinds_of_labels(
        observations: NDArray[np.uint8], starts: NDArray[np.bool_]
    ) -> tuple[NDArray[np.int64], Labels]:
        clock = int(observations[0, 0, 1, -1])
        future = teacher.evaluate_future(observations, 30)
        return act(observations, (future, values(observations), None)[clock % 3])

    teacher_policy.gate.clear()
    for _ in range(8):
        rollout.step(three_kinds_of_labels)
    # Acting continues; what is settled waits behind what is not, or rows would change places.
    assert table.inserted() == 0
    teacher_policy.gate.set()
    for _ in range(8, 20):
        rollout.step(three_kinds_of_labels)
    rollout.finish()
    expected = transitions_by_definition(20, {clock for clock in range(20) if clock % 3 != 2})
    assert table.inserted() == len(expected)
    assert transitions_from_replay(table.address) == expected
    assert table.annotator.unanswered_queries == 0


def test_states_without_an_answer_are_stored_without_a_label_and_counted(
    table: Table, teacher: TeacherClient, teacher_policy: PixelSums
) -> None:
    # The teacher hangs for 6 steps. From the third on, each step waits for the oldest's deadline.
    rollout = table.rollout(Counting(), max_pending=2)
    teacher_policy.gate.clear()
    for _ in range(6):
        rollout.step(lambda states, starts: act(states, teacher.evaluate_future(states, 0.2)))
    assert table.annotator.unanswered_queries >= 4
    steps = 6
    while table.annotator.unanswered_queries < 6:
        rollout.step(lambda states, starts: act(states, None))
        steps += 1
    teacher_policy.gate.set()
    for _ in range(4):
        rollout.step(lambda states, starts: act(states, teacher.evaluate_future(states, 30)))
    rollout.finish()
    assert table.annotator.unanswered_queries == 6
    expected = transitions_by_definition(steps + 4, labelled=set(range(steps, steps + 4)))
    assert table.inserted() == len(expected)
    assert transitions_from_replay(table.address) == expected


def test_steps_and_whole_episodes_are_told_as_they_were_played(tmp_path: Path) -> None:
    layout = ItemLayout(
        frame_shape=(10, 5), stack_size=1, n_step=1, num_actions=3, clips_rewards=False
    )
    table = Table(tmp_path / "replay", layout)
    steps: list[int] = []
    returns: list[float] = []
    rollout = table.rollout(
        make_environment(CATCH, 3), on_steps=steps.append, on_episode=returns.append
    )
    # 25 calls: 9 steps and a reset, twice, and 5 steps of an episode that is broken off.
    for _ in range(25):
        rollout.step(lambda states, starts: (np.zeros(len(states), np.int64), None))
    rollout.finish()
    assert sum(steps) == 3 * (9 + 9 + 5) == table.inserted()
    assert len(returns) == 3 * 2
    bare = make_environment(CATCH, 3)
    bare.reset(0)
    played = [bare.step(np.zeros(3, np.int64)) for _ in range(25)]
    # Catch pays once, at the end of an episode: that is its return.
    assert returns == [float(reward) for step in played for reward in step.reward[step.terminated]]


def test_an_atari_frame_stays_what_it_was_while_its_step_is_pending() -> None:
    # `Rollout` keeps views of up to `max_pending` past observations.
    environment = make_environment(EnvironmentConfig(game="pong"), 2)
    observations = [environment.reset(0)]
    copies = [observations[0].copy()]
    for _ in range(40):
        observations.append(environment.step(np.asarray([2, 3])).observation)
        copies.append(observations[-1].copy())
    environment.close()
    np.testing.assert_array_equal(observations, copies)


class Watched(Counting):
    """Says whether a step is under way."""

    is_stepping = False

    def begin_step(self, action: NDArray[np.int64]) -> None:
        self.is_stepping = True

    def finish_step(self) -> Step:
        self.is_stepping = False
        return super().finish_step()


class RowLog:
    """Notes of each row whether its environment was stepping when it came; may stop."""

    def __init__(self, environment: Watched, *, stops_at: int = -1) -> None:
        self.during_steps: list[bool] = []
        self._environment = environment
        self._stops_at = stops_at

    def append(self, env: int, row: StepRow) -> None:
        if len(self.during_steps) == self._stops_at:
            raise WriterStopped("as a writer that waits when the run ends")
        self.during_steps.append(self._environment.is_stepping)

    def end_episode(self, env: int, final_frame: NDArray[Any] | None) -> None:
        pass


def test_rows_are_written_while_the_environments_step() -> None:
    environment = Watched()
    log = RowLog(environment)
    rollout = Rollout(environment, log, Annotator(), seed=0, max_pending=8)
    for _ in range(3):
        rollout.step(lambda states, starts: act(states, None))
    # The rows of two steps of three environments; those of the third come with the next.
    assert log.during_steps == [True] * 6
    rollout.finish()
    assert log.during_steps == [True] * 6 + [False] * 3


def test_no_step_stays_under_way_when_the_writer_stops() -> None:
    environment = Watched()
    rollout = Rollout(
        environment, RowLog(environment, stops_at=4), Annotator(), seed=0, max_pending=8
    )
    with pytest.raises(WriterStopped):
        for _ in range(9):
            rollout.step(lambda states, starts: act(states, None))
    assert not environment.is_stepping

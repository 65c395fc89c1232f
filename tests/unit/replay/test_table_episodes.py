"""Episodes as they were written, out of the items of a table."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from rrl_agents.checkpoints.minari_files.writing import PlayedEpisode
from services.replay.item_layout import ItemLayout, StepRow
from services.replay.local_table import LocalTable
from services.replay.local_writer import LocalWriter
from services.replay.table_episodes import table_episodes

LAYOUT = ItemLayout(
    frame_shape=(2,),
    stack_size=2,
    n_step=2,
    num_actions=3,
    clips_rewards=False,
    frame_dtype="float32",
)


def frame(env: int, step: int) -> np.ndarray[tuple[int], np.dtype[np.float32]]:
    return np.array([env, step], np.float32)


def append(writer: LocalWriter, env: int, step: int, *, terminated: bool = False) -> None:
    row = StepRow(
        frame=frame(env, step),
        action=step % 3,
        reward=float(step),
        terminated=terminated,
        teacher_outputs=None,
    )
    writer.append(env, row)


def shown(episode: PlayedEpisode) -> tuple[list[list[float]], bool]:
    return [one.tolist() for one in episode.frames], episode.terminated


def table(capacity: int = 100) -> LocalTable:
    """Three environments in turn: one ends after 4 steps, one is cut off, one plays on."""
    table = LocalTable(LAYOUT, capacity)
    writer = LocalWriter(table, LAYOUT, 3)
    for step in range(4):
        for env in range(3):
            append(writer, env, step, terminated=env == 0 and step == 3)
    writer.end_episode(0, None)
    writer.end_episode(1, frame(1, 4))
    append(writer, 0, 10)
    append(writer, 0, 11)
    append(writer, 0, 12)
    return table


def test_each_episode_has_its_rows_once_and_in_order() -> None:
    played = [*table_episodes(table().save(), LAYOUT)]
    assert [shown(episode) for episode in played] == [
        ([[0, 0], [0, 1], [0, 2], [0, 3]], True),
        # The last row is what the last step led to.
        ([[1, 0], [1, 1], [1, 2], [1, 3], [1, 4]], False),
        # Items of an unfinished episode show its rows so far.
        ([[2, 0], [2, 1], [2, 2], [2, 3]], False),
        ([[0, 10], [0, 11], [0, 12]], False),
    ]
    ended, cut_off, open_ended, _ = played
    assert (ended.steps, cut_off.steps, open_ended.steps) == (4, 4, 3)
    assert ended.action.tolist() == [0, 1, 2, 0]
    assert cut_off.reward[: cut_off.steps].tolist() == [0.0, 1.0, 2.0, 3.0]


def test_rows_that_follow_each_other_in_a_circle_are_refused() -> None:
    saved = table().save()
    damaged = dataclasses.replace(saved, items=saved.items[:, ::-1])
    with pytest.raises(ValueError, match="not in chronological order"):
        [*table_episodes(damaged, LAYOUT)]


def test_of_an_episode_whose_oldest_items_are_gone_the_rest_is_there() -> None:
    # Items, oldest first: (0, 0), (1, 0), (2, 0), (0, 1), ...; the newest 2 of the first three
    # episodes' 4 + 4 + 2 and the last one's 1 are kept.
    played = [*table_episodes(table(capacity=2).save(), LAYOUT)]
    # The item of step 3 shows the frame before it, its own, and the final one.
    assert [shown(episode) for episode in played] == [
        ([[1, 2], [1, 3], [1, 4]], False),
        ([[0, 10], [0, 11], [0, 12]], False),
    ]

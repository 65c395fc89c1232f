"""Recorded play as Minari datasets, read by Minari itself and by our own reader."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import minari
import numpy as np
import pytest

from rrl_agents.checkpoints.dopamine_replay.rows import open_dopamine_replay
from rrl_agents.checkpoints.minari_files.conversion import convert_minari
from rrl_agents.checkpoints.minari_files.writing import (
    MinariDescription,
    PlayedEpisode,
    episodes_of,
    write_minari,
)

ACTIONS = 4
# Rows, and whether the last one is terminal: 5, 3 and 0 steps.
EPISODES = ((5, True), (4, False), (1, False))


def episodes(shape: tuple[int, ...], dtype: str) -> list[PlayedEpisode]:
    random = np.random.default_rng(0)
    return [
        PlayedEpisode(
            frames=[(255 * random.random(shape)).astype(dtype) for _ in range(rows)],
            action=random.integers(0, ACTIONS, rows).astype(np.int32),
            reward=random.normal(size=rows).astype(np.float32),
            terminated=terminated,
        )
        for rows, terminated in EPISODES
    ]


def written(folder: Path, played: list[PlayedEpisode], shape: tuple[int, ...], dtype: str) -> Path:
    folder.mkdir(parents=True)
    about = MinariDescription(
        dataset_id="ours/played-v0",
        frame_shape=shape,
        frame_dtype=dtype,
        num_actions=ACTIONS,
        algorithm="qdagger",
        text="about",
    )
    assert write_minari(folder, played, about) == (2, 8)
    return folder


@pytest.mark.parametrize(
    ("shape", "dtype"),
    [
        ((36, 40), "uint8"),
        ((36, 40, 3), "uint8"),
        ((10, 5), "uint8"),
        ((10, 10, 4), "uint8"),
        ((4,), "float32"),
    ],
)
def test_minari_reads_what_was_played(tmp_path: Path, shape: tuple[int, ...], dtype: str) -> None:
    played = episodes(shape, dtype)
    dataset = minari.MinariDataset(written(tmp_path / "set", played, shape, dtype) / "data")
    assert (dataset.total_episodes, dataset.total_steps) == (2, 8)
    assert dataset.observation_space.shape == shape
    assert dataset.action_space.n == ACTIONS
    first, second = dataset.iterate_episodes()
    ended, cut_off = played[:2]
    # Of the state behind a terminal step, replay has nothing.
    nothing = np.zeros(shape, dtype)
    np.testing.assert_array_equal(first.observations, np.stack([*ended.frames, nothing]))
    np.testing.assert_array_equal(second.observations, np.stack([*cut_off.frames]))
    np.testing.assert_array_equal(first.actions, ended.action)
    np.testing.assert_array_equal(second.actions, cut_off.action[:3])
    np.testing.assert_array_equal(first.rewards, ended.reward)
    np.testing.assert_array_equal(second.rewards, cut_off.reward[:3])
    assert [*first.terminations] == [False] * 4 + [True] and not any(first.truncations)
    assert [*second.truncations] == [False, False, True] and not any(second.terminations)


def test_minari_finds_a_dataset_by_its_id(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MINARI_DATASETS_PATH", str(tmp_path))
    written(tmp_path / "ours" / "played-v0", episodes((4,), "float32"), (4,), "float32")
    assert minari.load_dataset("ours/played-v0").total_steps == 8
    about = json.loads((tmp_path / "ours/played-v0/data/metadata.json").read_text())
    assert about["algorithm_name"] == "qdagger" and about["description"] == "about"


def test_gray_frames_come_back_as_the_same_rows(tmp_path: Path) -> None:
    shape, stack = (36, 40), 3
    played = episodes(shape, "uint8")
    folder = written(tmp_path / "set", played, shape, "uint8")
    convert_minari(folder, tmp_path / "buffer", stack)
    back = [*episodes_of(open_dopamine_replay(tmp_path / "buffer"))]
    assert [episode.terminated for episode in back] == [True, False]
    for one, other in zip(back, played, strict=False):
        same: Any = (one.steps, [frame.tolist() for frame in one.frames])
        assert same == (other.steps, [frame.tolist() for frame in other.frames])
        np.testing.assert_array_equal(one.action[: one.steps], other.action[: other.steps])
        np.testing.assert_array_equal(one.reward[: one.steps], other.reward[: other.steps])


def test_images_of_one_channel_lose_its_axis_and_of_many_are_refused(tmp_path: Path) -> None:
    played = episodes((36, 40, 1), "uint8")
    dataset = minari.MinariDataset(
        written(tmp_path / "gray", played, (36, 40, 1), "uint8") / "data"
    )
    assert dataset.observation_space.shape == (36, 40)
    _, second = dataset.iterate_episodes()
    np.testing.assert_array_equal(second.observations, np.stack([*played[1].frames])[..., 0])
    with pytest.raises(ValueError, match="have 5 channels; Minari keeps images of at most 4"):
        written(tmp_path / "many", episodes((36, 40, 5), "uint8"), (36, 40, 5), "uint8")


def test_nothing_played_is_no_dataset(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="no step"):
        written(tmp_path / "set", episodes((4,), "float32")[2:], (4,), "float32")

"""Whether recorded data fits a run is found out before anything is started."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from dopamine.replay_memory.circular_replay_buffer import OutOfGraphReplayBuffer

from rrl_agents.checkpoints.dopamine_replay.rows import open_dopamine_replay
from rrl_agents.environments.registry import EnvironmentConfig
from rrl_agents.reincarnation.qdagger import QDaggerConfig
from rrl_agents.reincarnation.tabula_rasa import TabulaRasaConfig
from rrl_agents.training.q_learning_config import QLearningConfig
from services.launcher.experiment_config import ExperimentConfig, TeacherChoice
from services.launcher.jobs import Job, actor_config, importer_config
from services.launcher.resolution import resolve
from services.launcher.roles import process_environment
from services.launcher.run_directory import open_run
from services.learner.config import ShardAddress
from services.recorded_data.dataset import check_data
from services.recorded_data.labels import LabelManifest, Labels
from services.replay.item_layout import ItemLayout
from services.shared.errors import UserError

CATCH = ItemLayout(frame_shape=(10, 5), stack_size=1, n_step=3, num_actions=3, clips_rewards=False)


def recorded(
    directory: Path,
    *,
    rows: int = 100,
    layout: ItemLayout = CATCH,
    number: int = 0,
    reward: float = 0.0,
) -> Path:
    """One long episode as Dopamine saves it; frame t is filled with t, action t is t modulo A."""
    buffer = OutOfGraphReplayBuffer(
        observation_shape=layout.frame_shape,
        stack_size=layout.stack_size,
        replay_capacity=1000,
        batch_size=1,
        update_horizon=layout.n_step,
    )
    for row in range(rows):
        frame = np.full(layout.frame_shape, row % 256, np.uint8)
        buffer.add(frame, row % layout.num_actions, reward, 0)
    directory.mkdir(exist_ok=True)
    buffer.save(str(directory), number)
    return directory


def config(checkpoint: Path, data: Path, **changes: Any) -> ExperimentConfig:
    small = QDaggerConfig(q_learning=QLearningConfig(n_step=3, min_replay_size=16))
    return dataclasses.replace(
        ExperimentConfig(
            method=small,
            environment=EnvironmentConfig(name="catch"),
            teacher=TeacherChoice(checkpoint=str(checkpoint), data=str(data)),
        ),
        **changes,
    )


def test_all_of_the_data_is_taken_unless_the_budget_or_the_table_is_smaller(
    tmp_path: Path, catch_teacher: Path
) -> None:
    data = recorded(tmp_path / "data")
    # A transition needs its own row and 3 more: 100 - 3.
    assert resolve(config(catch_teacher, data)).targets.teacher_steps == 97
    assert resolve(config(catch_teacher, data, teacher_steps=50)).targets.teacher_steps == 50
    assert resolve(config(catch_teacher, data, replay_capacity=40)).targets.teacher_steps == 40


@pytest.mark.parametrize("named", ["", "checkpoints", "replay_logs"])
def test_data_in_replay_logs_is_found_beside_the_checkpoints(tmp_path: Path, named: str) -> None:
    recorded(tmp_path / "replay_logs")
    (tmp_path / "checkpoints").mkdir()
    data = check_data(str(tmp_path / named), None, CATCH)
    assert data.transitions == 97
    assert data.open().rows == 100


def test_roles_are_told_about_the_data(tmp_path: Path, catch_teacher: Path) -> None:
    data = recorded(tmp_path / "data")
    experiment = resolve(config(catch_teacher, data))
    job = Job(
        experiment=experiment,
        run=tmp_path,
        learner_address="localhost:3",
        replay=(ShardAddress(data="localhost:1", control=""),),
        teacher_address="localhost:2",
    )
    importer = importer_config(job)
    assert importer.transitions == 97
    assert importer.data.path == str(data)
    assert importer.layout == CATCH
    assert not actor_config(job).teacher_plays
    assert experiment.uses_teacher
    # The importer is not a place for a GPU.
    assert process_environment("importer")["JAX_PLATFORMS"] == "cpu"


def test_a_method_that_learns_nothing_offline_reads_no_data(
    tmp_path: Path, catch_teacher: Path
) -> None:
    alone = TabulaRasaConfig(q_learning=QLearningConfig(min_replay_size=16))
    experiment = resolve(config(catch_teacher, tmp_path / "nowhere", method=alone))
    assert experiment.data is None
    assert experiment.targets.teacher_steps == 0
    with pytest.raises(UserError, match="nothing to import: give --teacher.data"):
        importer_config(Job(experiment=experiment))


def test_other_data_for_the_same_run_is_refused(tmp_path: Path, catch_teacher: Path) -> None:
    data = recorded(tmp_path / "data")
    experiment = resolve(config(catch_teacher, data))
    content = json.loads(experiment.to_json())
    assert content["teacher"]["data"] == str(data)
    assert content["teacher"]["data_fingerprint"] == open_dopamine_replay(data).fingerprint
    open_run(tmp_path / "run", experiment)
    assert open_run(tmp_path / "run", resolve(config(catch_teacher, data)))
    recorded(data, reward=1.0)
    with pytest.raises(UserError, match="another experiment .*teacher.data_fingerprint"):
        open_run(tmp_path / "run", resolve(config(catch_teacher, data)))


def test_the_checkpoint_of_the_data_can_be_chosen(tmp_path: Path, catch_teacher: Path) -> None:
    data = recorded(tmp_path / "data", rows=50, number=1)
    recorded(data, rows=80, number=2)
    choice = TeacherChoice(checkpoint=str(catch_teacher), data=str(data))
    assert resolve(config(catch_teacher, data)).targets.teacher_steps == 77
    older = dataclasses.replace(choice, data_number=1)
    assert resolve(config(catch_teacher, data, teacher=older)).targets.teacher_steps == 47


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda path: path / "none", "no replay buffer here"),
        (
            lambda path: recorded(path / "d", layout=dataclasses.replace(CATCH, stack_size=2)),
            r"stacks of 2 frames uint8 \(10, 5\), the .* shows 1 frames uint8 \(10, 5\)",
        ),
        (
            lambda path: recorded(
                path / "d", layout=dataclasses.replace(CATCH, frame_shape=(8, 8))
            ),
            r"1 frames uint8 \(8, 8\), the environment .* \(10, 5\): choose data of this game",
        ),
        (
            lambda path: recorded(path / "d", layout=dataclasses.replace(CATCH, num_actions=9)),
            "holds action 8, the environment has 3 actions",
        ),
        (lambda path: recorded(path / "d", rows=3), "no whole transition of 3 steps in its 3 rows"),
    ],
    ids=["missing", "other stack", "other frames", "other actions", "too short"],
)
def test_data_that_does_not_fit_is_refused_at_once(
    tmp_path: Path, catch_teacher: Path, make: Callable[[Path], Path], message: str
) -> None:
    with pytest.raises(UserError, match=message):
        resolve(config(catch_teacher, make(tmp_path)))


def test_labels_of_other_data_or_of_another_teacher_are_refused_at_once(
    tmp_path: Path, catch_teacher: Path
) -> None:
    data = recorded(tmp_path / "data")
    rows = open_dopamine_replay(data)
    choice = TeacherChoice(checkpoint=str(catch_teacher), data=str(data))
    labels = dataclasses.replace(choice, labels=str(tmp_path / "labels"))
    experiment = resolve(config(catch_teacher, data, teacher=labels))
    manifest = LabelManifest(
        data_fingerprint=rows.fingerprint,
        rows=rows.rows,
        num_actions=3,
        teacher="catch_by_hand",
        teacher_version=experiment.card.parameters_sha256[:16],
    )
    Labels(tmp_path / "labels", manifest).close()
    resolve(config(catch_teacher, data, teacher=labels))
    other = dataclasses.replace(manifest, teacher="other", teacher_version="0" * 16)
    Labels(tmp_path / "others", other).close()
    others = dataclasses.replace(choice, labels=str(tmp_path / "others"))
    with pytest.raises(UserError, match=r"labels of another teacher: other \(0{16}\), not the one"):
        resolve(config(catch_teacher, data, teacher=others))
    recorded(data, reward=1.0)
    with pytest.raises(UserError, match="holds labels of another data: "):
        resolve(config(catch_teacher, data, teacher=labels))


def test_data_must_still_be_the_same_when_it_is_opened_again(tmp_path: Path) -> None:
    data = check_data(str(recorded(tmp_path / "data")), None, CATCH)
    assert len(data.open().transition_rows(3)) == data.transitions == 97
    recorded(tmp_path / "data", reward=1.0)
    with pytest.raises(UserError, match="other data than when this run was set up"):
        data.open()


@pytest.mark.parametrize("stack_size", [1, 4])
def test_the_newest_rows_hold_the_newest_transitions_and_no_others(
    tmp_path: Path, stack_size: int
) -> None:
    layout = dataclasses.replace(CATCH, stack_size=stack_size)
    whole = open_dopamine_replay(recorded(tmp_path / "data", rows=40, layout=layout))
    newest = whole.newest(n_step=3, transitions=10)
    # Transitions begin at frames 27 .. 36 (the last three wait for their windows); the first needs
    # stack - 1 frames before it.
    assert newest.rows == 13 + stack_size - 1
    assert newest.transition_rows(3).tolist() == list(range(stack_size - 1, stack_size + 9))
    assert (newest.stack_size, newest.frame_shape) == (stack_size, CATCH.frame_shape)
    chunks = list(newest.chunks(rows_per_chunk=4))
    assert [chunk.first_row for chunk in chunks] == list(range(0, newest.rows, 4))
    frames = np.concatenate([chunk.frame[:, 0, 0] for chunk in chunks])
    assert frames.tolist() == list(range(27 - (stack_size - 1), 40))
    is_state = np.concatenate([chunk.columns.is_state for chunk in chunks])
    assert np.flatnonzero(is_state)[0] == stack_size - 1
    (rest,) = newest.chunks(first_row=newest.rows - 2)
    assert rest.frame[:, 0, 0].tolist() == [38, 39]

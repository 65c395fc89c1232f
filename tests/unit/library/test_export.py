"""A student's directory: whole or not at all, every form of it with the student's own values."""

from __future__ import annotations

import dataclasses
import os
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import onnx
import onnxruntime
import pytest
from numpy.typing import NDArray

from rrl_agents.checkpoints.dopamine_agents.export import TrainingState
from rrl_agents.checkpoints.import_dopamine import import_dopamine_agent
from rrl_agents.checkpoints.params_codec import params_hash, params_to_bytes
from rrl_agents.checkpoints.teacher_card import Teacher, TeacherCard
from rrl_agents.checkpoints.teacher_directory import load_teacher_directory, save_teacher
from rrl_agents.environments.registry import EnvironmentConfig
from rrl_agents.networks.config import NetworkConfig
from rrl_agents.networks.registry import action_values, initial_params, make_network
from services.library import export as export
from services.library.export import (
    check_same_values,
    export_teacher,
    onnx_model,
    played_states,
)
from services.shared.errors import UserError

CATCH = EnvironmentConfig(name="catch")
MLP = NetworkConfig(name="mlp", features=(8,))


def student_of(network: NetworkConfig, game: str, shape: tuple[int, int, int]) -> Teacher:
    params = jax.device_get(initial_params(make_network(network, 3), jax.random.key(1), shape))
    card = TeacherCard(
        name="our student",
        game=game,
        network=network,
        num_actions=3,
        observation_shape=shape,
        made="for a test",
        parameters_sha256=params_hash(params_to_bytes(params)),
    )
    return Teacher(params=params, card=card)


@pytest.fixture(scope="module")
def student() -> Teacher:
    return student_of(MLP, "catch", (10, 5, 1))


@pytest.fixture(scope="module")
def states() -> NDArray[Any]:
    return played_states(CATCH)


def files(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())


def values(teacher: Teacher, observations: NDArray[Any]) -> NDArray[Any]:
    assert teacher.card.network is not None
    network = make_network(teacher.card.network, teacher.card.num_actions)
    return np.asarray(action_values(network, teacher.params, jnp.asarray(observations)))


def test_a_student_is_written_as_a_teacher_that_loads(tmp_path: Path, student: Teacher) -> None:
    export_teacher(tmp_path / "deep" / "student", student)
    assert files(tmp_path) == [
        "deep/student/README.md",
        "deep/student/card.json",
        "deep/student/params.safetensors",
    ]
    loaded = load_teacher_directory(tmp_path / "deep" / "student")
    assert loaded.card == student.card
    assert params_to_bytes(loaded.params) == params_to_bytes(student.params)


def test_the_onnx_file_says_what_it_is_and_gives_the_same_values(
    tmp_path: Path, student: Teacher, states: NDArray[Any]
) -> None:
    export_teacher(tmp_path / "student", student, onnx_states=states)
    path = tmp_path / "student" / "model.onnx"
    said = {entry.key: entry.value for entry in onnx.load(str(path)).metadata_props}
    assert said == {"rrl.game": "catch", "rrl.name": "our student", "rrl.output": "q_values"}
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    (found,) = session.run(["action_values"], {"observations": states})
    np.testing.assert_allclose(found, values(student, states), rtol=1e-5, atol=1e-6)


def test_an_onnx_model_with_other_values_is_not_written(
    tmp_path: Path, student: Teacher, states: NDArray[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    def changed(change: float) -> Teacher:
        params = jax.tree.map(lambda leaf: leaf + np.float32(change), student.params)
        return dataclasses.replace(student, params=params)

    other = onnx_model(changed(0.01))
    with pytest.raises(ValueError, match="answers up to .* differently from the network"):
        check_same_values(other, student, states)
    with pytest.raises(ValueError, match="answers up to nan differently"):
        check_same_values(onnx_model(changed(np.nan)), student, states)
    monkeypatch.setattr(export, "onnx_model", lambda _: other)
    with pytest.raises(UserError, match="is not written: the ONNX model of 'our student'"):
        export_teacher(tmp_path / "student", student, onnx_states=states)
    assert list(tmp_path.iterdir()) == []


def training_of(teacher: Teacher) -> TrainingState:
    """As of a student that has not been trained."""
    zeros = jax.tree.map(np.zeros_like, teacher.params)
    return TrainingState(
        target_params=zeros,
        adam_count=0,
        adam_mean=zeros,
        adam_variance=zeros,
        agent_steps=0,
        number=3,
    )


def test_a_students_dopamine_checkpoint_is_beside_it(tmp_path: Path) -> None:
    full = student_of(NetworkConfig(), "pong", (84, 84, 4))
    export_teacher(tmp_path / "student", full, dopamine=training_of(full))
    assert files(tmp_path / "student" / "dopamine") == [
        "checkpoints/ckpt.3",
        "checkpoints/sentinel_checkpoint_complete.3",
        "load.gin",
    ]
    again = import_dopamine_agent(tmp_path / "student" / "dopamine")
    assert params_to_bytes(again.params) == params_to_bytes(full.params)


def test_a_student_that_dopamine_cannot_hold_leaves_nothing_behind(
    tmp_path: Path, student: Teacher
) -> None:
    with pytest.raises(UserError, match="is not written: Dopamine's JaxDQNAgent has no network"):
        export_teacher(tmp_path / "student", student, dopamine=training_of(student))
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("taken_by", ["file", "folder", "link"])
def test_a_name_that_is_taken_stays_as_it_was(
    tmp_path: Path, student: Teacher, taken_by: str
) -> None:
    taken = tmp_path / "student"
    make = {
        "file": lambda: taken.write_text("mine"),
        "folder": taken.mkdir,
        "link": lambda: taken.symlink_to(tmp_path / "nowhere"),
    }
    make[taken_by]()
    with pytest.raises(UserError, match="exists already, .* give another --name, or another --out"):
        export_teacher(taken, student)
    assert [path.name for path in tmp_path.iterdir()] == ["student"]
    if taken_by == "file":
        assert taken.read_text() == "mine"


def test_a_name_taken_while_we_write_stays_the_others(
    tmp_path: Path, student: Teacher, monkeypatch: pytest.MonkeyPatch
) -> None:
    def slowly(path: Path, params: Any, card: TeacherCard) -> None:
        save_teacher(path, params, card)
        (tmp_path / "student").mkdir()
        (tmp_path / "student" / "card.json").write_text("the other's")

    monkeypatch.setattr(export, "save_teacher", slowly)
    with pytest.raises(UserError, match="exists already"):
        export_teacher(tmp_path / "student", student)
    assert files(tmp_path) == ["student/card.json"]


def test_a_disk_that_is_full_leaves_nothing_behind(
    tmp_path: Path, student: Teacher, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(UserError, match="is not written: .*No space left"):
        export_teacher(tmp_path / "student", student)
    assert list(tmp_path.iterdir()) == []


def test_states_of_play_are_those_of_the_game_and_not_all_alike() -> None:
    found = played_states(CATCH, count=50)
    assert found.shape == (50, 10, 5, 1)
    assert found.dtype == np.uint8
    # A ball and a paddle in each, of which some share a pixel.
    assert set(np.count_nonzero(found, axis=(1, 2, 3))) <= {1, 2}
    assert len({state.tobytes() for state in found}) > 25
    np.testing.assert_array_equal(found, played_states(CATCH, count=50))

"""`rrl teacher label` with a real service: recorded Catch, labelled by the teacher made by hand."""

from __future__ import annotations

import gzip
import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import onnx.compose
import pytest
from numpy.typing import NDArray

from rrl_agents.checkpoints.hints import Hints
from rrl_agents.checkpoints.onnx_export import export_onnx
from rrl_agents.checkpoints.teacher_directory import load_teacher_directory
from rrl_agents.environments import catch
from services.cli.main import run
from services.cli.teacher_label import label
from services.library.teacher_references import import_reference
from services.shared.errors import UserError
from services.teacher.config import ModelConfig, TeacherConfig
from services.teacher.server import build_teacher
from tests.support.patience import PATIENCE_SECONDS

CAPACITY, ADDED = 225, 300
OLDEST = ADDED % CAPACITY


def grids() -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    """Every place of the ball above the bottom with every place of the paddle; its distance."""
    frames, distances = [], []
    for row in range(catch.ROWS - 1):
        for ball in range(catch.COLUMNS):
            for paddle in range(catch.COLUMNS):
                frame = np.zeros((catch.ROWS, catch.COLUMNS), np.uint8)
                frame[row, ball] = frame[-1, paddle] = 255
                frames.append(frame)
                distances.append(ball - paddle)
    return np.asarray(frames), np.asarray(distances)


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """A full buffer of single frames; the cursor is at 300 mod 225 = 75."""
    frames, _ = grids()
    arrays = {
        "$store$_observation": frames,
        "$store$_action": np.arange(CAPACITY, dtype=np.int32) % 3,
        "$store$_reward": np.zeros(CAPACITY, np.float32),
        "$store$_terminal": np.zeros(CAPACITY, np.uint8),
        "add_count": np.array(ADDED),
        # Horizon 1 and a stack of 1: one row before the cursor, and the one at it.
        "invalid_range": np.array([OLDEST - 1, OLDEST]),
    }
    directory = tmp_path / "agent/checkpoints"
    directory.mkdir(parents=True)
    for name, array in arrays.items():
        with gzip.open(directory / f"{name}_ckpt.5.gz", "wb") as file:
            np.save(file, array)
    return directory.parent


@pytest.fixture(scope="module")
def address(catch_teacher: Path) -> Iterator[str]:
    models = (ModelConfig(reference=str(catch_teacher)),)
    server = build_teacher(TeacherConfig(models=models, port=0, metrics_port=None, backend="jax"))
    server.start()
    server.wait_until_ready(PATIENCE_SECONDS)
    yield server.address
    server.stop(0.0)


def expected() -> NDArray[np.float32]:
    """relu(-d), 1/2, relu(d) for the ball d columns right of the paddle, in the order of time."""
    distance = np.roll(grids()[1], -OLDEST)
    half = np.full(CAPACITY, 0.5)
    values = np.stack([np.maximum(-distance, 0), half, np.maximum(distance, 0)], axis=1)
    # The rows around the cursor are not states to Dopamine's reader.
    values[[0, -1]] = 0
    return values.astype(np.float32)


def test_labels_are_the_teachers_scores_in_the_order_of_time(
    data: Path, catch_teacher: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    label(str(data), teacher=str(catch_teacher), backend="jax")
    (labels,) = data.glob("labels-*")
    scores = np.load(labels / "scores.npy", allow_pickle=False)
    np.testing.assert_allclose(scores, expected(), atol=1e-6)
    assert "labelled 225 of 225 rows by catch_by_hand" in capsys.readouterr().out


def test_data_in_the_replay_logs_is_labelled_whichever_folder_is_named(
    data: Path, address: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (data / "checkpoints").rename(data / "replay_logs")
    (data / "checkpoints").mkdir()
    for named in (data, data / "checkpoints", data / "replay_logs"):
        label(str(named), address=address, out=tmp_path / "labels")
    printed = capsys.readouterr().out
    assert printed.count("labelled 225 of 225") == 1
    assert printed.count("labelled 0 of 225") == 2


def test_a_second_run_finds_everything_done(
    data: Path, address: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "labels"
    label(str(data), address=address, out=out)
    before = (out / "scores.npy").stat().st_mtime_ns
    capsys.readouterr()
    label(str(data), address=address, out=out)
    assert "labelled 0 of 225 rows" in capsys.readouterr().out
    assert (out / "scores.npy").stat().st_mtime_ns == before


def test_labels_of_other_data_are_not_continued(data: Path, address: str, tmp_path: Path) -> None:
    out = tmp_path / "labels"
    label(str(data), address=address, out=out)
    with gzip.open(data / "checkpoints/$store$_reward_ckpt.5.gz", "wb") as file:
        np.save(file, np.ones(CAPACITY, np.float32))
    with pytest.raises(UserError, match="labels of another data fingerprint"):
        label(str(data), address=address, out=out)


def test_data_of_another_game_is_refused(data: Path, address: str, tmp_path: Path) -> None:
    place = data / "checkpoints"
    with gzip.open(place / "$store$_observation_ckpt.5.gz", "wb") as file:
        np.save(file, np.zeros((CAPACITY, 8, 8), np.uint8))
    refused = r"takes observations uint8 \(10, 5, 1\), the data has uint8 \(8, 8, 1\)"
    with pytest.raises(UserError, match=refused):
        label(str(data), address=address, out=tmp_path / "labels")


def test_data_with_more_actions_is_refused(data: Path, address: str, tmp_path: Path) -> None:
    with gzip.open(data / "checkpoints/$store$_action_ckpt.5.gz", "wb") as file:
        np.save(file, np.full(CAPACITY, 3, np.int32))
    with pytest.raises(UserError, match="has 3 actions, the data holds action 3"):
        label(str(data), address=address, out=tmp_path / "labels")


def test_what_a_teacher_does_not_say_of_itself_can_be_given(
    data: Path, catch_teacher: Path, tmp_path: Path
) -> None:
    teacher = load_teacher_directory(catch_teacher)
    assert teacher.card.network is not None
    model = onnx.load_model_from_string(
        export_onnx(teacher.card.network, teacher.params, teacher.card.spec)
    )
    silent = onnx.compose.add_prefix(model, "some_")
    onnx.save(silent, tmp_path / "silent.onnx")
    silent = str(tmp_path / "silent.onnx")
    with pytest.raises(UserError, match=f"rrl teacher import {silent} --output=q_values$"):
        label(str(data), teacher=silent, out=tmp_path / "labels")
    imported = import_reference(silent, Hints(output="logits", temperature=0.5))
    label(str(data), teacher=str(imported), out=tmp_path / "labels")
    scores = np.load(tmp_path / "labels/scores.npy", allow_pickle=False)
    np.testing.assert_allclose(scores, expected(), atol=1e-6)
    manifest = json.loads((tmp_path / "labels/labels.json").read_text())
    assert (manifest["output"], manifest["temperature"]) == ("logits", 0.5)


def test_what_is_wrong_is_said_in_one_line(
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit):
        run(["teacher", "label", str(data)])
    assert "--teacher, --address" in capsys.readouterr().err
    with pytest.raises(UserError, match="--backend applies to --teacher only"):
        label(str(data), address="127.0.0.1:1", backend="jax")
    with pytest.raises(UserError, match="0 directories hold replay buffer 6"):
        label(str(data), address="127.0.0.1:1", number=6)
    # Port 1 has no listener.
    with pytest.raises(UserError, match="127.0.0.1:1"):
        label(str(data), address="127.0.0.1:1")
    shutil.rmtree(data)
    with pytest.raises(UserError, match="no replay buffer here"):
        label(str(data), address="127.0.0.1:1")

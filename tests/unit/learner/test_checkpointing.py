from __future__ import annotations

import dataclasses
import json
import os
import resource
import string
from pathlib import Path
from typing import Any

import jax
import numpy as np
import orbax.checkpoint as ocp
import pytest

from rrl_agents.checkpoints.sealed_json import seal, unseal
from rrl_agents.networks.registry import NetworkConfig, initial_params, make_network
from rrl_agents.training.optimiser_config import OptimiserConfig
from rrl_agents.training.train_state import TrainState, initial_train_state
from rrl_agents.types import Progress, Stage
from services.learner.checkpoint_records import (
    DueWeights,
    RunCheckpoint,
    RunRecord,
    check_storable,
    checkpoints_folder,
    newest_checkpoint,
)
from services.learner.checkpointing import (
    check_has_none,
    next_number,
    restore_due,
    restore_state,
    write_checkpoint,
)
from services.shared.errors import UserError


def state(seed: int, units: int = 4) -> TrainState:
    network = make_network(NetworkConfig(name="mlp", features=(units,)), 3)
    fresh = initial_train_state(
        initial_params(network, jax.random.key(seed), (10, 5, 1)), OptimiserConfig()
    )
    return fresh._replace(learner_updates=fresh.learner_updates + 7)


def record(updates: int = 7) -> RunRecord:
    return RunRecord(
        progress=Progress(
            random_return=-0.6,
            teacher_return=1.0,
            student_return=0.25,
            stage=Stage.ONLINE,
            offline_updates=4,
            online_updates=updates - 4,
            weaning_weight=0.5,
            actor_steps=123,
        ),
        seconds=12.5,
    )


def assert_equal_states(one: Any, other: Any) -> None:
    assert jax.tree.structure(one) == jax.tree.structure(other)
    for mine, theirs in zip(jax.tree.leaves(one), jax.tree.leaves(other), strict=True):
        np.testing.assert_array_equal(mine, theirs)


def test_a_checkpoint_brings_back_clocks_weights_and_optimiser(tmp_path: Path) -> None:
    original = state(seed=1)
    write_checkpoint(tmp_path, original, record(), number=1, keep=())
    checkpoint = newest_checkpoint(tmp_path)
    assert checkpoint is not None
    assert checkpoint.record == record()
    assert_equal_states(restore_state(checkpoint, state(seed=2)), original)


def written(run: Path, record: RunRecord, seed: int = 1) -> RunCheckpoint:
    """The next checkpoint, with the one before kept."""
    number = next_number(run)
    return write_checkpoint(run, state(seed), record, number, keep=[number - 1])


def test_the_next_checkpoint_is_the_newest_though_the_others_are_out_of_sight(
    tmp_path: Path,
) -> None:
    written(tmp_path, record(7))
    assert next_number(tmp_path) == next_number(tmp_path, after=1) == 2
    checkpoints_folder(tmp_path).rename(tmp_path / "aside")
    assert next_number(tmp_path, after=1) == 2
    checkpoints_folder(tmp_path).touch()
    assert next_number(tmp_path, after=1) == 2


def test_a_checkpoint_that_breaks_half_way_leaves_the_one_before(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    written(tmp_path, record(7))

    def disk_full(descriptor: int) -> None:
        raise OSError("No space left on device")

    with monkeypatch.context() as patched, pytest.raises(OSError, match="No space left"):
        patched.setattr(os, "fsync", disk_full)
        written(tmp_path, record(9))
    checkpoint = newest_checkpoint(tmp_path)
    assert checkpoint is not None and checkpoint.record == record(7)
    # What there is of the other would keep a full disk full.
    assert [path.name for path in checkpoints_folder(tmp_path).iterdir()] == ["00000001"]
    written(tmp_path, record(11))
    leftovers = [path.name for path in checkpoints_folder(tmp_path).iterdir()]
    assert sorted(leftovers) == ["00000001", "00000002"]


# TensorStore tells Orbax's loop of what failed, which may be closed by then.
@pytest.mark.filterwarnings("ignore:Exception ignored in:pytest.PytestUnraisableExceptionWarning")
def test_a_state_that_does_not_fit_on_the_disk_is_said_as_any_other_such_file(
    tmp_path: Path,
) -> None:
    written(tmp_path, record(7))
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    # Writes fail as on a full disk: Python ignores the signal that comes with it.
    resource.setrlimit(resource.RLIMIT_FSIZE, (100, limits[1]))
    try:
        with pytest.raises(OSError, match="File too large"):
            written(tmp_path, record(9))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert [path.name for path in checkpoints_folder(tmp_path).iterdir()] == ["00000001"]


def test_a_run_starts_from_scratch_only_without_a_checkpoint_not_even_a_damaged_one(
    tmp_path: Path,
) -> None:
    check_has_none(tmp_path)
    damaged = written(tmp_path, record(7))
    (damaged.path / "record.json").write_text("")
    assert newest_checkpoint(tmp_path) is None
    with pytest.raises(UserError, match=r"none of the checkpoints .* can be read \(00000001"):
        check_has_none(tmp_path)


def test_only_what_is_to_be_kept_stays_beside_a_new_checkpoint(tmp_path: Path) -> None:
    for updates in (5, 6, 7):
        written(tmp_path, record(updates))
    # The newest turned out damaged: its number is passed over, and goes with the next checkpoint.
    write_checkpoint(tmp_path, state(1), record(7), number=4, keep=[2])
    names = sorted(path.name for path in checkpoints_folder(tmp_path).iterdir())
    assert names == ["00000002", "00000004"]


def test_a_checkpoint_whose_tables_cannot_be_had_is_passed_over(tmp_path: Path) -> None:
    written(tmp_path, record(7))
    written(tmp_path, record(8))
    checkpoint = newest_checkpoint(tmp_path, unusable={2})
    assert checkpoint is not None and checkpoint.record == record(7)


def test_a_state_of_which_a_byte_has_changed_is_passed_over(tmp_path: Path) -> None:
    written(tmp_path, record(7))
    damaged = written(tmp_path, record(8))
    file = max((damaged.path / "state").rglob("*"), key=lambda path: path.stat().st_size)
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 1
    file.write_bytes(bytes(content))
    checkpoint = newest_checkpoint(tmp_path)
    assert checkpoint is not None and checkpoint.record == record(7)
    (checkpoint.path / "state" / "more").write_text("a file that no checkpoint has")
    assert newest_checkpoint(tmp_path) is None


@pytest.mark.parametrize(
    "damage",
    [
        "",
        "{",
        seal({"progress": {}, "seconds": 1}),
        seal({"progress": {"stage": "NO"}}),
        json.dumps({"progress": {"stage": "ONLINE"}, "seconds": 1, "digests": {}}),
    ],
)
def test_a_damaged_checkpoint_is_passed_over_for_the_one_before(
    tmp_path: Path, damage: str
) -> None:
    written(tmp_path, record(7))
    broken = written(tmp_path, record(8))
    (broken.path / "record.json").write_text(damage)
    checkpoint = newest_checkpoint(tmp_path)
    assert checkpoint is not None and checkpoint.record == record(7)


def test_a_run_without_checkpoints_has_none(tmp_path: Path) -> None:
    assert newest_checkpoint(tmp_path / "absent") is None


def test_a_state_of_another_network_is_refused(tmp_path: Path) -> None:
    checkpoint = write_checkpoint(tmp_path, state(1, units=4), record(), number=1, keep=())
    with pytest.raises(UserError, match="does not fit this experiment"):
        restore_state(checkpoint, state(1, units=5))


DUE = DueWeights(
    version=6,
    progress=Progress(random_return=-0.6, stage=Stage.ONLINE, offline_updates=4, online_updates=1),
    seconds=11.0,
    final=False,
    sessions=("one", "two"),
)


def with_due_weights(run: Path, updates: int) -> RunCheckpoint:
    """A checkpoint with one evaluation that had not come back."""
    noted = dataclasses.replace(record(updates), due=(DUE,), evaluation_lines=3)
    return write_checkpoint(
        run, state(1), noted, next_number(run), keep=[1], due={6: state(seed=5).params}
    )


def test_a_checkpoint_brings_back_the_weights_whose_evaluation_had_not_come_back(
    tmp_path: Path,
) -> None:
    with_due_weights(tmp_path, 7)
    checkpoint = newest_checkpoint(tmp_path)
    assert checkpoint is not None and checkpoint.record.due == (DUE,)
    assert checkpoint.record.evaluation_lines == 3
    (due,) = restore_due(checkpoint)
    assert due.record == DUE
    assert_equal_states(due.params, state(seed=5).params)


def test_due_weights_of_which_a_byte_has_changed_take_all_back_to_the_checkpoint_before(
    tmp_path: Path,
) -> None:
    written(tmp_path, record(7))
    damaged = with_due_weights(tmp_path, 8)
    (file,) = (damaged.path / "due").iterdir()
    content = bytearray(file.read_bytes())
    content[-1] ^= 1
    file.write_bytes(bytes(content))
    checkpoint = newest_checkpoint(tmp_path)
    assert checkpoint is not None and checkpoint.record == record(7)


def test_the_record_is_readable_json(tmp_path: Path) -> None:
    checkpoint = write_checkpoint(tmp_path, state(1), record(), number=1, keep=())
    content = json.loads((checkpoint.path / "record.json").read_text())
    assert content["progress"]["stage"] == "ONLINE"
    assert content["progress"]["weaning_weight"] == 0.5


def test_no_flipped_bit_of_a_record_gives_other_clocks(tmp_path: Path) -> None:
    written(tmp_path, record(7))
    file = written(tmp_path, record(9)).path / "record.json"
    content = file.read_bytes()
    random = np.random.default_rng(0)
    for _ in range(300):
        changed = bytearray(content)
        changed[random.integers(len(content))] ^= 1 << random.integers(8)
        file.write_bytes(changed)
        checkpoint = newest_checkpoint(tmp_path)
        # The one before; or this one, where a space became another one.
        assert checkpoint is not None and checkpoint.record in (record(7), record(9))
        assert checkpoint.record == record(7 if checkpoint.number == 1 else 9)


def test_a_record_without_the_digests_of_its_files_is_none(tmp_path: Path) -> None:
    file = written(tmp_path, record(7)).path / "record.json"
    content = unseal(file.read_text())
    del content["digests"]
    file.write_text(seal(content))
    assert newest_checkpoint(tmp_path) is None


class Elsewhere(ocp.StandardCheckpointer):
    """Writes something else than it is given, as a storage that mistakes its path does."""

    def save(self, directory: Any, state: Any) -> None:
        super().save(directory, jax.tree.map(lambda leaf: leaf + 1, state))


def test_a_state_that_does_not_read_back_is_no_checkpoint_and_costs_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    written(tmp_path, record(7))
    monkeypatch.setattr(ocp, "StandardCheckpointer", Elsewhere)
    with pytest.raises(OSError, match="reads back otherwise"):
        written(tmp_path, record(9))
    assert [path.name for path in checkpoints_folder(tmp_path).iterdir()] == ["00000001"]


PUNCTUATION = [one for one in string.punctuation if one not in "/.[]\\"]


@pytest.mark.parametrize("name", ["with space", "é", "~a", "a~b", *PUNCTUATION])
def test_a_checkpoint_in_a_folder_of_any_accepted_name_is_read_again(
    tmp_path: Path, name: str
) -> None:
    run = tmp_path / name / f"a{name}b"
    check_storable(run)
    run.mkdir(parents=True)
    checkpoint = written(run, record(7))
    assert_equal_states(restore_state(checkpoint, state(seed=2)), state(1))


@pytest.mark.parametrize("name", ["pong[seed0]", "a\\b", "[x]/run", "\udcff"])
def test_a_folder_whose_checkpoints_could_not_be_read_is_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(UserError, match="choose a path without|no UTF-8"):
        check_storable(tmp_path / name)

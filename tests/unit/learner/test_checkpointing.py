from __future__ import annotations

import dataclasses
import json
import os
import string
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import numpy as np
import orbax.checkpoint as ocp
import pytest
from chex import assert_trees_all_equal

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
from tests.support.disk import files_of_at_most


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


def written(run: Path, updates: int) -> RunCheckpoint:
    """The next checkpoint, with the one before kept."""
    number = next_number(run)
    return write_checkpoint(run, state(seed=1), record(updates), number, keep=[number - 1])


def newest_record(run: Path, **settings: Any) -> RunRecord:
    checkpoint = newest_checkpoint(run, **settings)
    assert checkpoint is not None
    return checkpoint.record


def names(run: Path) -> list[str]:
    return sorted(path.name for path in checkpoints_folder(run).iterdir())


def flip_a_bit(file: Path) -> None:
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 1
    file.write_bytes(content)


def test_a_checkpoint_brings_back_clocks_weights_and_optimiser(tmp_path: Path) -> None:
    checkpoint = written(tmp_path, 7)
    assert newest_checkpoint(tmp_path) == checkpoint
    assert checkpoint.record == record()
    assert_trees_all_equal(restore_state(checkpoint, state(seed=2)), state(seed=1))
    progress = json.loads((checkpoint.path / "record.json").read_text())["progress"]
    assert (progress["stage"], progress["weaning_weight"]) == ("ONLINE", 0.5)
    with pytest.raises(UserError, match="does not fit this experiment"):
        restore_state(checkpoint, state(1, units=5))


def test_the_next_checkpoint_is_the_newest_though_the_others_are_out_of_sight(
    tmp_path: Path,
) -> None:
    written(tmp_path, 7)
    assert next_number(tmp_path) == next_number(tmp_path, after=1) == 2
    checkpoints_folder(tmp_path).rename(tmp_path / "aside")
    assert next_number(tmp_path, after=1) == 2
    checkpoints_folder(tmp_path).touch()
    assert next_number(tmp_path, after=1) == 2


def disk_full(descriptor: int) -> None:
    raise OSError("No space left on device")


class Elsewhere(ocp.StandardCheckpointer):
    """Writes something else than it is given, as a storage that mistakes its path does."""

    def save(self, directory: Any, state: Any) -> None:
        super().save(directory, jax.tree.map(lambda leaf: leaf + 1, state))


@pytest.mark.parametrize(
    ("module", "name", "fault", "message"),
    [
        (os, "fsync", disk_full, "No space left"),
        (ocp, "StandardCheckpointer", Elsewhere, "differs from what was written"),
    ],
)
def test_a_checkpoint_that_cannot_be_written_leaves_the_one_before(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    module: Any,
    name: str,
    fault: object,
    message: str,
) -> None:
    written(tmp_path, 7)
    with monkeypatch.context() as patched, pytest.raises(OSError, match=message):
        patched.setattr(module, name, fault)
        written(tmp_path, 9)
    assert newest_record(tmp_path) == record(7)
    # What there is of the other would keep a full disk full.
    assert names(tmp_path) == ["00000001"]
    written(tmp_path, 11)
    assert names(tmp_path) == ["00000001", "00000002"]


# TensorStore tells Orbax's loop of what failed, which may be closed by then.
@pytest.mark.filterwarnings("ignore:Exception ignored in:pytest.PytestUnraisableExceptionWarning")
def test_a_state_that_does_not_fit_on_the_disk_is_said_as_any_other_such_file(
    tmp_path: Path,
) -> None:
    written(tmp_path, 7)
    with files_of_at_most(100), pytest.raises(OSError, match="File too large"):
        written(tmp_path, 9)
    assert names(tmp_path) == ["00000001"]


def test_a_run_starts_from_scratch_only_without_a_checkpoint_not_even_a_damaged_one(
    tmp_path: Path,
) -> None:
    assert newest_checkpoint(tmp_path / "absent") is None
    check_has_none(tmp_path)
    (written(tmp_path, 7).path / "record.json").write_text("")
    assert newest_checkpoint(tmp_path) is None
    with pytest.raises(UserError, match=r"none of the checkpoints .* can be read \(00000001"):
        check_has_none(tmp_path)


def test_only_what_is_to_be_kept_stays_beside_a_new_checkpoint(tmp_path: Path) -> None:
    for updates in (5, 6, 7):
        written(tmp_path, updates)
    # The newest turned out damaged: its number is passed over, and goes with the next checkpoint.
    write_checkpoint(tmp_path, state(1), record(7), number=4, keep=[2])
    assert names(tmp_path) == ["00000002", "00000004"]


def without_digests(text: str) -> str:
    content = unseal(text)
    del content["digests"]
    return seal(content)


@pytest.mark.parametrize(
    "damage",
    [
        lambda _: "",
        lambda _: "{",
        lambda _: seal({"progress": {}, "seconds": 1}),
        lambda _: seal({"progress": {"stage": "NO"}}),
        lambda _: json.dumps({"progress": {"stage": "ONLINE"}, "seconds": 1, "digests": {}}),
        without_digests,
    ],
)
def test_a_checkpoint_with_a_damaged_record_is_passed_over_for_the_one_before(
    tmp_path: Path, damage: Callable[[str], str]
) -> None:
    written(tmp_path, 7)
    file = written(tmp_path, 8).path / "record.json"
    file.write_text(damage(file.read_text()))
    assert newest_record(tmp_path) == record(7)


def test_a_state_that_is_not_as_it_was_written_is_passed_over(tmp_path: Path) -> None:
    first, second = written(tmp_path, 7), written(tmp_path, 8)
    assert newest_record(tmp_path, unusable={2}) == record(7)
    flip_a_bit(max((second.path / "state").rglob("*"), key=lambda path: path.stat().st_size))
    assert newest_record(tmp_path) == record(7)
    (first.path / "state" / "more").write_text("a file that no checkpoint has")
    assert newest_checkpoint(tmp_path) is None


DUE = DueWeights(
    version=6,
    progress=Progress(random_return=-0.6, stage=Stage.ONLINE, offline_updates=4, online_updates=1),
    seconds=11.0,
    final=False,
    sessions=("one", "two"),
)


def test_a_checkpoint_brings_back_the_weights_whose_evaluation_had_not_come_back(
    tmp_path: Path,
) -> None:
    written(tmp_path, 7)
    noted = dataclasses.replace(record(8), due=(DUE,), evaluation_lines=3)
    params = state(seed=5).params
    write_checkpoint(tmp_path, state(1), noted, number=2, keep=[1], due={6: params})
    checkpoint = newest_checkpoint(tmp_path)
    assert checkpoint is not None and checkpoint.record == noted
    (due,) = restore_due(checkpoint)
    assert due.record == DUE
    assert_trees_all_equal(due.params, params)
    # One changed byte takes all back to the checkpoint before.
    (file,) = (checkpoint.path / "due").iterdir()
    flip_a_bit(file)
    assert newest_record(tmp_path) == record(7)


def test_no_flipped_bit_of_a_record_gives_other_clocks(tmp_path: Path) -> None:
    written(tmp_path, 7)
    file = written(tmp_path, 9).path / "record.json"
    content = file.read_bytes()
    random = np.random.default_rng(0)
    for _ in range(300):
        changed = bytearray(content)
        changed[random.integers(len(content))] ^= 1 << random.integers(8)
        file.write_bytes(changed)
        checkpoint = newest_checkpoint(tmp_path)
        # The one before; or this one, where a space became another one.
        assert checkpoint is not None
        assert checkpoint.record == record(7 if checkpoint.number == 1 else 9)


def test_a_checkpoint_in_a_folder_of_any_accepted_name_is_read_again(tmp_path: Path) -> None:
    # From the last to the first, so that no closing bracket finds an opening one before it.
    marks = [one for one in reversed(string.punctuation) if one not in "/.[]\\"]
    run = tmp_path.joinpath("with space", "é", "~a", "a~b", *marks, *(f"a{one}b" for one in marks))
    check_storable(run)
    run.mkdir(parents=True)
    assert_trees_all_equal(restore_state(written(run, 7), state(seed=2)), state(seed=1))


@pytest.mark.parametrize("name", ["pong[seed0]", "a\\b", "[x]/run", "\udcff"])
def test_a_folder_whose_checkpoints_could_not_be_read_is_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(UserError, match="choose a path without|not UTF-8"):
        check_storable(tmp_path / name)

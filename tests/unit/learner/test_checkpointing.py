from __future__ import annotations

import json
from pathlib import Path

import jax
import numpy as np
import pytest

from rrl_agents.networks.registry import NetworkConfig, initial_params, make_network
from rrl_agents.training.train_state import OptimiserConfig, TrainState, initial_train_state
from rrl_agents.types import Progress, Stage
from services.learner.checkpointing import (
    RunRecord,
    commits_folder,
    newest_commit,
    restore_state,
    write_commit,
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


def test_a_commit_brings_back_clocks_weights_and_optimiser(tmp_path: Path) -> None:
    written = state(seed=1)
    write_commit(tmp_path, written, record(), link_replay=None)
    commit = newest_commit(tmp_path)
    assert commit is not None
    assert commit.record == record()
    restored = restore_state(commit, state(seed=2))
    assert jax.tree.structure(restored) == jax.tree.structure(written)
    for mine, theirs in zip(jax.tree.leaves(restored), jax.tree.leaves(written), strict=True):
        np.testing.assert_array_equal(mine, theirs)


def test_replay_is_part_of_the_commit(tmp_path: Path) -> None:
    def link(folder: Path) -> None:
        folder.mkdir()
        (folder / "tables").write_text("items")

    commit = write_commit(tmp_path, state(1), record(), link_replay=link)
    assert commit.replay is not None
    assert (commit.replay / "tables").read_text() == "items"


def test_a_commit_that_breaks_half_way_leaves_the_one_before(tmp_path: Path) -> None:
    write_commit(tmp_path, state(1), record(7), link_replay=None)

    def disk_full(folder: Path) -> None:
        raise OSError("No space left on device")

    with pytest.raises(OSError, match="No space left"):
        write_commit(tmp_path, state(1), record(9), link_replay=disk_full)
    commit = newest_commit(tmp_path)
    assert commit is not None and commit.record == record(7)
    write_commit(tmp_path, state(1), record(11), link_replay=None)
    leftovers = [path.name for path in commits_folder(tmp_path).iterdir()]
    assert sorted(leftovers) == ["00000001", "00000002"]


def test_the_newest_two_commits_are_kept(tmp_path: Path) -> None:
    for updates in (5, 6, 7):
        write_commit(tmp_path, state(1), record(updates), link_replay=None)
    names = sorted(path.name for path in commits_folder(tmp_path).iterdir())
    assert names == ["00000002", "00000003"]


@pytest.mark.parametrize(
    "damage", ["", "{", '{"progress": {}, "seconds": 1}', '{"progress": {"stage": "NO"}}']
)
def test_a_damaged_commit_is_passed_over_for_the_one_before(tmp_path: Path, damage: str) -> None:
    write_commit(tmp_path, state(1), record(7), link_replay=None)
    broken = write_commit(tmp_path, state(1), record(8), link_replay=None)
    (broken.path / "record.json").write_text(damage)
    commit = newest_commit(tmp_path)
    assert commit is not None and commit.record == record(7)


def test_a_run_without_commits_has_none(tmp_path: Path) -> None:
    assert newest_commit(tmp_path / "absent") is None


def test_a_state_of_another_network_is_refused(tmp_path: Path) -> None:
    commit = write_commit(tmp_path, state(1, units=4), record(), link_replay=None)
    with pytest.raises(UserError, match="does not fit this experiment"):
        restore_state(commit, state(1, units=5))


def test_the_record_is_readable_json(tmp_path: Path) -> None:
    commit = write_commit(tmp_path, state(1), record(), link_replay=None)
    content = json.loads((commit.path / "record.json").read_text())
    assert content["progress"]["stage"] == "ONLINE"
    assert content["progress"]["weaning_weight"] == 0.5

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from rrl_agents.checkpoints.card_markdown import card_markdown
from rrl_agents.checkpoints.params_codec import params_hash, params_to_bytes
from rrl_agents.checkpoints.sealed_json import seal, unseal
from rrl_agents.checkpoints.teacher_card import TeacherCard
from rrl_agents.checkpoints.teacher_directory import load_teacher_directory, save_teacher
from rrl_agents.networks.registry import NetworkConfig

Params = dict[str, Any]


def card_of(params: Params) -> TeacherCard:
    """A card of the small Nature DQN in conftest."""
    return TeacherCard(
        name="small",
        game="pong",
        network=NetworkConfig(features=(2, 3, 4), hidden_units=5),
        num_actions=6,
        observation_shape=(84, 84, 4),
        made="by hand",
        parameters_sha256=params_hash(params_to_bytes(params)),
    )


@pytest.fixture
def params(small_layers: dict[str, Any]) -> Params:
    return {"params": small_layers}


def test_a_saved_teacher_comes_back_equal(tmp_path: Path, params: Params) -> None:
    save_teacher(tmp_path / "new" / "teacher", params, card_of(params))
    loaded = load_teacher_directory(tmp_path / "new" / "teacher")
    assert loaded.card == card_of(params)
    assert params_to_bytes(loaded.params) == params_to_bytes(params)
    names = sorted(file.name for file in (tmp_path / "new" / "teacher").iterdir())
    assert names == ["README.md", "card.json", "params.safetensors"]
    readme = (tmp_path / "new" / "teacher" / "README.md").read_text()
    assert readme == card_markdown(card_of(params))


@pytest.mark.parametrize("there", ["card.json", "params.safetensors", "README.md"])
def test_nothing_is_overwritten(tmp_path: Path, params: Params, there: str) -> None:
    (tmp_path / there).write_text("mine")
    with pytest.raises(ValueError, match=f"already holds {there}; choose another directory"):
        save_teacher(tmp_path, params, card_of(params))
    assert [(file.name, file.read_text()) for file in tmp_path.iterdir()] == [(there, "mine")]


def test_a_policy_that_is_no_network_of_ours_has_nothing_to_keep_here(
    tmp_path: Path, params: Params
) -> None:
    foreign = dataclasses.replace(card_of(params), network=None)
    with pytest.raises(ValueError, match="'small' is computed by something that is not a network"):
        save_teacher(tmp_path / "saved", params, foreign)
    assert not (tmp_path / "saved").exists()
    save_teacher(tmp_path / "saved", params, card_of(params))
    (tmp_path / "saved" / "card.json").write_text(foreign.to_json())
    with pytest.raises(ValueError, match="'small' is computed by something that is not a network"):
        load_teacher_directory(tmp_path / "saved")


def test_a_card_too_large_to_be_read_again_is_not_written(tmp_path: Path, params: Params) -> None:
    # At most 2**20 bytes are read.
    wordy = dataclasses.replace(card_of(params), made="x" * 2**20)
    with pytest.raises(ValueError, match="would not be read again: at most 1048576"):
        save_teacher(tmp_path / "saved", params, wordy)
    assert not (tmp_path / "saved").exists()


def test_a_failed_write_leaves_no_card_and_no_half_file(
    tmp_path: Path, params: Params, monkeypatch: pytest.MonkeyPatch
) -> None:
    def disk_full(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", disk_full)
    with pytest.raises(OSError, match="No space left"):
        save_teacher(tmp_path, params, card_of(params))
    assert list(tmp_path.iterdir()) == []


def test_a_flipped_byte_is_found_by_the_hash(tmp_path: Path, params: Params) -> None:
    save_teacher(tmp_path, params, card_of(params))
    file = tmp_path / "params.safetensors"
    content = bytearray(file.read_bytes())
    content[-1] ^= 1
    file.write_bytes(bytes(content))
    with pytest.raises(ValueError, match="SHA-256 .* copy the teacher again"):
        load_teacher_directory(tmp_path)


def test_an_oversized_or_missing_file_is_an_error(tmp_path: Path, params: Params) -> None:
    with pytest.raises(ValueError, match=r"card\.json: cannot be read"):
        load_teacher_directory(tmp_path)
    save_teacher(tmp_path, params, card_of(params))
    (tmp_path / "params.safetensors").unlink()
    with pytest.raises(ValueError, match=r"params\.safetensors: cannot be read"):
        load_teacher_directory(tmp_path)
    (tmp_path / "card.json").write_bytes(b" " * (2**20 + 1))
    with pytest.raises(ValueError, match=r"card\.json: 1048577 bytes, more than the 1048576"):
        load_teacher_directory(tmp_path)


@pytest.mark.parametrize(
    ("layer", "leaf", "value", "message"),
    [
        ("Dense_1", "bias", np.zeros(7, np.float32), r"Dense_1/bias has \(7,\), needs \(6,\)"),
        ("Conv_0", "scale", np.zeros(1, np.float32), r"Conv_0/scale has \(1,\), needs None"),
        ("Conv_0", "bias", None, r"Conv_0/bias has None, needs \(2,\)"),
        ("Conv_0", "bias", np.full(2, np.inf, np.float32), "Conv_0/bias .* not finite"),
    ],
)
def test_parameters_that_do_not_fit_the_card_are_refused_on_both_ways(
    tmp_path: Path, params: Params, layer: str, leaf: str, value: Any, message: str
) -> None:
    params["params"][layer].pop(leaf, None)
    if value is not None:
        params["params"][layer][leaf] = value
    with pytest.raises(ValueError, match=message):
        save_teacher(tmp_path / "saved", params, card_of(params))
    assert not (tmp_path / "saved").exists()
    (tmp_path / "params.safetensors").write_bytes(params_to_bytes(params))
    (tmp_path / "card.json").write_text(card_of(params).to_json())
    with pytest.raises(ValueError, match=message):
        load_teacher_directory(tmp_path)


def test_a_bad_card_is_an_error_with_its_path(tmp_path: Path, params: Params) -> None:
    save_teacher(tmp_path, params, card_of(params))
    card = unseal((tmp_path / "card.json").read_text()) | {"num_actions": "six"}
    (tmp_path / "card.json").write_text(seal(card))
    with pytest.raises(ValueError, match=r"card\.json: teacher card: field num_actions is 'six'"):
        load_teacher_directory(tmp_path)
    (tmp_path / "card.json").write_bytes(b"\xff\xfe")
    with pytest.raises(ValueError, match=r"card\.json: "):
        load_teacher_directory(tmp_path)

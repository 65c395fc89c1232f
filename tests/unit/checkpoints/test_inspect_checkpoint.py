from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from rrl_agents.checkpoints.inspect_checkpoint import Inspection, inspect_checkpoint
from rrl_agents.checkpoints.inspection.findings import shown
from rrl_agents.checkpoints.sealed_json import seal

TENSORFLOW = "dopamine2.0.5_tf1/1"
JAX = "dopamine4.0.2_flax0.3_numpy/1"

# Of the fixtures: 8*8*4*8 + 8 + 4*4*8*8 + 8 + 3*3*8*8 + 8 + 968*16 + 16 + 16*6 + 6.
FIXTURE_PARAMETERS = 19_278


@pytest.mark.parametrize(
    ("folder", "arrays"),
    [
        ("dopamine4.0.2_flax0.3_numpy", "arrays of numpy"),
        ("dopamine4.0.5_flax0.6_devicearray", "device arrays of jax 0.3.14 to 0.3.25"),
        ("dopamine4.0.6_flax0.6.11_jaxarray", "arrays of jax 0.4 and later"),
    ],
)
def test_a_jax_agent_is_told_with_its_generation(fixtures: Path, folder: str, arrays: str) -> None:
    found = inspect_checkpoint(fixtures / folder / "1")
    assert (found.format, found.agent) == ("Dopamine agent, JAX", "DQN")
    assert found.details == (
        "pickle protocol 4",
        arrays,
        "FrozenDict with the level `params`",
        "layers named by flax linen",
    )
    assert (found.num_actions, found.num_parameters) == (6, FIXTURE_PARAMETERS)
    assert {layer.name: (layer.shape, layer.count) for layer in found.layers}["Conv_1/kernel"] == (
        (4, 4, 8, 8),
        1024,
    )
    assert [(one.number, one.is_complete) for one in found.checkpoints] == [(0, True), (1, True)]
    assert found.checkpoint_number == 1
    assert inspect_checkpoint(fixtures / folder / "1", 0).checkpoint_number == 0
    assert found.replay is not None
    assert (found.replay.rows, found.replay.frame_shape) == (1000, (84, 84))
    assert found.is_sound


@pytest.mark.parametrize("name", ["", "checkpoints", "checkpoints/tf_ckpt-199"])
def test_a_tensorflow_agent_is_told(fixtures: Path, name: str) -> None:
    found = inspect_checkpoint(fixtures / TENSORFLOW / name)
    assert (found.format, found.agent) == ("Dopamine agent, TensorFlow", "DQN")
    assert (found.num_actions, found.num_parameters) == (6, FIXTURE_PARAMETERS)
    assert found.training_steps == 801
    assert found.checkpoint_number == 199
    assert found.is_sound


def test_older_names_and_plain_dicts_are_told(
    small_layers: dict[str, Any], write_agent: Callable[..., Path]
) -> None:
    names = ("Conv_0", "Conv_1", "Conv_2", "Dense_3", "Dense_4")
    older = dict(zip(names, small_layers.values(), strict=True))
    found = inspect_checkpoint(write_agent({"online_params": older}, protocol=2))
    assert found.details == (
        "pickle protocol 2",
        "arrays of numpy",
        "dict without the level `params`",
        "layers named as before flax linen",
    )
    assert found.is_sound


def test_a_fetched_agent_tells_its_game(
    small_layers: dict[str, Any], write_agent: Callable[..., Path]
) -> None:
    agent = write_agent({"online_params": small_layers})
    assert inspect_checkpoint(agent).game is None
    (agent / "source.json").write_text(seal({"game": "Breakout"}))
    assert inspect_checkpoint(agent).game == "Breakout"


def the_problem(found: Inspection) -> str:
    (problem,) = found.problems
    return problem


def test_an_interrupted_checkpoint_is_a_problem_and_read_all_the_same(
    small_layers: dict[str, Any], write_agent: Callable[..., Path]
) -> None:
    agent = write_agent({"online_params": small_layers, "training_steps": 5}, number=3)
    write_agent({"online_params": small_layers, "training_steps": 9}, number=4, sentinel=False)
    (agent / "checkpoints/sentinel_checkpoint_complete.5").touch()
    sound = inspect_checkpoint(agent)
    assert (sound.checkpoint_number, sound.is_sound) == (3, True)
    assert [(one.number, one.is_complete, one.lacks) for one in sound.checkpoints] == [
        (3, True, ""),
        (4, False, "sentinel_checkpoint_complete.4"),
        (5, False, "ckpt.5 or tf_ckpt-5.index"),
    ]
    interrupted = inspect_checkpoint(agent, 4)
    assert "checkpoint 4 needs ckpt.N" in the_problem(interrupted)
    assert (interrupted.training_steps, interrupted.agent) == (9, "DQN")
    nothing = inspect_checkpoint(agent, 5)
    assert "checkpoint 5 needs ckpt.N" in the_problem(nothing)
    assert (nothing.format, nothing.layers) == ("Dopamine agent", ())


def test_a_truncated_pickle_is_a_problem_that_says_where(
    small_layers: dict[str, Any], write_agent: Callable[..., Path]
) -> None:
    agent = write_agent({"online_params": small_layers})
    pickle = agent / "checkpoints/ckpt.7"
    pickle.write_bytes(pickle.read_bytes()[:1000])
    found = inspect_checkpoint(agent)
    assert "ckpt.7: truncated or damaged pickle near byte" in the_problem(found)
    assert [one.number for one in found.checkpoints] == [7]


def test_a_pickle_that_wants_to_run_code_is_a_problem_and_nothing_is_run(
    tmp_path: Path, write_agent: Callable[..., Path]
) -> None:
    class Hostile:
        def __reduce__(self) -> tuple[Any, tuple[str]]:
            return os.mkdir, (str(tmp_path / "run"),)

    found = inspect_checkpoint(write_agent({"online_params": Hostile()}))
    assert "refused: the pickle asks for posix.mkdir" in the_problem(found)
    assert not (tmp_path / "run").exists()


def test_a_missing_leaf_is_a_problem_and_the_others_are_listed(
    small_layers: dict[str, Any], write_agent: Callable[..., Path]
) -> None:
    del small_layers["Dense_1"]["bias"]
    found = inspect_checkpoint(write_agent({"online_params": small_layers}))
    assert "Dense_1/bias is missing" in the_problem(found)
    assert (found.agent, found.network, len(found.layers)) == (None, None, 9)


def test_a_misshapen_kernel_is_a_problem_that_names_it(
    small_layers: dict[str, Any], write_agent: Callable[..., Path]
) -> None:
    small_layers["Conv_1"]["kernel"] = np.zeros((4, 4, 9, 3), np.float32)
    found = inspect_checkpoint(write_agent({"online_params": small_layers}))
    assert "Conv_1/kernel has shape (4, 4, 9, 3)" in the_problem(found)
    assert (4, 4, 9, 3) in [layer.shape for layer in found.layers]


def test_cut_off_tensorflow_data_is_a_problem_and_the_index_is_listed(
    fixtures: Path, tmp_path: Path
) -> None:
    source = fixtures / TENSORFLOW / "checkpoints"
    for ending in ("index", "data-00000-of-00001"):
        shutil.copyfile(source / f"tf_ckpt-199.{ending}", tmp_path / f"tf_ckpt-199.{ending}")
    with (tmp_path / "tf_ckpt-199.data-00000-of-00001").open("r+b") as file:
        file.truncate(9)
    found = inspect_checkpoint(tmp_path)
    assert "data-00000-of-00001: ends at byte 9, but Online/Conv/biases" in the_problem(found)
    assert len(found.layers) == 50
    (tmp_path / "tf_ckpt-199.index").write_bytes(b"nothing")
    found = inspect_checkpoint(tmp_path)
    assert "no sound TensorFlow index (7 bytes" in the_problem(found)
    assert found.layers == ()


def test_a_replay_buffer_alone_is_told(fixtures: Path, tmp_path: Path) -> None:
    for file in (fixtures / JAX / "checkpoints").glob("*_ckpt.1.gz"):
        shutil.copyfile(file, tmp_path / file.name)
    found = inspect_checkpoint(tmp_path)
    assert found.format == "Dopamine replay buffer"
    assert found.replay is not None and found.replay.stack_size == 4
    assert found.is_sound
    (tmp_path / "$store$_reward_ckpt.1.gz").unlink()
    broken = inspect_checkpoint(tmp_path)
    assert "$store$_reward_ckpt.1.gz" in the_problem(broken)


def test_a_broken_replay_buffer_is_a_problem_of_its_agent(fixtures: Path, tmp_path: Path) -> None:
    agent = tmp_path / "1"
    shutil.copytree(fixtures / JAX, agent)
    column = agent / "checkpoints/$store$_action_ckpt.1.gz"
    column.chmod(0o600)
    column.write_bytes(column.read_bytes()[:200])
    found = inspect_checkpoint(agent)
    assert "$store$_action_ckpt.1.gz" in the_problem(found)
    assert found.agent == "DQN"


def test_a_teachers_directory_is_told_with_its_card(catch_teacher: Path) -> None:
    for path in (catch_teacher, catch_teacher / "card.json"):
        found = inspect_checkpoint(path)
        assert (found.format, found.game) == ("teacher's directory", "catch")
        assert found.card is not None and found.card.name == "catch_by_hand"
        assert [layer.name for layer in found.layers] == [
            "Dense_0/bias",
            "Dense_0/kernel",
            "Dense_1/bias",
            "Dense_1/kernel",
        ]
        assert found.is_sound
    with pytest.raises(ValueError, match="leave out the checkpoint number 3"):
        inspect_checkpoint(catch_teacher, 3)


def test_of_a_broken_teachers_directory_the_sound_part_is_told(
    catch_teacher: Path, tmp_path: Path
) -> None:
    teacher = tmp_path / "teacher"
    shutil.copytree(catch_teacher, teacher)
    params = teacher / "params.safetensors"
    params.write_bytes(params.read_bytes()[:-1])
    found = inspect_checkpoint(teacher)
    assert "parameters have SHA-256" in the_problem(found)
    assert found.card is not None and found.layers == ()
    shutil.copyfile(catch_teacher / "params.safetensors", params)
    (teacher / "card.json").write_text(seal({"name": 3}))
    found = inspect_checkpoint(teacher)
    assert "card.json: teacher card: field name is 3" in the_problem(found)
    assert found.card is None and len(found.layers) == 4


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("absent", "no such file or directory; give a teacher's directory"),
        ("file.bin", r"files are named ckpt\.N or tf_ckpt-N"),
        ("", "no complete checkpoint here, found file.bin"),
    ],
)
def test_what_is_no_prior_work_is_an_error(tmp_path: Path, name: str, message: str) -> None:
    (tmp_path / "file.bin").touch()
    with pytest.raises(ValueError, match=message):
        inspect_checkpoint(tmp_path / name)


def test_hostile_names_are_cut_and_escaped(write_agent: Callable[..., Path]) -> None:
    params = {"\x1b[31mred": {"k" * 10_000: np.zeros(3, np.float32)}}
    nested: dict[str, Any] = {}
    for _ in range(40):
        nested = {"deeper": nested, "leaf": 5}
    found = inspect_checkpoint(write_agent({"online_params": {**params, "nest": nested}}))
    names = [layer.name for layer in found.layers]
    assert names[0] == f"'\\x1b[31mred'/{'k' * 120}"
    # "nest" and 15 times "deeper" are 16 levels; each has a leaf.
    assert len(names) == 1 + 15
    assert all(line.isprintable() for line in (*names, *found.problems))
    assert shown("a\nb") == "'a\\nb'"


def test_a_network_of_very_many_layers_is_cut(write_agent: Callable[..., Path]) -> None:
    params = {f"Dense_{number}": np.zeros(2, np.float32) for number in range(700)}
    found = inspect_checkpoint(write_agent({"online_params": params}))
    assert (len(found.layers), found.num_parameters) == (500, 1400)
    assert "200 more layers are not listed" in found.notes


def test_a_small_pickle_of_an_endless_tree_takes_no_time(write_agent: Callable[..., Path]) -> None:
    """Each level holds the one below a hundred times: written once, but 100 ** 12 leaves."""
    tree: Any = np.zeros(1, np.float32)
    for _ in range(12):
        tree = {f"branch_{number}": tree for number in range(100)}
    found = inspect_checkpoint(write_agent({"online_params": tree}))
    assert len(found.layers) == 500
    assert found.problems

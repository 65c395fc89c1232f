from __future__ import annotations

import pickle
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest

from rrl_agents.checkpoints.dopamine_agents.hints import Hints
from rrl_agents.checkpoints.load_teacher import BUNDLED_DIRECTORY, bundled_teachers, load_teacher
from rrl_agents.checkpoints.params_codec import params_to_bytes
from rrl_agents.checkpoints.teacher_directory import check_params
from rrl_agents.networks.registry import make_network


def test_the_bundled_pong_teacher_gives_the_recorded_q_values(fixtures: Path) -> None:
    teacher = load_teacher("pong_dqn")
    expected = np.load(fixtures / "pong_dqn/expected_q.npz", allow_pickle=False)
    network = make_network(teacher.card.network, teacher.card.num_actions)
    found = np.asarray(jax.jit(network.apply)(teacher.params, expected["states"]))
    # Some values are near 0; the others are about 1.
    np.testing.assert_allclose(found, expected["q_values"], rtol=1e-4, atol=1e-6)


def test_the_bundled_card_says_what_was_scored_and_how() -> None:
    card = load_teacher("pong_dqn").card
    assert (card.game, card.num_actions, card.observation_shape) == ("pong", 6, (84, 84, 4))
    assert card.score is not None
    assert card.score.mean_return == pytest.approx(np.mean(card.score.returns))
    assert card.score.std_return == pytest.approx(np.std(card.score.returns))
    assert card.score.episodes == len(card.score.returns) == 30
    assert "each playing two whole episodes" in card.score.note
    assert "double DQN" in card.made


def test_the_bundled_actions_are_those_of_the_game_in_its_order() -> None:
    import ale_py

    interface = ale_py.ALEInterface()
    interface.loadROM(ale_py.roms.get_rom_path("pong"))
    names = tuple(action.name for action in interface.getMinimalActionSet())
    assert load_teacher("pong_dqn").card.action_meanings == names


def test_a_directory_with_a_card_is_loaded_by_path(tmp_path: Path) -> None:
    shutil.copytree(BUNDLED_DIRECTORY / "pong_dqn", tmp_path / "mine")
    assert load_teacher(tmp_path / "mine").card == load_teacher("pong_dqn").card


def test_a_dopamine_agent_gets_a_card_of_its_own(
    small_layers: dict[str, Any], write_agent: Callable[..., Path]
) -> None:
    bundle = {"online_params": {"params": small_layers}, "training_steps": 99}
    teacher = load_teacher(write_agent(bundle, number=5), game="pong")
    assert (teacher.card.name, teacher.card.game) == ("agent, Dopamine checkpoint 5", "pong")
    assert "iteration 5, after 99 training steps" in teacher.card.made
    assert (teacher.card.score, teacher.card.random_return) == (None, None)
    assert params_to_bytes(teacher.params) == params_to_bytes({"params": small_layers})
    check_params(teacher.params, teacher.card)


def test_the_game_of_a_dopamine_agent_is_unknown_unless_given(
    small_layers: dict[str, Any], write_agent: Callable[..., Path]
) -> None:
    agent = write_agent({"online_params": small_layers}, number=3)
    write_agent({"online_params": small_layers}, number=4)
    assert load_teacher(str(agent)).card.game == "unknown"
    assert "checkpoint 3" in load_teacher(agent, checkpoint_number=3).card.name
    assert "checkpoint 4" in load_teacher(agent / "checkpoints/ckpt.4").card.name


@pytest.mark.parametrize("missing", ["pong_dnq", "./pong_dqn"])
def test_a_missing_teacher_is_an_error_that_says_what_was_looked_for(missing: str) -> None:
    with pytest.raises(ValueError, match=r"bundled one \(pong_dqn\), a directory .* Dopamine"):
        load_teacher(missing)


def test_what_contradicts_the_card_is_an_error() -> None:
    with pytest.raises(ValueError, match="plays pong, not breakout"):
        load_teacher("pong_dqn", game="breakout")
    with pytest.raises(ValueError, match="leave out the checkpoint number 3"):
        load_teacher("pong_dqn", checkpoint_number=3)


def test_bundled_teachers_are_listed() -> None:
    assert bundled_teachers() == ("pong_dqn",)


def test_what_shapes_leave_open_is_told_by_the_user(
    write_agent: Callable[..., Path], small_layers: dict[str, Any]
) -> None:
    # 63 outputs: 3 actions with 21 atoms, or 21 actions with 3; or of an agent of 63 actions.
    random = np.random.default_rng(1)
    small_layers["Dense_1"] = {
        "kernel": random.normal(size=(5, 63)).astype(np.float32),
        "bias": np.zeros(63, np.float32),
    }
    agent = write_agent({"online_params": {"params": small_layers}, "training_steps": 1})
    with pytest.raises(ValueError, match="say which agent it is"):
        load_teacher(agent)
    hints = Hints(agent="c51", num_actions=3, value_bound=5.0)
    card = load_teacher(agent, hints=hints).card
    assert card.num_actions == 3
    assert card.network is not None
    assert (card.network.head, card.network.num_atoms) == ("categorical", 21)
    assert card.network.value_bound == 5.0


def test_the_game_is_compared_in_any_spelling() -> None:
    assert load_teacher("pong_dqn", game="Pong").card.game == "pong"


def test_a_dopamine_network_that_would_take_the_memory_of_a_service_is_refused(
    tmp_path: Path,
) -> None:
    # 10 MB of file; 21 * 21 places with 9,600 channels are 4,233,600 numbers for each state.
    kernels = {
        "Conv_0": (8, 8, 4, 9600),
        "Conv_1": (4, 4, 9600, 1),
        "Conv_2": (3, 3, 1, 1),
        "Dense_0": (121, 1),
        "Dense_1": (1, 6),
    }
    layers = {
        name: {"kernel": np.zeros(shape, np.float32), "bias": np.zeros(shape[-1:], np.float32)}
        for name, shape in kernels.items()
    }
    (tmp_path / "ckpt.1").write_bytes(pickle.dumps({"online_params": layers}))
    with pytest.raises(ValueError, match="4233600 outputs of one layer for one state"):
        load_teacher(tmp_path)

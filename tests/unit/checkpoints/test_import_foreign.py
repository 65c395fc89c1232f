"""What foreign work becomes: a teacher's directory, with a card of its own."""

from __future__ import annotations

import pickle
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest

from rrl_agents.checkpoints.import_foreign import import_foreign
from rrl_agents.checkpoints.params_codec import params_to_bytes
from rrl_agents.checkpoints.teacher_card import Teacher
from rrl_agents.checkpoints.teacher_directory import load_teacher_directory
from rrl_agents.networks.config import NetworkConfig
from rrl_agents.networks.registry import make_network
from services.library.catalogue import BUNDLED_DIRECTORY
from tests.support.dopamine_agents import Layers, layers_of

PONG = BUNDLED_DIRECTORY / "pong_dqn"


@pytest.fixture
def imported(tmp_path: Path) -> Callable[..., Teacher]:
    """Imports into a directory of its own and reads that."""

    def take(source: Path, *, name: str | None = None, **hints: Any) -> Teacher:
        directory = tmp_path / f"imported-{len(list(tmp_path.iterdir()))}"
        import_foreign(str(source), str(directory), hints, name)
        return load_teacher_directory(directory)

    return take


Imported = Callable[..., Teacher]


def test_the_bundled_pong_teacher_gives_the_recorded_q_values(fixtures: Path) -> None:
    teacher = load_teacher_directory(PONG)
    expected = np.load(fixtures / "pong_dqn/expected_q.npz", allow_pickle=False)
    network = make_network(teacher.card.network, teacher.card.num_actions)
    found = np.asarray(jax.jit(network.apply)(teacher.params, expected["states"]))
    # Some values are near 0; the others are about 1.
    np.testing.assert_allclose(found, expected["q_values"], rtol=1e-4, atol=1e-6)


def test_the_bundled_card_says_what_was_scored_and_how() -> None:
    card = load_teacher_directory(PONG).card
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
    assert load_teacher_directory(PONG).card.action_meanings == names


def test_a_dopamine_agent_gets_a_card_of_its_own(
    small_layers: Layers, write_agent: Callable[..., Path], imported: Imported
) -> None:
    bundle = {"online_params": {"params": small_layers}, "training_steps": 99}
    agent = write_agent(bundle, number=5)
    teacher = imported(agent / "checkpoints/ckpt.5", game="pong")
    assert (teacher.card.name, teacher.card.game) == ("agent, Dopamine checkpoint 5", "pong")
    assert "iteration 5, after 99 training steps" in teacher.card.made
    assert (teacher.card.score, teacher.card.random_return) == (None, None)
    assert params_to_bytes(teacher.params) == params_to_bytes({"params": small_layers})
    # 4 frames each.
    assert teacher.card.compute is not None and teacher.card.compute.environment_frames == 396
    unknown = imported(agent / "checkpoints/ckpt.5", name="mine")
    assert (unknown.card.name, unknown.card.game) == ("mine", "unknown")


def test_what_shapes_leave_open_is_asked_and_taken_from_the_user(
    write_agent: Callable[..., Path], small_layers: Layers, imported: Imported
) -> None:
    # 63 outputs: 3 actions with 21 atoms, or 21 actions with 3; or of an agent of 63 actions.
    small_layers |= layers_of({"Dense_1": (5, 63)})
    agent = write_agent({"online_params": {"params": small_layers}, "training_steps": 1})
    file = agent / "checkpoints/ckpt.7"
    command = f"rrl teacher import {file} --agent=AGENT --num-actions=N$"
    with pytest.raises(ValueError, match=f"^{file}: .*63 outputs, which is ambiguous.*{command}"):
        imported(file)
    # What was said already stays, but for what is open.
    said = f"rrl teacher import {file} --agent=AGENT --value-bound=5.0 --num-actions=N$"
    with pytest.raises(ValueError, match=said):
        imported(file, agent="rainbow", value_bound=5.0)
    card = imported(file, agent="c51", num_actions=3, value_bound=5.0).card
    assert (card.num_actions, card.network) == (
        3,
        NetworkConfig(
            features=(2, 3, 4), hidden_units=5, head="categorical", num_atoms=21, value_bound=5.0
        ),
    )


@pytest.mark.parametrize(
    ("hints", "message"),
    [
        ({"output": "moves"}, "output is 'moves'; give q_values or logits"),
        ({"game": "breakout"}, "plays pong, not breakout"),
        ({"temperature": 2.0}, "temperature is 2.0 for Q-values"),
    ],
)
def test_what_cannot_be_said_of_a_teacher_is_refused(
    imported: Imported, hints: dict[str, Any], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        imported(PONG, **hints)


@pytest.mark.parametrize(
    ("first", "then", "expected"),
    [
        ({}, {}, ("q_values", None)),
        # Logits without a temperature are those of the policy itself.
        ({"output": "logits"}, {}, ("logits", 1.0)),
        ({"output": "logits", "temperature": 0.5}, {"temperature": 2.0}, ("logits", 2.0)),
        # The temperature was one of logits.
        ({"output": "logits", "temperature": 0.5}, {"output": "q_values"}, ("q_values", None)),
    ],
)
def test_the_user_goes_before_the_card_of_a_directory(
    tmp_path: Path,
    imported: Imported,
    first: dict[str, Any],
    then: dict[str, Any],
    expected: tuple[str, float | None],
) -> None:
    import_foreign(str(PONG), str(tmp_path / "first"), {"game": "Pong", **first})
    card = imported(tmp_path / "first", **then).card
    assert (card.output, card.temperature) == expected
    assert card.game == "pong"


def test_a_directory_elsewhere_is_the_same_teacher_whatever_it_is_called(
    tmp_path: Path, imported: Imported
) -> None:
    shutil.copytree(PONG, tmp_path / "mine.onnx")
    expected = load_teacher_directory(PONG).card
    assert load_teacher_directory(tmp_path / "mine.onnx").card == expected
    assert imported(tmp_path / "mine.onnx").card == expected


def test_a_dopamine_network_that_would_take_the_memory_of_a_service_is_refused(
    tmp_path: Path, imported: Imported
) -> None:
    # 10 MB of file; 21 * 21 places with 9,600 channels are 4,233,600 numbers for each state.
    kernels = {
        "Conv_0": (8, 8, 4, 9600),
        "Conv_1": (4, 4, 9600, 1),
        "Conv_2": (3, 3, 1, 1),
        "Dense_0": (121, 1),
        "Dense_1": (1, 6),
    }
    (tmp_path / "ckpt.1").write_bytes(pickle.dumps({"online_params": layers_of(kernels)}))
    with pytest.raises(ValueError, match="outputs for one state is 4233600"):
        imported(tmp_path / "ckpt.1")

"""Checkpoints written for Dopamine, loaded by Dopamine itself and by our own importer."""

from __future__ import annotations

import dataclasses
import io
import pickle
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from numpy.typing import NDArray

from rrl_agents.checkpoints.dopamine_agents.export import TrainingState, write_dopamine_agent
from rrl_agents.checkpoints.import_dopamine import import_dopamine_agent
from rrl_agents.checkpoints.params_codec import params_hash, params_to_bytes
from rrl_agents.checkpoints.teacher_card import Teacher, TeacherCard
from rrl_agents.networks.config import NetworkConfig
from rrl_agents.networks.registry import action_values, initial_params, make_network
from rrl_agents.training.optimiser_config import OptimiserConfig
from rrl_agents.training.train_state import make_optimiser

NUMBER = 7
AGENT_STEPS = 40_000
NUM_ACTIONS = 6


@pytest.fixture(scope="module")
def student() -> Teacher:
    """A full-size Nature DQN with random parameters."""
    network = NetworkConfig()
    params = jax.device_get(
        initial_params(make_network(network, NUM_ACTIONS), jax.random.key(0), (84, 84, 4))
    )
    card = TeacherCard(
        name="student",
        game="pong",
        network=network,
        num_actions=NUM_ACTIONS,
        observation_shape=(84, 84, 4),
        made="for a test",
        parameters_sha256=params_hash(params_to_bytes(params)),
    )
    return Teacher(params=params, card=card)


@pytest.fixture(scope="module")
def training(student: Teacher) -> TrainingState:
    """After one update of Adam with gradients of a quarter everywhere.

    The mean is then 0.1 * 0.25 = 0.025, the variance 0.001 * 0.0625 = 0.0000625.
    """
    gradients = jax.tree.map(lambda leaf: np.full_like(leaf, 0.25), student.params)
    adam = make_optimiser(OptimiserConfig())
    _, state = adam.update(gradients, adam.init(student.params))
    moments: Any = jax.device_get(state)
    return TrainingState(
        target_params=jax.tree.map(lambda leaf: leaf / 2, student.params),
        adam_count=int(moments.count),
        adam_mean=moments.mu,
        adam_variance=moments.nu,
        agent_steps=AGENT_STEPS,
        number=NUMBER,
    )


@pytest.fixture(scope="module")
def exported(
    tmp_path_factory: pytest.TempPathFactory, student: Teacher, training: TrainingState
) -> Path:
    path = tmp_path_factory.mktemp("exported") / "agent"
    write_dopamine_agent(path, student, training)
    return path


@pytest.fixture(scope="module")
def states() -> NDArray[np.uint8]:
    return np.random.default_rng(0).integers(0, 256, (8, 84, 84, 4)).astype(np.uint8)


@pytest.fixture(scope="module")
def agent(exported: Path) -> Iterator[Any]:
    """Dopamine's own agent, which has loaded the checkpoint as its Runner would."""
    import gin
    from dopamine.discrete_domains import checkpointer
    from dopamine.jax.agents.dqn.dqn_agent import JaxDQNAgent

    gin.clear_config()
    gin.parse_config_files_and_bindings(
        [str(exported / "load.gin")],
        [
            # Small: what is tested is that a buffer of any size may be chosen.
            "OutOfGraphReplayBuffer.replay_capacity = 200",
            "OutOfGraphReplayBuffer.batch_size = 4",
            "JaxDQNAgent.min_replay_history = 20",
            "JaxDQNAgent.seed = 0",
        ],
    )
    loaded = JaxDQNAgent(num_actions=NUM_ACTIONS)
    folder = str(exported / "checkpoints")
    newest = checkpointer.get_latest_checkpoint_number(folder)
    assert newest == NUMBER
    bundle = checkpointer.Checkpointer(folder).load_checkpoint(newest)
    assert loaded.unbundle(folder, newest, bundle) is True
    # What Dopamine's Runner wants beside the agent's own.
    assert (bundle["current_iteration"], bundle["logs"]) == (NUMBER, {})
    yield loaded
    gin.clear_config()


def test_dopamines_agent_has_the_students_q_values(
    agent: Any, student: Teacher, training: TrainingState, states: NDArray[np.uint8]
) -> None:
    network = make_network(NetworkConfig(), NUM_ACTIONS)
    for theirs, ours in (
        (agent.online_params, student.params),
        (agent.target_network_params, training.target_params),
    ):
        found = jax.vmap(lambda state, p=theirs: agent.network_def.apply(p, state).q_values)(states)
        expected = action_values(network, ours, jnp.asarray(states))
        # The same parameters; only the order of additions may differ.
        np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-5)
    assert agent.training_steps == AGENT_STEPS


def test_dopamines_agent_acts_as_the_student_would(
    agent: Any, student: Teacher, states: NDArray[np.uint8]
) -> None:
    from dopamine.jax.agents.dqn.dqn_agent import select_action

    network = make_network(NetworkConfig(), NUM_ACTIONS)
    values = action_values(network, student.params, jnp.asarray(states))
    for state, best in zip(states, np.argmax(values, axis=1), strict=True):
        _, action = select_action(
            agent.network_def,
            agent.online_params,
            state,
            jax.random.PRNGKey(0),
            NUM_ACTIONS,
            True,
            0.0,
            0.0,
            250_000,
            AGENT_STEPS,
            20_000,
            lambda *_: 0.0,
        )
        assert int(action) == best


def test_dopamines_agent_trains_on_with_the_students_moments(agent: Any) -> None:
    adam, rate = agent.optimizer_state
    assert int(adam.count) == 1
    assert float(adam.mu["params"]["Dense_1"]["bias"][0]) == pytest.approx(0.025)
    assert float(adam.nu["params"]["Dense_1"]["bias"][0]) == pytest.approx(0.0000625)
    assert type(rate).__name__ == "EmptyState"
    before = np.array(agent.online_params["params"]["Dense_1"]["bias"])
    frame = np.zeros((84, 84, 1), np.uint8)
    agent.begin_episode(frame)
    for _ in range(24):
        agent.step(1.0, frame)
    # It learns at every fourth step once there are 20 transitions.
    assert int(agent.optimizer_state[0].count) > 1
    assert not np.array_equal(agent.online_params["params"]["Dense_1"]["bias"], before)


def test_our_own_importer_reads_the_same_bits(exported: Path, student: Teacher) -> None:
    loaded = import_dopamine_agent(exported)
    assert params_to_bytes(loaded.params) == params_to_bytes(student.params)
    assert loaded.card.network == NetworkConfig()


def test_the_pickle_names_numpy_and_optax_only(exported: Path) -> None:
    content = (exported / "checkpoints" / f"ckpt.{NUMBER}").read_bytes()
    found = []

    class Watching(pickle.Unpickler):
        def find_class(self, module: str, name: str) -> Any:
            found.append(module.split(".")[0])
            return super().find_class(module, name)

    Watching(io.BytesIO(content)).load()
    assert set(found) == {"numpy", "optax"}


@pytest.mark.parametrize(
    ("change", "wrong"),
    [
        ({"network": NetworkConfig(name="mlp", features=(64,))}, "name 'mlp', not 'nature_cnn'"),
        ({"network": NetworkConfig(padding="VALID")}, "padding 'VALID', not 'SAME'"),
        (
            {"network": NetworkConfig(features=(16, 32, 32))},
            "features (16, 32, 32), not (32, 64, 64)",
        ),
        ({"network": NetworkConfig(hidden_units=256)}, "hidden_units 256, not 512"),
        ({"network": NetworkConfig(dueling=True)}, "dueling True, not False"),
        ({"network": NetworkConfig(layer_norm=True)}, "layer_norm True, not False"),
        ({"network": NetworkConfig(head="categorical")}, "head 'categorical', not 'values'"),
        ({"network": None}, "has no network of ours"),
        (
            {"observation_shape": (10, 5, 1)},
            "observations uint8 (10, 5, 1), not uint8 (84, 84, 4)",
        ),
    ],
)
def test_what_dopamine_does_not_have_is_refused_by_what_differs(
    tmp_path: Path, student: Teacher, training: TrainingState, change: dict[str, Any], wrong: str
) -> None:
    other = Teacher(params=student.params, card=dataclasses.replace(student.card, **change))
    with pytest.raises(ValueError, match=re.escape(wrong)):
        write_dopamine_agent(tmp_path / "agent", other, training)
    assert not (tmp_path / "agent").exists()


def test_nothing_is_overwritten(exported: Path, student: Teacher, training: TrainingState) -> None:
    with pytest.raises(FileExistsError):
        write_dopamine_agent(exported, student, training)

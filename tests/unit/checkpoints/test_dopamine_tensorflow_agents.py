"""Agents of Dopamine's own TensorFlow networks, saved by TensorFlow and imported."""

from __future__ import annotations

import types
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest
from numpy.typing import NDArray

from rrl_agents.checkpoints.import_dopamine import import_dopamine_agent
from rrl_agents.checkpoints.teacher_card import Teacher
from rrl_agents.networks.registry import make_network

ACTIONS = 6
STATES = np.random.default_rng(0).integers(0, 256, (4, 84, 84, 4), np.uint8)
QUANTILES = 32


@pytest.fixture(scope="module")
def tf() -> Any:
    import tensorflow

    return tensorflow


@pytest.fixture(scope="module")
def atari_lib() -> Any:
    from dopamine.discrete_domains import atari_lib

    return atari_lib


def dqn(tf: Any, lib: Any, name: str) -> tuple[Any, Callable[[Any], Any]]:
    network = lib.NatureDQNNetwork(ACTIONS, name=name)
    return network, lambda states: network(states).q_values


def c51(tf: Any, lib: Any, name: str) -> tuple[Any, Callable[[Any], Any]]:
    network = lib.RainbowNetwork(ACTIONS, 51, tf.linspace(-10.0, 10.0, 51), name=name)
    return network, lambda states: network(states).q_values


def iqn(tf: Any, lib: Any, name: str) -> tuple[Any, Callable[[Any], Any]]:
    network = lib.ImplicitQuantileNetwork(ACTIONS, 64, name=name)

    def q_values(states: Any) -> Any:
        values = network(states, num_quantiles=QUANTILES).quantile_values
        return tf.reduce_mean(tf.reshape(values, [QUANTILES, -1, ACTIONS]), axis=0)

    return network, q_values


def midpoints(shape: list[int], **_: Any) -> NDArray[np.float32]:
    """In place of random quantiles: all states at the first quantile, then at the second, ..."""
    rows = shape[0] // QUANTILES
    levels = (np.arange(QUANTILES, dtype=np.float32) + 0.5) / QUANTILES
    return np.repeat(levels, rows)[:, None]


def save_agent(tf: Any, lib: Any, build: Any, prefix: Path) -> NDArray[np.float32]:
    """Save networks and optimiser as Dopamine's agents do; Q-values of the online network."""
    v1 = tf.compat.v1
    with tf.Graph().as_default(), v1.Session(config=v1.ConfigProto(device_count={"CPU": 2})) as run:
        states = v1.placeholder(tf.uint8, STATES.shape)
        q_values = {}
        for name, device in (("Online", "/cpu:0"), ("Target", "/cpu:1")):
            with tf.device(device):
                q_values[name] = build(tf, lib, name)[1](states)
        v1.train.RMSPropOptimizer(0.1, centered=True).minimize(tf.reduce_sum(q_values["Online"]))
        run.run(v1.global_variables_initializer())
        # Biases begin at 0, which would hide a wrong one.
        biases = [one for one in v1.trainable_variables() if one.op.name.endswith("bias")]
        run.run([v1.assign(one, tf.random.normal(one.shape, stddev=0.1)) for one in biases])
        # Two devices give two shards.
        v1.train.Saver(sharded=True).save(run, str(prefix), write_meta_graph=False)
        found: NDArray[np.float32] = run.run(q_values["Online"], {states: STATES})
        return found


def answers(agent: Teacher, states: NDArray[np.uint8]) -> NDArray[np.float32]:
    assert agent.card.network is not None
    network = make_network(agent.card.network, agent.card.num_actions)
    return np.asarray(jax.jit(network.apply)(agent.params, states))


@pytest.mark.parametrize(
    ("build", "algorithm"), [(dqn, "DQN"), (c51, "C51 or Rainbow"), (iqn, "IQN")]
)
def test_an_agent_of_each_kind_gives_the_q_values_of_its_own_network(
    tf: Any,
    atari_lib: types.ModuleType,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    build: Any,
    algorithm: str,
) -> None:
    monkeypatch.setattr(tf.random, "uniform", midpoints)
    expected = save_agent(tf, atari_lib, build, tmp_path / "tf_ckpt-199")
    assert (tmp_path / "tf_ckpt-199.data-00001-of-00002").exists()
    agent = import_dopamine_agent(tmp_path)
    assert (agent.card.algorithm, agent.card.num_actions) == (algorithm, ACTIONS)
    found = answers(agent, STATES)
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5)


def test_the_agent_of_dopamine_2_gives_its_recorded_q_values(fixtures: Path) -> None:
    fixture = fixtures / "dopamine2.0.5_tf1"
    expected = np.load(fixture / "expected_q.npz", allow_pickle=False)
    agent = import_dopamine_agent(fixture / "1")
    found = answers(agent, expected["states"])
    np.testing.assert_allclose(found, expected["q_values"], rtol=1e-4, atol=1e-6)

"""Every kind of JAX agent as each generation of numpy, jax and flax pickled it.

The oldest packages no longer install; what they wrote is known from their sources (jax 0.1.75,
0.2.20, 0.3.10 and 0.3.20; flax 0.2.2 and 0.3.6; Dopamine 3.1.2 to 4.1.2), and written here by
classes and functions under the names of then. Action values are those of Dopamine's own networks.
"""

from __future__ import annotations

import collections
import collections.abc
import dataclasses
import pickle
import sys
import types
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import flax.core
import flax.core.frozen_dict
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from numpy.typing import NDArray

from rrl_agents.checkpoints.hints import Hints
from rrl_agents.checkpoints.import_dopamine import import_dopamine_agent
from rrl_agents.checkpoints.teacher_card import Compute, Teacher
from rrl_agents.networks.config import NetworkConfig
from rrl_agents.networks.registry import make_network
from tests.support.dopamine_agents import SMALL, Layers, layers_of

ACTIONS = 6
SUPPORT = np.linspace(-10.0, 10.0, 51, dtype=np.float32)


def _before_linen(layers: Layers) -> dict[str, Any]:
    """Layers of all kinds counted together: Dense_0, Dense_1 after three Conv are Dense_3, 4."""
    return {
        f"{name.partition('_')[0]}_{index}": layer
        for index, (name, layer) in enumerate(layers.items())
    }


class DeviceArray:
    """Pickles as jax 0.3.14 to 0.3.25 pickled its arrays; before, they reduced to numpy's."""

    def __init__(self, array: Any) -> None:
        self.array = np.asarray(array)

    def __reduce__(self) -> Any:
        function, arguments, state = self.array.__reduce__()
        aval_state = {"weak_type": False, "named_shape": {}}
        return reconstruct_device_array, (function, arguments, state, aval_state)


def reconstruct_device_array(*args: Any) -> Any:
    raise AssertionError("only its name is pickled")


reconstruct_device_array.__module__ = "jax._src.device_array"


class SlottedFrozenDict(collections.abc.Mapping[str, Any]):
    """Pickles by its slots, as flax's did before it had `__reduce__`."""

    __slots__ = ("_dict", "_hash")

    def __init__(self, content: Mapping[str, Any]) -> None:
        self._dict = dict(content)
        self._hash = None

    def __getitem__(self, key: str) -> Any:
        return self._dict[key]

    def __iter__(self) -> Iterator[str]:
        return iter(self._dict)

    def __len__(self) -> int:
        return len(self._dict)


SlottedFrozenDict.__module__ = "flax.core.frozen_dict"
SlottedFrozenDict.__qualname__ = "FrozenDict"

ERAS: dict[str, Callable[[Layers], Any]] = {
    "dopamine 3.1.2, before linen": _before_linen,
    "the same in another order": lambda layers: collections.OrderedDict(
        reversed(list(_before_linen(layers).items()))
    ),
    "linen without the level params": dict,
    "dopamine 3.1.10, flax 0.2": lambda layers: SlottedFrozenDict({"params": dict(layers)}),
    "dopamine 4.0.2, flax 0.3.6": lambda layers: flax.core.freeze({"params": dict(layers)}),
    "dopamine 4.0.5, jax 0.3.14": lambda layers: flax.core.freeze(
        {"params": jax.tree.map(DeviceArray, dict(layers))}
    ),
    "dopamine 4.0.6, jax 0.4": lambda layers: flax.core.freeze(
        {"params": jax.tree.map(jnp.asarray, dict(layers))}
    ),
    "dopamine 4.0.9, flax 0.7": lambda layers: {"params": jax.tree.map(jnp.asarray, dict(layers))},
}


def _pickled(bundle: Mapping[str, Any], protocol: int) -> bytes:
    """Pickle with the old packages' class and function in their places."""
    module = types.ModuleType("jax._src.device_array")
    module.reconstruct_device_array = reconstruct_device_array  # type: ignore[attr-defined]
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(sys.modules, "jax._src.device_array", module)
        if any(isinstance(part, SlottedFrozenDict) for part in bundle.values()):
            patch.setattr(flax.core.frozen_dict, "FrozenDict", SlottedFrozenDict)
        return pickle.dumps(bundle, protocol=protocol)


def _import(
    directory: Path, era: str, layers: Layers, *, protocol: int = 4, **hints: Any
) -> Teacher:
    bundle = {
        "state": np.zeros((1, 84, 84, 4), np.uint8),
        "training_steps": 250_000,
        "online_params": ERAS[era](layers),
    }
    file = directory / "ckpt.1"
    file.write_bytes(_pickled(bundle, protocol))
    return import_dopamine_agent(file, hints=Hints(**hints))


def _random_layers(shapes: Any) -> dict[str, Any]:
    """Weights of the scale of trained ones, biases and noise included."""
    random = np.random.default_rng(0)

    def draw(leaf: Any) -> NDArray[np.float32]:
        inputs = int(np.prod(leaf.shape[:-1]))
        return random.normal(size=leaf.shape, scale=inputs**-0.5).astype(np.float32)

    layers: dict[str, Any] = jax.tree.map(draw, dict(shapes))
    return layers


AGENTS = {
    "dqn": (NetworkConfig(), "DQN"),
    "c51": (NetworkConfig(head="categorical"), "C51 or Rainbow"),
    "quantile": (NetworkConfig(head="quantile", num_atoms=200), "QR-DQN"),
    "iqn": (NetworkConfig(head="implicit_quantile", num_atoms=32), "IQN"),
    "full rainbow": (
        NetworkConfig(head="categorical", dueling=True, noisy=True),
        "full Rainbow",
    ),
    "full rainbow without noise": (
        NetworkConfig(head="categorical", dueling=True),
        "full Rainbow",
    ),
    "full rainbow without streams": (
        NetworkConfig(head="categorical", noisy=True),
        "full Rainbow",
    ),
    "dueling dqn of drq": (NetworkConfig(dueling=True), "dueling DQN"),
    "noisy dqn": (NetworkConfig(noisy=True), "noisy DQN"),
}


def _narrow(config: NetworkConfig) -> NetworkConfig:
    return dataclasses.replace(config, features=(2, 3, 4), hidden_units=5)


@pytest.mark.parametrize("agent", AGENTS)
@pytest.mark.parametrize("era", ERAS)
def test_each_agent_of_each_era_is_recognised_and_keeps_its_numbers(
    tmp_path: Path, era: str, agent: str
) -> None:
    config, algorithm = _narrow(AGENTS[agent][0]), AGENTS[agent][1]
    module = make_network(config, ACTIONS)
    shapes = jax.eval_shape(module.init, jax.random.key(0), np.zeros((1, 84, 84, 4), np.uint8))
    layers = _random_layers(shapes["params"])
    # Each era in each protocol that Dopamine wrote, 3 to 5.
    imported = _import(tmp_path, era, layers, protocol=3 + list(AGENTS).index(agent) % 3)
    assert (imported.card.network, imported.card.num_actions) == (config, ACTIONS)
    assert f"Dopamine JAX {algorithm} checkpoint" in imported.card.made
    assert imported.card.compute == Compute(environment_frames=4 * 250_000)
    jax.tree.map(np.testing.assert_array_equal, imported.params, {"params": layers})


def _dopamines(networks: Any, agent: str) -> tuple[Any, dict[str, Any]]:
    """Dopamine's own network of an agent, and what it takes beside the state to act."""
    if agent == "dqn":
        return networks.NatureDQNNetwork(num_actions=ACTIONS), {}
    if agent == "c51":
        network = networks.RainbowNetwork(num_actions=ACTIONS, num_atoms=51)
        return network, {"support": SUPPORT}
    if agent == "quantile":
        return networks.QuantileNetwork(num_actions=ACTIONS, num_atoms=200), {}
    if agent == "iqn":
        network = networks.ImplicitQuantileNetwork(num_actions=ACTIONS, quantile_embedding_dim=64)
        return network, {"num_quantiles": 32, "rng": jax.random.PRNGKey(0)}
    config = AGENTS[agent][0]
    is_distributional = config.head == "categorical"
    network = networks.FullRainbowNetwork(
        num_actions=ACTIONS,
        num_atoms=51 if is_distributional else 1,
        noisy=config.noisy,
        dueling=config.dueling,
        distributional=is_distributional,
    )
    return network, {"support": SUPPORT, "eval_mode": True, "key": jax.random.PRNGKey(0)}


def _midpoints_or(uniform: Callable[..., Any]) -> Callable[..., Any]:
    """IQN's quantile levels are (i + 1/2) / 32 instead of drawn, as a frozen teacher has them."""

    def draw(key: Any, shape: Any, *args: Any, **kwargs: Any) -> Any:
        if list(shape) == [32, 1]:
            return (jnp.arange(32, dtype=jnp.float32).reshape(32, 1) + 0.5) / 32
        return uniform(key, shape, *args, **kwargs)

    return draw


@pytest.mark.parametrize(("agent", "era"), list(zip(AGENTS, list(ERAS) * 2, strict=False)), ids=str)
def test_a_full_size_agent_answers_as_dopamines_own_network(
    tmp_path: Path, agent: str, era: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    from dopamine.jax import networks

    theirs, arguments = _dopamines(networks, agent)
    states = np.random.default_rng(1).integers(0, 256, (3, 84, 84, 4), np.uint8)
    monkeypatch.setattr(jax.random, "uniform", _midpoints_or(jax.random.uniform))
    shapes = jax.eval_shape(lambda key: theirs.init(key, states[0], **arguments), jax.random.key(0))
    layers = _random_layers(shapes["params"])
    answers = jax.jit(jax.vmap(lambda state: theirs.apply({"params": layers}, state, **arguments)))
    answer = answers(states)
    expected = answer.quantile_values.mean(axis=1) if agent == "iqn" else answer.q_values

    imported = _import(tmp_path, era, layers)
    assert imported.card.network == AGENTS[agent][0]
    ours = make_network(imported.card.network, imported.card.num_actions)
    found = jax.jit(ours.apply)(imported.params, states)
    assert np.ptp(np.asarray(expected)) > 0.1
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-5)


def test_the_support_of_a_categorical_agent_is_the_users_word(tmp_path: Path) -> None:
    layers = layers_of(SMALL | {"Dense_1": (5, 3 * 51)})
    assumed = _import(tmp_path, "linen without the level params", layers)
    assert "; returns from -10 to 10, which no checkpoint says" in assumed.card.made
    said = _import(tmp_path, "linen without the level params", layers, agent="c51", value_bound=20)
    assert said.card.network == dataclasses.replace(_narrow(AGENTS["c51"][0]), value_bound=20.0)
    assert said.card.algorithm == "C51"

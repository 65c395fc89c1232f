"""Heads, dueling and noisy networks against Dopamine's own, and against arithmetic by hand."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from dopamine.jax import networks

from rrl_agents.networks.config import NetworkConfig
from rrl_agents.networks.outputs import (
    CategoricalOutputs,
)
from rrl_agents.networks.registry import make_network
from rrl_agents.students.registry import STUDENTS

ACTIONS = 4
SUPPORT = np.linspace(-10.0, 10.0, 51, dtype=np.float32)

Theirs = tuple[Any, dict[str, Any]]
"""A network of Dopamine's, and what its call takes beside the state."""


def _nature() -> Theirs:
    return networks.NatureDQNNetwork(num_actions=ACTIONS), {}


def _c51() -> Theirs:
    return networks.RainbowNetwork(num_actions=ACTIONS, num_atoms=51), {"support": SUPPORT}


def _quantile() -> Theirs:
    return networks.QuantileNetwork(num_actions=ACTIONS, num_atoms=200), {}


def _implicit_quantile() -> Theirs:
    network = networks.ImplicitQuantileNetwork(num_actions=ACTIONS, quantile_embedding_dim=64)
    return network, {"num_quantiles": 32, "rng": jax.random.PRNGKey(0)}


def _full_rainbow(*, noisy: bool = False, dueling: bool = False, atoms: int = 51) -> Theirs:
    network = networks.FullRainbowNetwork(
        num_actions=ACTIONS,
        num_atoms=atoms,
        noisy=noisy,
        dueling=dueling,
        distributional=atoms > 1,
    )
    return network, {"support": SUPPORT, "eval_mode": True, "key": jax.random.PRNGKey(0)}


_RAINBOW = STUDENTS["rainbow"].network

NETWORKS: dict[str, tuple[Theirs, NetworkConfig]] = {
    "dqn": (_nature(), STUDENTS["dqn"].network),
    "dueling_dqn": (_full_rainbow(dueling=True, atoms=1), STUDENTS["dueling_dqn"].network),
    "noisy_dqn": (_full_rainbow(noisy=True, atoms=1), STUDENTS["noisy_dqn"].network),
    "c51": (_c51(), STUDENTS["c51"].network),
    "rainbow": (_full_rainbow(), _RAINBOW),
    "qr_dqn": (_quantile(), STUDENTS["qr_dqn"].network),
    "iqn": (_implicit_quantile(), STUDENTS["iqn"].network),
    "noisy dueling": (
        _full_rainbow(noisy=True, dueling=True),
        dataclasses.replace(_RAINBOW, noisy=True, dueling=True),
    ),
    "dueling": (_full_rainbow(dueling=True), dataclasses.replace(_RAINBOW, dueling=True)),
    "noisy": (_full_rainbow(noisy=True), dataclasses.replace(_RAINBOW, noisy=True)),
}


def _midpoints_or(uniform: Callable[..., Any]) -> Callable[..., Any]:
    """Replaces what Dopamine draws quantile levels by; initial weights are drawn as ever."""

    def draw(key: Any, shape: Any, *args: Any, **kwargs: Any) -> Any:
        if list(shape) == [32, 1]:
            return (jnp.arange(32, dtype=jnp.float32).reshape(32, 1) + 0.5) / 32
        return uniform(key, shape, *args, **kwargs)

    return draw


def test_every_student_is_compared_with_a_library() -> None:
    compared = {config for _, config in NETWORKS.values()}
    elsewhere = {name for name in STUDENTS if STUDENTS[name].network not in compared}
    # `test_initial_weights` has these, and `test_balloon_network` the student with quantiles.
    assert elsewhere == {"vector_dqn", "minatar_dqn", "rainbow_impala", "vector_qr_dqn"}


@pytest.mark.parametrize("name", NETWORKS)
def test_a_network_starts_and_answers_as_dopamines(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    (theirs, arguments), config = NETWORKS[name]
    observations = np.random.default_rng(0).integers(0, 256, (2, 84, 84, 4), np.uint8)
    key = jax.random.PRNGKey(1)
    params = theirs.init(key, observations[0], **arguments)
    ours = make_network(config, ACTIONS)
    initial: Any = ours.init(key, observations)
    jax.tree.map(functools.partial(np.testing.assert_allclose, rtol=1e-6), initial, params)

    if name == "iqn":  # Theirs draws its quantile levels; ours are fixed.
        monkeypatch.setattr(jax.random, "uniform", _midpoints_or(jax.random.uniform))
    answers = [theirs.apply(params, state, **arguments) for state in observations]
    with jax.numpy_rank_promotion("raise"):
        found: Any = ours.apply(params, jnp.asarray(observations), method="outputs")
    if name == "iqn":
        expected = np.stack([answer.quantile_values for answer in answers])  # [B, N, A]
        np.testing.assert_allclose(
            found.quantile_values, expected.transpose(0, 2, 1), rtol=1e-4, atol=1e-5
        )
        np.testing.assert_allclose(found.q_values, expected.mean(axis=1), rtol=1e-4, atol=1e-5)
        return
    q_values = np.stack([answer.q_values for answer in answers])
    np.testing.assert_allclose(found.q_values, q_values, rtol=1e-4, atol=1e-5)
    if config.head != "values":
        logits = np.stack([answer.logits for answer in answers])
        ours_per_atom = found.logits if config.head == "categorical" else found.quantile_values
        np.testing.assert_allclose(ours_per_atom, logits, rtol=1e-4, atol=1e-5)


def test_a_distribution_stays_float32_under_parameters_of_half_the_width() -> None:
    config = NetworkConfig(name="mlp", features=(3,), head="categorical", num_atoms=5)
    module = make_network(config, 2)
    pixel = np.zeros((1, 1, 1, 1), np.uint8)
    params = jax.tree.map(
        lambda leaf: leaf.astype(jnp.bfloat16), module.init(jax.random.key(0), pixel)
    )
    outputs = module.apply(params, pixel, method="outputs")
    assert isinstance(outputs, CategoricalOutputs)
    assert outputs.q_values.dtype == outputs.logits.dtype == jnp.float32


def test_a_last_layer_of_too_many_atoms_is_refused_before_it_is_made() -> None:
    config = NetworkConfig(head="quantile", num_atoms=1000)
    with pytest.raises(ValueError, match="num_actions times num_atoms is 66000"):
        make_network(config, 66)

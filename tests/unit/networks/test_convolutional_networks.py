"""The residual network of IMPALA against Dopamine's, MinAtar's small one by hand."""

from __future__ import annotations

import math
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from rrl_agents.networks.registry import (
    NetworkConfig,
    action_values,
    initial_params,
    make_network,
    network_outputs,
)

IMPALA = NetworkConfig(name="impala_cnn", features=(16, 32, 32))
SMALL = NetworkConfig(name="small_cnn", features=(16,), hidden_units=128)


def _shapes(config: NetworkConfig, shape: tuple[int, ...], num_actions: int) -> dict[str, Any]:
    state = np.zeros((1, *shape), np.uint8)
    tree = jax.eval_shape(make_network(config, num_actions).init, jax.random.key(0), state)
    shapes: dict[str, Any] = jax.tree.map(lambda leaf: leaf.shape, tree["params"])
    return shapes


def _as_ours(theirs: Any) -> Any:
    """Dopamine's parameters under our names: its encoder's stacks are ours at the top."""
    encoder = theirs["params"]["encoder"]
    stacks = {f"Stack_{i}": leaves for i, (_, leaves) in enumerate(sorted(encoder.items()))}
    dense = {name: leaves for name, leaves in theirs["params"].items() if name != "encoder"}
    return {"params": stacks | dense}


def test_impala_equals_dopamines_network_with_the_same_parameters() -> None:
    from dopamine.jax import networks

    theirs = networks.ImpalaDQNNetwork(num_actions=3)
    # 11 x 9 pixels: pooling meets odd sides.
    states = np.random.default_rng(0).integers(0, 256, (2, 11, 9, 4), np.uint8)
    params = theirs.init(jax.random.PRNGKey(1), states[0])
    expected = np.stack([theirs.apply(params, state).q_values for state in states])
    with jax.numpy_rank_promotion("raise"):
        found = action_values(make_network(IMPALA, 3), _as_ours(params), jnp.asarray(states))
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5)


def test_the_width_multiplies_the_channels_of_every_stack() -> None:
    config = NetworkConfig(name="impala_cnn", features=(16, 32, 32), width=4)
    shapes = _shapes(config, (84, 84, 4), 6)
    assert shapes["Stack_0"]["Conv_0"]["kernel"] == (3, 3, 4, 64)
    assert shapes["Stack_2"]["Conv_4"]["kernel"] == (3, 3, 128, 128)
    assert shapes["Dense_0"]["kernel"] == (11 * 11 * 128, 512)


@pytest.mark.parametrize(
    ("head", "variance"),
    # Xavier: 2 / (F + U). Dopamine's distributional agents: 1 / (sqrt(3) F).
    [
        ("values", 2 / (128 + 64)),
        ("categorical", 2 / (128 + 64)),
        ("implicit_quantile", 1 / (math.sqrt(3) * 128)),
    ],
)
def test_impalas_hidden_layer_starts_as_in_the_released_code(head: str, variance: float) -> None:
    config = NetworkConfig(
        name="impala_cnn", features=(2, 8), hidden_units=64, head=head, num_atoms=4
    )
    # 16 -> 8 -> 4: 4 * 4 * 8 = 128 inputs.
    params = initial_params(make_network(config, 2), jax.random.key(0), (16, 16, 1))
    hidden = "Dense_1" if head == "implicit_quantile" else "Dense_0"
    kernel = np.asarray(params["params"][hidden]["kernel"])
    assert kernel.shape == (128, 64)
    # 8,192 draws of a uniform distribution; its variance is found within 4%.
    assert np.var(kernel) == pytest.approx(variance, rel=0.04)
    assert np.abs(kernel).max() <= math.sqrt(3 * variance) * 1.0001


def test_the_small_network_computes_hand_worked_values_over_channels_and_stack() -> None:
    config = NetworkConfig(name="small_cnn", features=(1,), hidden_units=1)
    # One 3x3 place; two channels of two frames are four inputs, in the order of the axes.
    state = np.zeros((1, 3, 3, 2, 2), np.uint8)
    state[0, 1, 1] = [[255, 0], [51, 102]]
    kernel = np.zeros((3, 3, 4, 1), np.float32)
    kernel[1, 1, :, 0] = [1.0, 10.0, 5.0, -1.0]
    params = {
        "params": {
            "Conv_0": {"kernel": kernel, "bias": jnp.float32([0.5])},
            "Dense_0": {"kernel": jnp.float32([[2.0]]), "bias": jnp.float32([-1.0])},
            "Dense_1": {"kernel": jnp.float32([[1.0, -1.0]]), "bias": jnp.float32([0.0, 0.1])},
        }
    }
    # 1 * 1 + 10 * 0 + 5 * 0.2 - 0.4 + 0.5 = 2.1; hidden 4.2 - 1 = 3.2; values 3.2 and -3.1.
    with jax.numpy_rank_promotion("raise"):
        values = action_values(make_network(config, 2), params, jnp.asarray(state))
    np.testing.assert_allclose(values, [[3.2, -3.1]], rtol=1e-5)


def test_more_convolutions_than_a_grid_has_room_for_are_refused() -> None:
    # 10 -> 8 -> 6 -> 4 -> 2: the fifth finds 2x2.
    config = NetworkConfig(name="small_cnn", features=(4,) * 5)
    with pytest.raises(ValueError, match="left for a map of 2x2; use larger images, or name fewer"):
        initial_params(make_network(config, 3), jax.random.key(0), (10, 10, 4, 1))


@pytest.mark.parametrize("name", ["nature_cnn", "impala_cnn", "small_cnn"])
def test_convolutions_refuse_vectors_with_advice(name: str) -> None:
    config = NetworkConfig(name=name, features=(4, 4, 4))
    with pytest.raises(ValueError, match=r'shape \(4, 1\).*use the network "mlp"'):
        initial_params(make_network(config, 3), jax.random.key(0), (4, 1))


def test_implicit_quantiles_are_answered_at_the_levels_asked_for() -> None:
    config = NetworkConfig(
        name="mlp", features=(), head="implicit_quantile", num_atoms=4, quantile_embedding_dim=1
    )
    layers = {
        "Dense_0": {"kernel": jnp.float32([[1.0]]), "bias": jnp.float32([2.0])},
        "Dense_1": {"kernel": jnp.float32([[1.0]]), "bias": jnp.float32([0.0])},
    }
    # The state is 3; a quantile is 3 * (cos(pi * level) + 2): levels 0, 1/2, 1 give 9, 6, 3.
    levels = jnp.float32([[0.0, 0.5], [1.0, 0.5]])
    with jax.numpy_rank_promotion("raise"):
        found: Any = network_outputs(
            make_network(config, 1),
            {"params": layers},
            jnp.full((2, 1), 3.0),
            quantile_levels=levels,
        )
    np.testing.assert_allclose(found.quantile_values, [[[9.0, 6.0]], [[3.0, 6.0]]], atol=1e-5)
    np.testing.assert_allclose(found.q_values, [[7.5], [4.5]], atol=1e-5)
    np.testing.assert_array_equal(found.quantile_levels, levels)

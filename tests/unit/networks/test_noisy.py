"""Noise of layers by its distribution; that it is off unless asked for is tested with the heads."""

from __future__ import annotations

import math
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from rrl_agents.networks.noisy import factorised_noise
from rrl_agents.networks.registry import NetworkConfig, action_values, make_network

LAYER = NetworkConfig(name="mlp", features=(), noisy=True)


def _params(mu: float, sigma: float, inputs: int, outputs: int) -> Any:
    return {
        "params": {
            "NoisyNetwork_0": {
                "kernel_mu": np.full((inputs, outputs), mu, np.float32),
                "kernel_sigma": np.full((inputs, outputs), sigma, np.float32),
                "bias_mu": np.full(outputs, mu, np.float32),
                "bias_sigma": np.full(outputs, sigma, np.float32),
            }
        }
    }


def test_noise_is_the_product_of_an_input_factor_and_an_output_factor() -> None:
    kernel, bias = factorised_noise(jax.random.key(0), 300, 200)
    assert np.linalg.matrix_rank(np.asarray(kernel), tol=1e-3) == 1
    # A column is the inputs' factors times the output's, which is the bias' noise.
    np.testing.assert_allclose(kernel[:, 1] / bias[1], kernel[:, 0] / bias[0], rtol=1e-4)
    # f(x)^2 = |x|, whose mean is sqrt(2 / pi) for a standard normal x; 200 draws with deviation
    # 0.6 each: 4 * 0.6 / sqrt(200) = 0.17.
    assert np.mean(np.square(bias)) == pytest.approx(math.sqrt(2 / math.pi), abs=0.17)
    assert abs(np.mean(bias)) < 0.26  # 4 * sqrt(0.8 / 200)


def test_a_layer_adds_its_scales_times_the_noise_to_its_means() -> None:
    network = make_network(LAYER, 2)
    ones = jnp.ones((3, 4))
    # Means alone: 4 * 0.5 + 0.5 = 2.5, for every state; the scales of 0 leave it there.
    key = jax.random.key(1)
    np.testing.assert_allclose(
        action_values(network, _params(0.5, 0.0, 4, 2), ones, key), np.full((3, 2), 2.5)
    )
    # Twice the scales move the answer twice as far, by the same noise for all states.
    once, twice = (
        np.asarray(action_values(network, _params(0.5, sigma, 4, 2), ones, key)) - 2.5
        for sigma in (0.1, 0.2)
    )
    np.testing.assert_allclose(twice, 2 * once, rtol=1e-4, atol=1e-6)
    np.testing.assert_array_equal(once, np.broadcast_to(once[0], once.shape))
    assert (once != 0).all()


def test_layers_and_keys_draw_noise_of_their_own() -> None:
    network = make_network(LAYER, 2)
    values = [
        np.asarray(action_values(network, _params(0.5, 0.1, 4, 2), jnp.ones((1, 4)), key))
        for key in jax.random.split(jax.random.key(0))
    ]
    assert (values[0] != values[1]).all()
    # Two layers of one size, dueling: equal noise would cancel in value + advantage - mean.
    dueling = make_network(NetworkConfig(name="mlp", features=(), noisy=True, dueling=True), 1)
    layers = _params(0.0, 0.1, 4, 1)["params"]
    params = {"params": {f"NoisyNetwork_{i}": layers["NoisyNetwork_0"] for i in range(2)}}
    outputs, state = dueling.apply(
        params, jnp.ones((1, 4)), rngs={"noise": jax.random.key(0)}, capture_intermediates=True
    )
    del outputs
    drawn = [
        float(state["intermediates"][f"NoisyNetwork_{i}"]["__call__"][0].squeeze())
        for i in range(2)
    ]
    assert drawn[0] != drawn[1]

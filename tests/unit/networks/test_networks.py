"""Networks against Dopamine's own, and against arithmetic by hand."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from rrl_agents.networks.registry import NetworkConfig, action_values, make_network

MLP = {"name": "mlp"}


def test_valid_padding_gives_the_papers_seven_by_seven_maps() -> None:
    # VALID: (84-8)/4+1 = 20, (20-4)/2+1 = 9, (9-3)/1+1 = 7; 7 * 7 * 32 = 1568 inputs.
    config = NetworkConfig(features=(16, 32, 32), hidden_units=256, padding="VALID")
    params = jax.eval_shape(
        make_network(config, 6).init, jax.random.PRNGKey(0), np.zeros((1, 84, 84, 4), np.uint8)
    )
    assert params["params"]["Dense_0"]["kernel"].shape == (1568, 256)


def test_mlp_computes_hand_worked_values_from_bytes() -> None:
    network = make_network(NetworkConfig(name="mlp", features=(2,)), 1)
    observations = np.array([[[[255], [51]]]], dtype=np.uint8)  # scaled: 1.0 and 0.2
    params = {
        "params": {
            "Dense_0": {
                "kernel": np.array([[1.0, -1.0], [5.0, 1.0]], np.float32),
                "bias": np.array([0.5, 0.0], np.float32),
            },
            "Dense_1": {
                "kernel": np.array([[2.0], [10.0]], np.float32),
                "bias": np.array([1.0], np.float32),
            },
        }
    }
    with jax.numpy_rank_promotion("raise"):
        values = action_values(network, params, jnp.asarray(observations))
    # hidden: 1*1 + 5*0.2 + 0.5 = 2.5 and relu(-1 + 0.2) = 0; output: 2*2.5 + 10*0 + 1 = 6.
    np.testing.assert_allclose(values, [[6.0]], rtol=1e-6)


def test_hidden_layers_are_normalised_before_their_activation() -> None:
    network = make_network(NetworkConfig(name="mlp", features=(2,), layer_norm=True), 1)
    params = {
        "Dense_0": {
            "kernel": np.array([[1.0, -1.0], [5.0, 1.0]], np.float32),
            "bias": np.array([0.5, 0.0], np.float32),
        },
        "LayerNorm_0": {
            "scale": np.array([2.0, 3.0], np.float32),
            "bias": np.array([0.5, 2.0], np.float32),
        },
        "Dense_1": {
            "kernel": np.array([[2.0], [10.0]], np.float32),
            "bias": np.array([1.0], np.float32),
        },
    }
    observations = jnp.asarray([[1.0, 0.2]], jnp.float32)
    # Layer: 2.5 and -0.8; less the mean and over the deviation, 1 and -1; 2 + 0.5 = 2.5 and
    # relu(-3 + 2) = 0. Output: 2 * 2.5 + 10 * 0 + 1 = 6.
    values = action_values(network, {"params": params}, observations)
    np.testing.assert_allclose(values, [[6.0]], rtol=1e-6)


def test_floats_are_taken_as_they_are_in_any_shape() -> None:
    network = make_network(NetworkConfig(name="mlp", features=()), 2)
    layer = {
        "kernel": np.array([[1.0, 0.0], [5.0, 1.0]], np.float32),
        "bias": np.array([0.5, 0.0], np.float32),
    }
    observations = jnp.asarray([[255.0, 51.0]], jnp.float32)
    values = action_values(network, {"params": {"Dense_0": layer}}, observations)
    # 255 + 5 * 51 + 0.5 = 510.5, and 51.
    np.testing.assert_allclose(values, [[510.5, 51.0]], rtol=1e-6)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"name": "natur_cnn"}, "choose one of"),
        ({"features": (32, 64)}, "features of nature_cnn is 2; use a number at least 3"),
        (
            {"name": "small_cnn", "features": ()},
            "features of small_cnn is 0; ",
        ),
        ({"name": "mlp", "features": (1,) * 17}, "features of mlp is 17; .* at most 16"),
        ({"features": (32, 0, 64)}, "at least 1 and at most 65536"),
        ({"hidden_units": 10**9}, "at least 1 and at most 65536"),
        ({"num_atoms": 0}, "num_atoms is 0; use a number at least 1 and at most 1024"),
        ({"quantile_embedding_dim": 2000}, "quantile_embedding_dim is 2000"),
        ({"value_bound": 0.0}, "value_bound is 0.0"),
        ({"value_bound": float("nan")}, "value_bound is nan"),
        ({"value_bound": float("inf")}, "value_bound is inf"),
        ({"name": "impala_cnn", "width": 0}, "width of impala_cnn is 0"),
        ({"name": "impala_cnn", "width": 65}, "width of impala_cnn is 65; .*at most 64"),
        ({"width": 2}, "width of nature_cnn is 2; .*at most 1"),
        ({**MLP, "input_low": (0.0,)}, "1 numbers in input_low, 0 in input_high"),
        ({**MLP, "input_low": (1.0,), "input_high": (1.0,)}, "input_low is 1.0; .*below 1.0"),
        ({**MLP, "input_low": (0.0,), "input_high": (float("inf"),)}, "input_high is inf"),
        ({**MLP, "input_low": (float("nan"),), "input_high": (1.0,)}, "input_low is nan"),
        ({**MLP, "input_low": (0.0,) * 5_000, "input_high": (1.0,) * 5_000}, "at most 4096"),
        ({"input_low": (0.0,), "input_high": (1.0,)}, "nature_cnn has.*other networks none"),
    ],
)
def test_an_impossible_network_is_refused_with_what_is_allowed(
    settings: dict[str, Any], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        NetworkConfig(**settings)


def test_a_network_needs_at_least_one_action() -> None:
    with pytest.raises(ValueError, match="num_actions"):
        make_network(NetworkConfig(), 0)

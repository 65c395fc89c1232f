"""Networks against Dopamine's own, and against arithmetic by hand."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from rrl_agents.networks.registry import NetworkConfig, action_values, make_network


def _observations(shape: tuple[int, ...]) -> np.ndarray[Any, np.dtype[np.uint8]]:
    return np.random.default_rng(0).integers(0, 256, size=shape, dtype=np.uint8)


def test_nature_cnn_equals_dopamines_network_with_the_same_parameters() -> None:
    from dopamine.jax import networks

    theirs = networks.NatureDQNNetwork(num_actions=6)
    observations = _observations((3, 84, 84, 4))
    params = theirs.init(jax.random.PRNGKey(1), observations[0])
    expected = jax.vmap(lambda x: theirs.apply(params, x).q_values)(observations)
    ours = make_network(NetworkConfig(), 6)
    with jax.numpy_rank_promotion("raise"):
        actual = action_values(ours, params, jnp.asarray(observations))
    np.testing.assert_allclose(actual, expected, rtol=1e-4, atol=1e-5)


def test_nature_cnn_starts_from_dopamines_initial_parameters() -> None:
    from dopamine.jax import networks

    observations = _observations((1, 84, 84, 4))
    key = jax.random.PRNGKey(2)
    theirs = networks.NatureDQNNetwork(num_actions=4).init(key, observations[0])
    ours = make_network(NetworkConfig(), 4).init(key, observations)
    assert sorted(theirs["params"]) == sorted(ours["params"])
    jax.tree.map(np.testing.assert_array_equal, theirs, ours)


def test_nature_cnn_has_the_layers_of_a_dopamine_checkpoint() -> None:
    # SAME padding keeps ceil(side / stride): 84 -> 21 -> 11 -> 11, so 11 * 11 * 64 = 7744 inputs.
    params = jax.eval_shape(
        make_network(NetworkConfig(), 6).init,
        jax.random.PRNGKey(0),
        _observations((1, 84, 84, 4)),
    )["params"]
    shapes = {name: leaves["kernel"].shape for name, leaves in params.items()}
    assert shapes == {
        "Conv_0": (8, 8, 4, 32),
        "Conv_1": (4, 4, 32, 64),
        "Conv_2": (3, 3, 64, 64),
        "Dense_0": (7744, 512),
        "Dense_1": (512, 6),
    }


def test_valid_padding_gives_the_papers_seven_by_seven_maps() -> None:
    # VALID: (84-8)/4+1 = 20, (20-4)/2+1 = 9, (9-3)/1+1 = 7; 7 * 7 * 32 = 1568 inputs.
    config = NetworkConfig(features=(16, 32, 32), hidden_units=256, padding="VALID")
    params = jax.eval_shape(
        make_network(config, 6).init, jax.random.PRNGKey(0), _observations((1, 84, 84, 4))
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
        ({"padding": "FULL"}, "'SAME' or 'VALID'"),
        ({"features": (32, 64)}, "needs 3 numbers"),
        ({"features": (32, 0, 64)}, "from 1 to"),
        ({"hidden_units": 10**9}, "from 1 to"),
        ({"name": "mlp", "features": (1,) * 17}, "at most 16"),
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

"""Vectors rescaled by their bounds: Dopamine's classic control network, and its ONNX graph."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import onnxruntime
import pytest

from rrl_agents.checkpoints.onnx_export import export_onnx
from rrl_agents.networks.registry import NetworkConfig, action_values, make_network
from rrl_client.spec import PolicySpec

LOW, HIGH = (-1.0, 0.0), (3.0, 10.0)


def _bounded(**settings: Any) -> NetworkConfig:
    return NetworkConfig(name="mlp", input_low=LOW, input_high=HIGH, **settings)


def test_bounds_become_minus_one_and_one() -> None:
    network = make_network(_bounded(features=()), 2)
    layer = {"kernel": np.eye(2, dtype=np.float32), "bias": np.zeros(2, np.float32)}
    states = jnp.float32([[[-1.0], [10.0]], [[1.0], [2.5]], [[5.0], [0.0]]])
    with jax.numpy_rank_promotion("raise"):
        values = action_values(network, {"params": {"Dense_0": layer}}, states)
    np.testing.assert_allclose(
        values, action_values(network, {"params": {"Dense_0": layer}}, states[..., 0])
    )
    # 2 (x + 1) / 4 - 1 and 2 x / 10 - 1; values beyond the bounds are not clipped.
    np.testing.assert_allclose(values, [[-1.0, 1.0], [0.0, -0.5], [2.0, -1.0]], atol=1e-6)


def test_a_bounded_perceptron_answers_as_dopamines_classic_control_network() -> None:
    from dopamine.discrete_domains import gym_lib
    from dopamine.jax import networks

    low, high = (
        tuple(float(bound) for bound in bounds)
        for bounds in (gym_lib.CARTPOLE_MIN_VALS, gym_lib.CARTPOLE_MAX_VALS)
    )
    theirs = networks.ClassicControlDQNNetwork(num_actions=2, min_vals=low, max_vals=high)
    states = np.random.default_rng(0).normal(size=(8, 4, 1)).astype(np.float32)
    params = theirs.init(jax.random.PRNGKey(0), states[0])
    expected = np.stack([theirs.apply(params, state).q_values for state in states])
    renamed = {"layers_0": "Dense_0", "layers_1": "Dense_1", "final_layer": "Dense_2"}
    same = {"params": {renamed[name]: leaves for name, leaves in params["params"].items()}}
    config = NetworkConfig(name="mlp", features=(512, 512), input_low=low, input_high=high)
    found = action_values(make_network(config, 2), same, jnp.asarray(states))
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("dtype", ["float32", "uint8"])
@pytest.mark.parametrize("shape", [(2,), (2, 1), (2, 3)])
@pytest.mark.parametrize("head", ["values", "implicit_quantile"])
def test_the_exported_graph_rescales_alike(dtype: str, shape: tuple[int, ...], head: str) -> None:
    network = _bounded(features=(8,), head=head, num_atoms=4)
    states = np.random.default_rng(0).integers(0, 10, (5, *shape)).astype(dtype)
    module = make_network(network, 3)
    params: Any = jax.device_get(module.init(jax.random.key(0), states))
    spec = PolicySpec(num_actions=3, observation_shape=shape, observation_dtype=dtype)
    model = export_onnx(network, params, spec)
    session = onnxruntime.InferenceSession(model, providers=["CPUExecutionProvider"])
    (found,) = session.run(["action_values"], {"observations": states})
    expected = action_values(module, params, jnp.asarray(states))
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("shape", [(3, 1), (3,), (2, 2, 1)])
def test_observations_that_the_bounds_are_not_for_are_refused(shape: tuple[int, ...]) -> None:
    network = make_network(_bounded(features=(8,)), 3)
    with pytest.raises(ValueError, match="input_low has 2 numbers; give one for each element"):
        network.init(jax.random.key(0), np.zeros((1, *shape), np.float32))
    plain: Any = make_network(NetworkConfig(name="mlp", features=(8,)), 3)
    params = jax.device_get(plain.init(jax.random.key(0), np.zeros((1, *shape), np.float32)))
    with pytest.raises(ValueError, match="input_low has 2 numbers; give one for each element"):
        spec = PolicySpec(num_actions=3, observation_shape=shape, observation_dtype="float32")
        export_onnx(_bounded(features=(8,)), params, spec)

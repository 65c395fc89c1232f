"""Exported graphs against flax with the same parameters, and against arithmetic by hand."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import onnx
import onnxruntime
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from rrl_agents.checkpoints.onnx_export import export_function, export_onnx
from rrl_agents.checkpoints.teacher_directory import load_teacher_directory
from rrl_agents.networks.config import HEADS
from rrl_agents.networks.registry import NETWORKS, NetworkConfig, action_values, make_network
from rrl_agents.types import Params
from rrl_client.spec import PolicySpec
from services.library.catalogue import BUNDLED_DIRECTORY

# Of every network, also of those that name fewer or more layers.
SMALL = NetworkConfig(features=(4, 5, 6), hidden_units=7, num_atoms=8, quantile_embedding_dim=5)

SCALE = np.array([0.5, 1.0, 2.0, 4.0], np.float32)


def _random_params(network: NetworkConfig, num_actions: int, shape: tuple[int, ...]) -> Params:
    """Parameters of the scale of trained ones, biases included."""
    module = make_network(network, num_actions)
    observation = np.zeros((1, *shape), np.uint8)
    tree = jax.eval_shape(module.init, jax.random.key(0), observation)
    random = np.random.default_rng(0)

    def draw(leaf: jax.ShapeDtypeStruct) -> NDArray[np.float32]:
        inputs = int(np.prod(leaf.shape[:-1]))
        return random.normal(size=leaf.shape, scale=inputs**-0.5).astype(np.float32)

    params: Params = jax.tree.map(draw, tree)
    return params


def _run(model: bytes, observations: NDArray[Any]) -> NDArray[np.float32]:
    session = onnxruntime.InferenceSession(model, providers=["CPUExecutionProvider"])
    (values,) = session.run(["action_values"], {"observations": observations})
    assert isinstance(values, np.ndarray) and values.dtype == np.float32
    return values


def _assert_equal_to_flax(
    network: NetworkConfig,
    shape: tuple[int, ...],
    *,
    num_actions: int = 3,
    dtype: str = "uint8",
) -> None:
    params = _random_params(network, num_actions, shape)
    module = make_network(network, num_actions)
    spec = PolicySpec(num_actions=num_actions, observation_shape=shape, observation_dtype=dtype)
    model = export_onnx(network, params, spec)
    states = np.random.default_rng(1).integers(0, 256, (7, *shape)).astype(dtype)
    expected = action_values(module, params, jnp.asarray(states))
    # Sums of up to 8,000 float32 products in another order differ by some units of the last
    # place (6e-8 each) of the terms, which may be larger than what they sum up to.
    tolerance = 1e-5 * max(1.0, float(np.abs(expected).max()))
    for rows in (1, 7):
        found = _run(model, states[:rows])
        np.testing.assert_allclose(found, expected[:rows], rtol=1e-5, atol=tolerance)


@pytest.mark.parametrize("variant", ["plain", "normalised", "noisy and dueling"])
@pytest.mark.parametrize("head", HEADS)
@pytest.mark.parametrize("name", NETWORKS)
def test_every_network_with_every_head_equals_flax(name: str, head: str, variant: str) -> None:
    network = dataclasses.replace(
        SMALL,
        name=name,
        head=head,
        layer_norm=variant == "normalised",
        dueling="dueling" in variant,
        noisy="noisy" in variant,
    )
    _assert_equal_to_flax(network, (40, 36, 2))


# Odd and even sides are padded differently where strides or pooling divide them: SAME pads evenly,
# unevenly or not at all. 36 is the smallest that fits without padding: 36 -> 8 -> 3 -> 1.
@pytest.mark.parametrize("dtype", ["uint8", "float32"])
@pytest.mark.parametrize("shape", [(36, 37, 1), (41, 40, 3, 2)])
@pytest.mark.parametrize(
    "network",
    [
        {},
        {"padding": "VALID"},
        {"name": "impala_cnn", "features": (4, 6), "width": 2},
        {"name": "small_cnn", "features": (8,)},
        {"name": "mlp", "features": ()},
    ],
)
def test_frames_of_any_size_and_type_are_taken(
    network: dict[str, Any], shape: tuple[int, ...], dtype: str
) -> None:
    _assert_equal_to_flax(dataclasses.replace(SMALL, **network), shape, dtype=dtype)


@settings(max_examples=10, deadline=None)
@given(
    features=st.lists(st.integers(1, 40), max_size=3).map(tuple),
    shape=st.tuples(st.integers(1, 12), st.integers(1, 12), st.integers(1, 4)),
    num_actions=st.integers(1, 18),
    dtype=st.sampled_from(["uint8", "float32"]),
)
def test_a_perceptron_of_any_shape_equals_flax(
    features: tuple[int, ...], shape: tuple[int, int, int], num_actions: int, dtype: str
) -> None:
    network = NetworkConfig(name="mlp", features=features)
    _assert_equal_to_flax(network, shape, num_actions=num_actions, dtype=dtype)


@pytest.mark.parametrize(
    "head",
    [
        {"head": "categorical", "dueling": True, "noisy": True},
        {"head": "quantile", "num_atoms": 200},
        {"head": "implicit_quantile", "num_atoms": 32},
    ],
)
def test_a_distributional_agent_of_full_size_equals_flax_on_atari_frames(
    head: dict[str, Any],
) -> None:
    _assert_equal_to_flax(NetworkConfig(**head), (84, 84, 4), num_actions=6)


def test_the_exported_pong_teacher_gives_the_recorded_q_values(fixtures: Path) -> None:
    teacher = load_teacher_directory(BUNDLED_DIRECTORY / "pong_dqn")
    assert teacher.card.network is not None
    expected = np.load(fixtures / "pong_dqn/expected_q.npz", allow_pickle=False)
    model = export_onnx(teacher.card.network, teacher.params, teacher.card.spec)
    found = _run(model, expected["states"])
    np.testing.assert_allclose(found, expected["q_values"], rtol=1e-5, atol=1e-5)


def test_a_perceptron_computes_what_one_gets_by_hand() -> None:
    # Pixels 255 and 51 are 1 and 0.2. Hidden: relu(2 * 1 + 5 * 0.2 - 1) = 2, relu(-1) = 0.
    # Values: 3 * 2 + 0.5 = 6.5 and -1 * 2 = -2.
    params = {
        "params": {
            "Dense_0": {"kernel": jnp.float32([[2, -1], [5, 0]]), "bias": jnp.float32([-1, 0])},
            "Dense_1": {"kernel": jnp.float32([[3, -1], [9, 9]]), "bias": jnp.float32([0.5, 0])},
        }
    }
    network = NetworkConfig(name="mlp", features=(2,))
    model = export_onnx(network, params, PolicySpec(num_actions=2, observation_shape=(1, 2, 1)))
    observations = np.array([255, 51], np.uint8).reshape(1, 1, 2, 1)
    np.testing.assert_allclose(_run(model, observations), [[6.5, -2.0]], rtol=1e-6)


def _values_by_onnx(function: Any, states: NDArray[Any]) -> NDArray[Any]:
    """What the export of any function of states gives, its axes but the first flattened."""
    size = jax.eval_shape(function, states).size // len(states)
    spec = PolicySpec(
        num_actions=size, observation_shape=states.shape[1:], observation_dtype="float32"
    )
    return _run(export_function(lambda _, x: function(x).reshape(-1, size), {}, spec), states)


# What people build networks from.
@pytest.mark.parametrize(
    "function",
    [
        lambda x: nn.LayerNorm().apply({"params": {"scale": SCALE, "bias": -SCALE}}, x),
        lambda x: nn.GroupNorm(2).apply({"params": {"scale": SCALE, "bias": -SCALE}}, x),
        lambda x: jax.nn.sigmoid(x) * jnp.tanh(x) - nn.swish(x) + nn.gelu(x),
        lambda x: jnp.concatenate([x, 2.0 * x.transpose(0, 2, 1, 3)], axis=-1)[:, None],
        lambda x: jnp.max(x, axis=(1, 2)) - jnp.mean(x, axis=(1, 2), keepdims=False),
        lambda x: jnp.log(jnp.sum(jnp.exp(x), axis=1)) / SCALE + jnp.minimum(x.max(axis=2), 0.5),
    ],
)
def test_what_other_networks_compute_is_written_too(function: Any) -> None:
    states = np.random.default_rng(0).normal(size=(7, 5, 5, 4)).astype(np.float32)
    found = _values_by_onnx(function, states)
    np.testing.assert_allclose(found, function(states).reshape(7, -1), rtol=1e-4, atol=1e-5)


def test_what_the_export_does_not_know_is_refused_by_name() -> None:
    states = np.zeros((2, 3), np.float32)
    for function, name in (
        (lambda x: jnp.cumsum(x, axis=1), "cumsum"),
        (lambda x: jnp.einsum("bi,bi->b", x, x), "dot_general"),
        (lambda x: jax.lax.while_loop(lambda y: jnp.any(y < 1), lambda y: y + 1, x), "while"),
    ):
        with pytest.raises(ValueError, match=f"the network computes '{name}' of .*'jax'"):
            _values_by_onnx(function, states)


def test_the_file_says_what_goes_in_and_out() -> None:
    params = _random_params(SMALL, 3, (40, 36, 2))
    encoded = export_onnx(SMALL, params, PolicySpec(num_actions=3, observation_shape=(40, 36, 2)))
    graph = onnx.load_from_string(encoded).graph
    described = {
        value.name: [axis.dim_param or axis.dim_value for axis in value.type.tensor_type.shape.dim]
        for value in (*graph.input, *graph.output)
    }
    assert described == {
        "observations": ["batch", 40, 36, 2],
        "action_values": ["batch", 3],
    }


def test_maps_are_transposed_before_and_behind_all_convolutions_and_scaled_by_weights() -> None:
    network = NetworkConfig(name="impala_cnn", features=(4, 6), hidden_units=7)
    shape = (40, 36, 2)
    params = _random_params(network, 3, shape)
    encoded = export_onnx(network, params, PolicySpec(num_actions=3, observation_shape=shape))
    operators = [node.op_type for node in onnx.load_from_string(encoded).graph.node]
    assert operators[:4] == ["Cast", "Transpose", "Conv", "Add"]
    assert operators.count("Transpose") == 2
    assert not {"Mul", "Div"} & set(operators)


def test_observations_that_the_network_cannot_take_are_refused() -> None:
    flat = PolicySpec(num_actions=3, observation_shape=(40, 40))
    for name in NETWORKS.keys() - {"mlp"}:
        network = dataclasses.replace(SMALL, name=name)
        with pytest.raises(ValueError, match=r"convolutions need \(H, W, \.\.\., stack\)"):
            export_onnx(network, {}, flat)
    # 35 -> (35 - 8) // 4 + 1 = 7 -> (7 - 4) // 2 + 1 = 2, less than the last kernel of 3.
    valid = dataclasses.replace(SMALL, padding="VALID")
    params = _random_params(valid, 3, (36, 36, 2))
    with pytest.raises(ValueError, match="3x3 convolution left for a map of 2x2"):
        export_onnx(valid, params, PolicySpec(num_actions=3, observation_shape=(35, 35, 2)))

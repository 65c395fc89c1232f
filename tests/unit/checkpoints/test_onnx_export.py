"""Exported graphs against flax with the same parameters, and against arithmetic by hand."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import onnx
import onnxruntime
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from rrl_agents.checkpoints.load_teacher import load_teacher
from rrl_agents.checkpoints.onnx_export import export_onnx
from rrl_agents.networks.registry import NetworkConfig, action_values, make_network
from rrl_agents.types import Params

SMALL_CNN = NetworkConfig(features=(4, 5, 6), hidden_units=7)


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
    rows: int = 5,
    dtype: str = "uint8",
) -> None:
    params = _random_params(network, num_actions, shape)
    observations = np.random.default_rng(1).integers(0, 256, (rows, *shape)).astype(dtype)
    model = export_onnx(
        network,
        params,
        num_actions=num_actions,
        observation_shape=shape,
        observation_dtype=dtype,
    )
    expected = action_values(make_network(network, num_actions), params, jnp.asarray(observations))
    # Sums of up to 8,000 float32 products in another order differ by some units of the last place
    # (6e-8 each) of the terms, which may be larger than what they sum up to.
    tolerance = 1e-5 * max(1.0, float(np.abs(expected).max()))
    np.testing.assert_allclose(_run(model, observations), expected, rtol=1e-5, atol=tolerance)


def test_the_exported_pong_teacher_gives_the_recorded_q_values(fixtures: Path) -> None:
    teacher = load_teacher("pong_dqn")
    expected = np.load(fixtures / "pong_dqn/expected_q.npz", allow_pickle=False)
    model = export_onnx(
        teacher.card.network,
        teacher.params,
        num_actions=teacher.card.num_actions,
        observation_shape=teacher.card.observation_shape,
    )
    found = _run(model, expected["states"])
    np.testing.assert_allclose(found, expected["q_values"], rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("dtype", ["uint8", "float32"])
def test_a_small_cnn_equals_flax_on_minatars_channels(dtype: str) -> None:
    network = NetworkConfig(name="small_cnn", features=(16, 8), hidden_units=32)
    _assert_equal_to_flax(network, (10, 10, 7, 1), dtype=dtype)


# Odd and even sides are padded differently where pooling halves them.
@pytest.mark.parametrize("shape", [(84, 84, 4), (21, 20, 1), (9, 12, 3, 2)])
def test_an_impala_cnn_equals_flax(shape: tuple[int, ...]) -> None:
    network = NetworkConfig(name="impala_cnn", features=(4, 6), hidden_units=16, width=2)
    _assert_equal_to_flax(network, shape)


@pytest.mark.parametrize("name", ["small_cnn", "impala_cnn"])
def test_vectors_are_no_images(name: str) -> None:
    with pytest.raises(ValueError, match="must be .H, W, stack."):
        export_onnx(
            NetworkConfig(name=name, features=(4,)),
            {"params": {"Dense_0": {"bias": np.zeros(2, np.float32)}}},
            num_actions=2,
            observation_shape=(4, 1),
        )


@pytest.mark.parametrize("padding", ["SAME", "VALID"])
def test_a_nature_cnn_equals_flax_on_atari_frames(padding: str) -> None:
    _assert_equal_to_flax(NetworkConfig(padding=padding), (84, 84, 4), num_actions=6)


# Strides of 4, 2 and 1 with kernels of 8, 4 and 3 need an even padding, an odd one or none,
# depending on the size; 36 is the smallest that fits without padding: 36 -> 8 -> 3 -> 1.
@pytest.mark.parametrize("padding", ["SAME", "VALID"])
@pytest.mark.parametrize("shape", [(36, 37, 1), (38, 39, 2), (40, 41, 3), (84, 43, 4)])
def test_a_nature_cnn_equals_flax_on_frames_of_any_size(
    padding: str, shape: tuple[int, int, int]
) -> None:
    network = NetworkConfig(features=(4, 5, 6), hidden_units=7, padding=padding)
    _assert_equal_to_flax(network, shape)


def test_a_nature_cnn_without_padding_pads_nothing_even_on_one_pixel() -> None:
    # SAME keeps ceil(size / stride): 1 -> 1 -> 1 -> 1.
    _assert_equal_to_flax(SMALL_CNN, (1, 1, 1))


@settings(max_examples=15, deadline=None)
@given(
    features=st.lists(st.integers(1, 40), max_size=3).map(tuple),
    shape=st.tuples(st.integers(1, 12), st.integers(1, 12), st.integers(1, 4)),
    num_actions=st.integers(1, 18),
    rows=st.integers(1, 9),
    dtype=st.sampled_from(["uint8", "float32"]),
)
def test_a_perceptron_of_any_shape_equals_flax(
    features: tuple[int, ...],
    shape: tuple[int, int, int],
    num_actions: int,
    rows: int,
    dtype: str,
) -> None:
    network = NetworkConfig(name="mlp", features=features)
    _assert_equal_to_flax(network, shape, num_actions=num_actions, rows=rows, dtype=dtype)


@pytest.mark.parametrize(("dueling", "noisy"), [(False, False), (True, False), (True, True)])
@pytest.mark.parametrize(
    ("head", "num_atoms"),
    [("values", 1), ("categorical", 51), ("quantile", 20), ("implicit_quantile", 8)],
)
def test_every_head_equals_flax_whatever_follows_the_convolutions(
    head: str, num_atoms: int, dueling: bool, noisy: bool
) -> None:
    network = dataclasses.replace(
        SMALL_CNN, head=head, num_atoms=num_atoms, dueling=dueling, noisy=noisy
    )
    _assert_equal_to_flax(network, (40, 36, 2))


@pytest.mark.parametrize("features", [(), (6,), (6, 5)])
@pytest.mark.parametrize("head", ["categorical", "quantile", "implicit_quantile"])
def test_every_head_equals_flax_on_a_perceptron_of_any_depth(
    head: str, features: tuple[int, ...]
) -> None:
    network = NetworkConfig(
        name="mlp", features=features, head=head, num_atoms=7, value_bound=3.0, dueling=True
    )
    _assert_equal_to_flax(network, (3, 2, 2), num_actions=4, rows=3)


@pytest.mark.parametrize(
    "settings",
    [
        {"head": "categorical", "dueling": True, "noisy": True},
        {"head": "quantile", "num_atoms": 200},
        {"head": "implicit_quantile", "num_atoms": 32},
    ],
)
def test_a_distributional_agent_of_full_size_equals_flax_on_atari_frames(
    settings: dict[str, Any],
) -> None:
    _assert_equal_to_flax(NetworkConfig(**settings), (84, 84, 4), num_actions=6, rows=3)


def test_a_nature_cnn_takes_float_observations_too() -> None:
    _assert_equal_to_flax(SMALL_CNN, (40, 40, 2), dtype="float32")


def test_a_perceptron_computes_what_one_gets_by_hand() -> None:
    # Pixels 255 and 51 are 1 and 0.2. Hidden: relu(2 * 1 + 5 * 0.2 - 1) = 2, relu(-1) = 0.
    # Values: 3 * 2 + 0.5 = 6.5 and -1 * 2 = -2.
    params = {
        "params": {
            "Dense_0": {"kernel": [[2, -1], [5, 0]], "bias": [-1, 0]},
            "Dense_1": {"kernel": [[3, -1], [9, 9]], "bias": [0.5, 0]},
        }
    }
    params = jax.tree.map(
        lambda leaf: np.array(leaf, np.float32), params, is_leaf=lambda x: isinstance(x, list)
    )
    network = NetworkConfig(name="mlp", features=(2,))
    model = export_onnx(network, params, num_actions=2, observation_shape=(1, 2, 1))
    observations = np.array([255, 51], np.uint8).reshape(1, 1, 2, 1)
    np.testing.assert_allclose(_run(model, observations), [[6.5, -2.0]], rtol=1e-6)


def test_one_file_answers_batches_of_every_size() -> None:
    params = _random_params(SMALL_CNN, 3, (40, 40, 2))
    model = export_onnx(SMALL_CNN, params, num_actions=3, observation_shape=(40, 40, 2))
    observations = np.random.default_rng(0).integers(0, 256, (7, 40, 40, 2), np.uint8)
    together = _run(model, observations)
    for rows in (1, 2, 7):
        np.testing.assert_allclose(_run(model, observations[:rows]), together[:rows], atol=1e-6)


def test_the_file_says_what_goes_in_and_out() -> None:
    params = _random_params(SMALL_CNN, 3, (40, 36, 2))
    encoded = export_onnx(SMALL_CNN, params, num_actions=3, observation_shape=(40, 36, 2))
    graph = onnx.load_from_string(encoded).graph
    described = {
        value.name: [axis.dim_param or axis.dim_value for axis in value.type.tensor_type.shape.dim]
        for value in (*graph.input, *graph.output)
    }
    assert described == {
        "observations": ["batch", 40, 36, 2],
        "action_values": ["batch", 3],
    }


def _without(params: Params, layer: str) -> dict[str, Any]:
    return {"params": {name: leaf for name, leaf in params["params"].items() if name != layer}}


def test_parameters_that_do_not_fit_are_named() -> None:
    params = _random_params(SMALL_CNN, 3, (40, 40, 2))
    extra = {"params": {**params["params"], "Dense_2": params["params"]["Dense_1"]}}
    for wrong, message in (
        (_without(params, "Conv_1"), "Conv_1/kernel is missing"),
        (extra, "no parameters .*Dense_2/bias.*Dense_2/kernel"),
        (_random_params(SMALL_CNN, 3, (40, 40, 3)), r"Conv_0/kernel is of shape \(8, 8, 3, 4\)"),
        (_random_params(SMALL_CNN, 4, (40, 40, 2)), r"Dense_1/kernel is of shape \(7, 4\)"),
    ):
        with pytest.raises(ValueError, match=message):
            export_onnx(SMALL_CNN, wrong, num_actions=3, observation_shape=(40, 40, 2))


def test_observations_that_the_network_cannot_take_are_refused() -> None:
    params = _random_params(SMALL_CNN, 3, (40, 40, 2))
    with pytest.raises(ValueError, match="observation_dtype is 'int64'"):
        export_onnx(
            SMALL_CNN,
            params,
            num_actions=3,
            observation_shape=(40, 40, 2),
            observation_dtype="int64",
        )
    with pytest.raises(ValueError, match=r"\(H, W, stack\)"):
        export_onnx(SMALL_CNN, params, num_actions=3, observation_shape=(40, 40))
    # 35 -> (35 - 8) // 4 + 1 = 7 -> (7 - 4) // 2 + 1 = 2, less than the last kernel of 3.
    valid = NetworkConfig(features=(4, 5, 6), hidden_units=7, padding="VALID")
    with pytest.raises(ValueError, match="2 pixels are too small for a kernel of 3"):
        export_onnx(valid, params, num_actions=3, observation_shape=(35, 35, 2))

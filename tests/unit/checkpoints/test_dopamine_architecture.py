"""Which agent some layers belong to: from their shapes, from the user's words, or refused."""

from __future__ import annotations

from typing import Any

import jax
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rrl_agents.checkpoints.dopamine_agents.architecture import Hints, read_architecture
from rrl_agents.checkpoints.dopamine_agents.layers import Layers, read_layers
from rrl_agents.networks.registry import NetworkConfig, make_network

FLAT = 11 * 11 * 4
"""84 pixels padded SAME after strides 4, 2, 1 are 21, 11, 11; the last convolution has 4 maps."""


def _layers(*linear: tuple[int, int], noisy: bool = False, kind: str = "Dense") -> Layers:
    """Three narrow convolutions and linear layers of these shapes."""
    leaves: tuple[str, ...] = ("kernel", "bias")
    if noisy:
        kind, leaves = "NoisyNetwork", ("kernel_mu", "kernel_sigma", "bias_mu", "bias_sigma")
    shapes: dict[str, tuple[int, ...]] = {
        "Conv_0": (8, 8, 4, 2),
        "Conv_1": (4, 4, 2, 3),
        "Conv_2": (3, 3, 3, 4),
    }
    layers = {
        name: {"kernel": np.ones(shape, np.float32), "bias": np.ones(shape[-1:], np.float32)}
        for name, shape in shapes.items()
    }
    for index, shape in enumerate(linear):
        layers[f"{kind}_{index}"] = {
            leaf: np.ones(shape if leaf.startswith("kernel") else shape[-1:], np.float32)
            for leaf in leaves
        }
    return layers


def _read(layers: Layers, **hints: Any) -> tuple[str, int, int, str]:
    found = read_architecture(layers, "online_params", Hints(**hints))
    network = found.network
    return network.head, network.num_atoms, found.num_actions, found.algorithm


@settings(max_examples=30, deadline=None)
@given(
    features=st.tuples(*[st.integers(1, 9)] * 3),
    hidden_units=st.integers(1, 40),
    padding=st.sampled_from(["SAME", "VALID"]),
    # Atoms of the shapes that Dopamine has by default, and any number where the value tells it.
    head=st.sampled_from(
        [
            {},
            {"head": "categorical", "num_atoms": 51},
            {"head": "quantile", "num_atoms": 200},
            {"head": "implicit_quantile", "num_atoms": 32, "quantile_embedding_dim": 64},
            {"head": "implicit_quantile", "num_atoms": 32, "quantile_embedding_dim": 7},
            {"noisy": True},
            {"dueling": True},
            {"head": "categorical", "num_atoms": 51, "noisy": True},
            {"head": "categorical", "num_atoms": 21, "dueling": True},
            {"head": "categorical", "num_atoms": 51, "noisy": True, "dueling": True},
        ]
    ),
    num_actions=st.integers(1, 18),
)
def test_the_settings_of_any_network_are_read_back_from_its_parameters(
    features: tuple[int, ...],
    hidden_units: int,
    padding: str,
    head: dict[str, Any],
    num_actions: int,
) -> None:
    config = NetworkConfig(features=features, hidden_units=hidden_units, padding=padding, **head)
    module = make_network(config, num_actions)
    state = np.zeros((1, 84, 84, 4), np.uint8)
    tree: Any = jax.eval_shape(module.init, jax.random.key(0), state)
    zeros = jax.tree.map(lambda leaf: np.zeros(leaf.shape, np.float32), tree)
    found = read_architecture(read_layers(zeros, "online_params", []), "online_params", Hints())
    assert (found.network, found.num_actions) == (config, num_actions)


@pytest.mark.parametrize(
    ("outputs", "expected"),
    [
        (1, ("values", 51, 1, "DQN")),
        (18, ("values", 51, 18, "DQN")),
        (51, ("categorical", 51, 1, "C51 or Rainbow")),
        (306, ("categorical", 51, 6, "C51 or Rainbow")),  # 306 = 6 * 51
        (918, ("categorical", 51, 18, "C51 or Rainbow")),
        (200, ("quantile", 200, 1, "QR-DQN")),
        (3600, ("quantile", 200, 18, "QR-DQN")),
    ],
)
def test_a_last_layer_tells_actions_and_atoms_of_dopamines_defaults(
    outputs: int, expected: tuple[str, int, int, str]
) -> None:
    assert _read(_layers((FLAT, 5), (5, outputs))) == expected


# 19 actions are more than Atari has; 126 = 6 * 21, 969 = 19 * 51, 10200 = 200 * 51.
@pytest.mark.parametrize("outputs", [19, 126, 969, 10_200])
def test_a_last_layer_that_leaves_doubt_asks_for_agent_and_actions(outputs: int) -> None:
    with pytest.raises(
        ValueError,
        match=f"online_params/Dense_1 has {outputs} outputs, .* doubt.*AGENT is one of dqn, c51.*",
    ):
        _read(_layers((FLAT, 5), (5, outputs)))


@pytest.mark.parametrize(
    ("outputs", "hints", "expected"),
    [
        (19, {"agent": "dqn"}, ("values", 51, 19, "DQN")),
        (19, {"num_actions": 19}, ("values", 51, 19, "DQN")),
        (51, {"agent": "dqn"}, ("values", 51, 51, "DQN")),
        (969, {"agent": "rainbow"}, ("categorical", 51, 19, "Rainbow")),
        (969, {"num_actions": 19}, ("categorical", 51, 19, "C51 or Rainbow")),
        (126, {"agent": "c51", "num_actions": 6}, ("categorical", 21, 6, "C51")),
        (126, {"agent": "quantile", "num_actions": 6}, ("quantile", 21, 6, "QR-DQN")),
        (126, {"agent": "full_rainbow", "num_actions": 6}, ("categorical", 21, 6, "full Rainbow")),
        (306, {"agent": "full_rainbow"}, ("categorical", 51, 6, "full Rainbow")),
        (6, {"agent": "full_rainbow"}, ("values", 51, 6, "DQN")),
        # 1200 = 6 * 200, so it is one of quantiles; the user says otherwise.
        (1200, {"agent": "c51", "num_actions": 12}, ("categorical", 100, 12, "C51")),
    ],
)
def test_the_users_words_decide_where_shapes_leave_doubt(
    outputs: int, hints: dict[str, Any], expected: tuple[str, int, int, str]
) -> None:
    assert _read(_layers((FLAT, 5), (5, outputs)), **hints) == expected


@pytest.mark.parametrize(
    ("layers", "hints", "message"),
    [
        (_layers((FLAT, 5), (5, 6)), {"agent": "iqn"}, "is no network of the agent 'iqn'"),
        (_layers((FLAT, 5), (5, 6)), {"agent": "c51"}, "Dense_1 has 6 outputs, .* doubt"),
        (_layers((FLAT, 5), (5, 6)), {"num_actions": 4}, "6 outputs, which 4 actions do not div"),
        (_layers((FLAT, 5), (5, 6)), {"num_actions": 60}, "which 60 actions do not divide"),
        (_layers((FLAT, 5), (5, 126)), {"agent": "c51"}, "126 outputs, .* doubt"),
        (_layers((FLAT, 5), (5, 126)), {"num_actions": 6}, "126 outputs, .* doubt"),
        (_layers((FLAT, 5), (5, 12)), {"agent": "dqn", "num_actions": 6}, "12 outputs, .* doubt"),
        (_layers((FLAT, 5), (5, 12)), {"agent": "dqn", "num_actions": 12}, None),
        (
            _layers((64, FLAT), (FLAT, 5), (5, 6)),
            {"agent": "dqn"},
            "no network of the agent 'dqn': its layers are those of iqn",
        ),
        (_layers((64, FLAT), (FLAT, 5), (5, 6)), {"num_actions": 3}, "6 actions, not the 3 given"),
        (_layers((FLAT, 5), (5, 6), (5, 1)), {"agent": "rainbow"}, "those of full_rainbow"),
        (_layers((FLAT, 5), (5, 6), noisy=True), {"agent": "dqn"}, "those of full_rainbow"),
        (_layers((FLAT, 5), (5, 100), (5, 51)), {}, "100 outputs, which 51 atoms of the value"),
        (_layers((FLAT, 5), (5, 306)), {"value_bound": 0.0}, "value_bound is 0.0"),
        (_layers((FLAT, 5), (5, 306)), {"value_bound": float("nan")}, "value_bound is nan"),
    ],
)
def test_words_that_contradict_the_shapes_are_refused(
    layers: Layers, hints: dict[str, Any], message: str | None
) -> None:
    if message is None:  # A network of values has no support: its bound is not looked at.
        assert _read(layers, **hints)[0] == "values"
        return
    with pytest.raises(ValueError, match=message):
        _read(layers, **hints)


@pytest.mark.parametrize(
    ("layers", "message"),
    [
        (_layers((FLAT, 5)), "online_params has the layers"),
        (_layers((FLAT, 5), (5, 6), (5, 1), (5, 1)), "two or three layers of the kind Dense_0"),
        (
            _layers((FLAT, 5), (5, 6)) | {"NoisyNetwork_0": _layers((FLAT, 5))["Dense_0"]},
            "online_params has the layers",
        ),
        (_layers((FLAT, 5), (6, 6)), r"Dense_1/kernel has shape \(6, 6\); .* needs \(5, 6\)"),
        (_layers((FLAT, 5), (5, 6), (7, 1)), r"Dense_2/kernel has shape \(7, 1\)"),
        (_layers((1, 5), (5, 6), (5, 1)), r"Dense_0/kernel has shape \(1, 5\); .* \(484, 5\)"),
        (_layers((64, FLAT), (FLAT, 5), (9, 6)), r"Dense_2/kernel has shape \(9, 6\)"),
        (_layers((64, FLAT), (480, 5), (5, 6)), r"Dense_1/kernel has shape \(480, 5\)"),
        (
            _layers((FLAT, 5), (5, 2, 3)),  # type: ignore[arg-type]
            r"Dense_1/kernel has shape \(5, 2, 3\); its network needs \(5, 3\)",
        ),
        (
            _layers((64, FLAT, 2), (FLAT, 5), (5, 6)),  # type: ignore[arg-type]
            r"Dense_0/kernel has shape \(64, 484, 2\)",
        ),
        (_layers((), (5, 6)), r"Dense_0/bias has shape \(\)"),  # type: ignore[arg-type]
    ],
)
def test_layers_of_no_network_are_refused_by_name_and_shape(layers: Layers, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        _read(layers)


def test_a_noisy_layer_needs_its_scales_in_the_shape_of_its_means() -> None:
    layers = _layers((FLAT, 5), (5, 6), noisy=True)
    layers["NoisyNetwork_1"]["bias_sigma"] = np.ones(7, np.float32)
    with pytest.raises(ValueError, match=r"NoisyNetwork_1/bias_sigma has shape \(7,\); .* \(6,\)"):
        _read(layers)
    del layers["NoisyNetwork_1"]["bias_sigma"]
    with pytest.raises(ValueError, match="online_params/NoisyNetwork_1/bias_sigma is missing"):
        read_layers(layers, "online_params", [])


def test_more_units_than_a_network_may_have_are_refused() -> None:
    with pytest.raises(ValueError, match="online_params: features or hidden_units is 70000"):
        _read(_layers((FLAT, 70_000), (70_000, 1)))


@pytest.mark.parametrize("gone", ["Conv_0", "Conv_1", "Dense_0", "Dense_1"])
def test_a_missing_layer_is_not_taken_for_another_way_of_counting(gone: str) -> None:
    # IQN without its first dense layer would look like DQN, if the others moved up.
    layers = _layers((64, FLAT), (FLAT, 5), (5, 6))
    del layers[gone]
    with pytest.raises(ValueError, match="some of which are missing"):
        read_layers(layers, "online_params", [])


@pytest.mark.parametrize("array", [np.zeros((5, 0), np.float32), np.float32(1)])
def test_an_array_without_numbers_or_none_at_all_is_refused(array: Any) -> None:
    layers: Any = _layers((FLAT, 5), (5, 6))
    layers["Dense_1"]["kernel"] = array
    with pytest.raises(ValueError, match="online_params/Dense_1/kernel"):
        read_layers(layers, "online_params", [])


def test_doubles_too_large_for_float32_are_refused_as_infinite() -> None:
    layers: Any = _layers((FLAT, 5), (5, 6))
    layers["Dense_1"]["bias"] = np.full(6, 1e300)
    with pytest.raises(ValueError, match="Dense_1/bias holds numbers that are not finite"):
        read_layers(layers, "online_params", [])

"""Which agent some shapes belong to: read from them, from the user's words, or refused."""

from __future__ import annotations

from typing import Any

import jax
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rrl_agents.checkpoints.dopamine_agents.architecture import guess_architecture
from rrl_agents.checkpoints.dopamine_agents.layers import leaves_of_pickle
from rrl_agents.checkpoints.hints import Hints, LeftOpen
from rrl_agents.networks.config import NetworkConfig
from rrl_agents.networks.registry import make_network

FLAT = 11 * 11 * 4
"""84 pixels padded SAME after strides 4, 2, 1 are 21, 11, 11; the last convolution has 4 maps."""

DQN, IQN = ((FLAT, 5), (5, 6)), ((64, FLAT), (FLAT, 5), (5, 6))
DUELING = ((FLAT, 5), (5, 6), (5, 1))


def read(*linear: tuple[int, ...], kernel: str = "Dense_{}/kernel", **hints: Any) -> Any:
    """Three narrow convolutions and linear layers of these shapes: head, atoms, actions, name."""
    shapes: dict[str, tuple[int, ...]] = {
        "Conv_0/kernel": (8, 8, 4, 2),
        "Conv_1/kernel": (4, 4, 2, 3),
        "Conv_2/kernel": (3, 3, 3, 4),
    }
    shapes |= {kernel.format(index): shape for index, shape in enumerate(linear)}
    network, num_actions, algorithm = guess_architecture(shapes, Hints(**hints))
    return network.head, network.num_atoms, num_actions, algorithm


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
    state = np.zeros((1, 84, 84, 4), np.uint8)
    tree = jax.eval_shape(make_network(config, num_actions).init, jax.random.key(0), state)
    shapes = {name: leaf.shape for name, leaf in leaves_of_pickle(tree).items()}
    assert guess_architecture(shapes, Hints())[:2] == (config, num_actions)


@pytest.mark.parametrize(
    ("outputs", "hints", "expected"),
    [
        # Dopamine's defaults.
        (1, {}, ("values", 51, 1, "DQN")),
        (18, {}, ("values", 51, 18, "DQN")),
        (51, {}, ("categorical", 51, 1, "C51 or Rainbow")),
        (306, {}, ("categorical", 51, 6, "C51 or Rainbow")),  # 306 = 6 * 51
        (918, {}, ("categorical", 51, 18, "C51 or Rainbow")),
        (200, {}, ("quantile", 200, 1, "QR-DQN")),
        (3600, {}, ("quantile", 200, 18, "QR-DQN")),
        # The user's word.
        (19, {"agent": "dqn"}, ("values", 51, 19, "DQN")),
        (19, {"num_actions": 19}, ("values", 51, 19, "DQN")),
        (51, {"agent": "dqn"}, ("values", 51, 51, "DQN")),
        (12, {"agent": "dqn", "num_actions": 12}, ("values", 51, 12, "DQN")),
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
def test_a_last_layer_is_of_dopamines_defaults_or_of_what_the_user_says(
    outputs: int, hints: dict[str, Any], expected: tuple[str, int, int, str]
) -> None:
    assert read((FLAT, 5), (5, outputs), **hints) == expected


# 19 actions are more than Atari has; 126 = 6 * 21, 969 = 19 * 51, 10200 = 200 * 51.
@pytest.mark.parametrize(
    ("outputs", "hints"),
    [
        (19, {}),
        (126, {}),
        (969, {}),
        (10_200, {}),
        (6, {"agent": "c51"}),
        (126, {"agent": "c51"}),
        (126, {"num_actions": 6}),
        (12, {"agent": "dqn", "num_actions": 6}),
        (6, {"agent": "dqn", "num_actions": 0}),
    ],
)
def test_a_last_layer_that_leaves_doubt_asks_for_agent_and_actions(
    outputs: int, hints: dict[str, Any]
) -> None:
    asked = (
        f"{outputs} outputs, .* ambiguous.* AGENT is one of dqn, c51, .*, N its number of actions$"
    )
    with pytest.raises(LeftOpen, match=asked) as caught:
        read((FLAT, 5), (5, outputs), **hints)
    assert caught.value.hints == {"agent": "AGENT", "num_actions": "N"}


@pytest.mark.parametrize(
    ("linear", "hints", "message"),
    [
        (DQN, {"agent": "iqn"}, "not a network of the agent 'iqn': its layers are those of dqn or"),
        (IQN, {"agent": "dqn"}, "not a network of the agent 'dqn': its layers are those of iqn"),
        (DUELING, {"agent": "rainbow"}, "those of full_rainbow"),
        (DQN, {"kernel": "NoisyNetwork_{}/kernel_mu", "agent": "dqn"}, "those of full_rainbow"),
        (DQN, {"num_actions": 4}, "it has 6 actions, not the 4 given"),
        (DQN, {"num_actions": 60}, "it has 6 actions, not the 60 given"),
        (IQN, {"num_actions": 3}, "it has 6 actions, not the 3 given"),
        (((FLAT, 5), (5, 306)), {"value_bound": 0.0}, "value_bound is 0.0"),
        (((FLAT, 5), (5, 306)), {"value_bound": float("nan")}, "value_bound is nan"),
        (((FLAT, 70_000), (70_000, 1)), {}, "features or hidden_units is 70000"),
        (((FLAT, 5),), {}, "three convolutions, then two or three linear layers"),
        ((*DUELING, (5, 1)), {}, "three convolutions, then two or three linear layers"),
        (((FLAT, 5), (5, 2, 3)), {}, r"'Dense_1/kernel': \(5, 2, 3\)"),
        (((), (5, 6)), {}, r"'Dense_0/kernel': \(\)"),
    ],
)
def test_shapes_of_no_network_and_words_that_contradict_them_are_refused(
    linear: tuple[tuple[int, ...], ...], hints: dict[str, Any], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        read(*linear, **hints)

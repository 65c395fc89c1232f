"""The "network" object of a card: what is written is read back, and nothing else is taken."""

from __future__ import annotations

import dataclasses
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rrl_agents.networks.config import HEADS, MAX_ATOMS, MAX_UNITS, MAX_WIDTH, NetworkConfig
from rrl_agents.typed_json import decode

WRITTEN = json.loads(json.dumps(dataclasses.asdict(NetworkConfig(head="categorical"))))


def _read(value: Any) -> NetworkConfig:
    return decode(NetworkConfig, json.loads(json.dumps(value)), "card")


@given(
    config=st.builds(
        NetworkConfig,
        name=st.just("mlp"),
        features=st.lists(st.integers(1, MAX_UNITS), max_size=16).map(tuple),
        hidden_units=st.integers(1, MAX_UNITS),
        padding=st.sampled_from(["SAME", "VALID"]),
        head=st.sampled_from(HEADS),
        num_atoms=st.integers(1, MAX_ATOMS),
        value_bound=st.floats(0.001, 1e6),
        dueling=st.booleans(),
        noisy=st.booleans(),
        quantile_embedding_dim=st.integers(1, MAX_ATOMS),
        input_low=st.just((-1.0, 0.0)),
        input_high=st.just((1.0, 5.5)),
        activation=st.sampled_from(["relu", "tanh"]),
        layer_norm=st.booleans(),
    )
    | st.builds(
        NetworkConfig,
        name=st.just("impala_cnn"),
        features=st.lists(st.integers(1, MAX_UNITS), min_size=1, max_size=16).map(tuple),
        width=st.integers(1, MAX_WIDTH),
        pool_padding=st.sampled_from(["SAME", "SYMMETRIC"]),
    )
)
def test_every_network_is_read_back_from_what_is_written(config: NetworkConfig) -> None:
    assert _read(dataclasses.asdict(config)) == config


MAY_BE_MISSING = (
    *("width", "kernel_init", "input_low", "input_high"),
    *("activation", "layer_norm", "pool_padding"),
)


@pytest.mark.parametrize("field", MAY_BE_MISSING)
def test_a_card_without_a_field_that_changes_nothing_is_read(field: str) -> None:
    before = {name: value for name, value in WRITTEN.items() if name != field}
    assert _read(before) == NetworkConfig(head="categorical")


@pytest.mark.parametrize(
    "field",
    [field.name for field in dataclasses.fields(NetworkConfig) if field.name not in MAY_BE_MISSING],
)
def test_no_other_field_has_a_default(field: str) -> None:
    with pytest.raises(ValueError, match=f"field {field} is missing"):
        _read({name: value for name, value in WRITTEN.items() if name != field})


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("padding", "FULL", "field padding is 'FULL'; it must be one of"),
        ("name", "__class__", "network '__class__' is unknown"),
        ("hidden_units", 1.5, "field hidden_units is 1.5; it must be a whole number"),
        ("head", "c51", "field head is 'c51'; it must be one of"),
        ("num_atoms", True, "field num_atoms is True"),
        ("dueling", 1, "field dueling is 1; it must be true or false"),
        ("noisy", None, "field noisy is None; it must be true or false"),
        ("kernel_init", "zeros", "field kernel_init is 'zeros'; it must be one of 'dopamine'"),
        ("activation", "gelu", "field activation is 'gelu'; it must be one of 'relu', 'tanh'"),
        ("activation", "tanh", "activation of nature_cnn is 'tanh'; it must be 'relu'"),
        ("layer_norm", 1, "field layer_norm is 1; it must be true or false"),
        ("pool_padding", "VALID", "field pool_padding is 'VALID'; it must be one of 'SAME'"),
        ("input_low", ["x"], r"input_low\[0\] is .x.; it must be a finite number"),
        ("width", None, "field width is None; it must be a whole number"),
        ("bias", True, "unknown field bias"),
    ],
)
def test_a_field_that_no_network_has_is_refused_by_name(
    field: str, value: Any, message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        _read(WRITTEN | {field: value})

"""What a policy takes and gives is checked once, wherever it comes from."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import pytest

from rrl_client import PolicySpec

PIXELS = PolicySpec(num_actions=2, observation_shape=(4, 3), action_meanings=("NOOP", "FIRE"))
LOGITS = PolicySpec(
    num_actions=3,
    observation_shape=(5,),
    observation_dtype="float32",
    output="logits",
    temperature=0.5,
)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"num_actions": 0}, "num_actions is 0; it must be at least 1 and at most 65536"),
        ({"num_actions": 65537}, "num_actions is 65537"),
        ({"observation_shape": ()}, r"observation_shape is \(\); give sizes of at least 1"),
        ({"observation_shape": (4, 0)}, r"observation_shape is \(4, 0\)"),
        ({"observation_shape": (4096, 4097)}, "at most 16777216 elements"),
        ({"observation_dtype": "float64"}, "observation_dtype is 'float64'; give uint8 or float32"),
        ({"output": "values"}, "output is 'values'; give q_values or logits"),
        ({"output": "x" * 1000}, "output is 'x{32}'"),
        ({"temperature": 1.0}, "temperature is 1.0 for Q-values, .*; leave it out"),
        ({"output": "logits", "temperature": 0.0}, "temperature is 0.0; it must be finite and"),
        ({"output": "logits", "temperature": float("inf")}, "temperature is inf"),
        ({"output": "logits", "temperature": float("nan")}, "temperature is nan"),
        ({"action_meanings": ("NOOP",)}, "action_meanings names 1 actions, num_actions is 2"),
    ],
)
def test_what_no_policy_can_be_is_refused_with_what_can(
    changes: dict[str, Any], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        dataclasses.replace(PIXELS, **changes)


def test_a_row_has_as_many_bytes_as_its_elements() -> None:
    # 4 x 3 elements of 1 byte; 5 of 4 bytes.
    assert (PIXELS.row_bytes, LOGITS.row_bytes) == (12, 20)


def test_zeros_are_a_batch_that_the_policy_takes() -> None:
    zeros = LOGITS.zeros(2)
    assert (zeros.shape, zeros.dtype, zeros.any()) == ((2, 5), np.float32, False)


@pytest.mark.parametrize(
    ("shape", "dtype", "actions", "misfit"),
    [
        ((4, 3), "uint8", 2, None),
        ((4, 3), "uint8", None, None),
        (
            (3, 4),
            "uint8",
            2,
            "takes observations uint8 (4, 3), catch has uint8 (3, 4)",
        ),
        (
            (4, 3),
            "float32",
            None,
            "takes observations uint8 (4, 3), catch has float32 (4, 3)",
        ),
        ((4, 3), "uint8", 3, "has 2 actions, catch has 3"),
    ],
)
def test_what_an_environment_has_that_a_policy_does_not_take_is_said(
    shape: tuple[int, ...], dtype: str, actions: int | None, misfit: str | None
) -> None:
    found = PIXELS.misfit(
        observation_shape=shape, observation_dtype=dtype, num_actions=actions, of="catch"
    )
    assert found == misfit


@pytest.mark.parametrize(
    ("changes", "mismatch"),
    [
        ({}, None),
        ({"action_meanings": ("LEFT", "STAY", "RIGHT")}, None),
        (
            {"temperature": 1.0},
            "gives logits of temperature 0.5, the other gives logits of temperature 1.0",
        ),
        (
            {"output": "q_values", "temperature": None},
            "gives logits of temperature 0.5, the other gives q_values of temperature None",
        ),
        ({"num_actions": 4}, "has 3 actions, the other has 4"),
        (
            {"observation_shape": (6,)},
            "takes observations float32 (5,), the other has float32 (6,)",
        ),
    ],
)
def test_a_policy_takes_the_place_of_one_that_callers_cannot_tell_from_it(
    changes: dict[str, Any], mismatch: str | None
) -> None:
    assert LOGITS.mismatch(dataclasses.replace(LOGITS, **changes), of="the other") == mismatch

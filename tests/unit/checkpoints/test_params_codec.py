from __future__ import annotations

import hashlib
import json
import struct
from typing import Any

import jax.numpy as jnp
import numpy as np
import pytest
import safetensors.numpy
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as numpy_st

from rrl_agents.checkpoints.params_codec import (
    flatten_params,
    params_from_bytes,
    params_hash,
    params_to_bytes,
    unflatten_params,
)

leaves = numpy_st.arrays(
    dtype=np.float32,
    shape=numpy_st.array_shapes(min_dims=0, max_dims=4, min_side=0, max_side=4),
    elements=st.floats(width=32, allow_nan=True),
)
names = st.text(min_size=1, max_size=8).filter(
    lambda name: "/" not in name and not any("\ud800" <= letter <= "\udfff" for letter in name)
)
trees = st.recursive(
    st.dictionaries(names, leaves, min_size=1, max_size=3),
    lambda children: st.dictionaries(names, children, min_size=1, max_size=3),
    max_leaves=6,
)


@given(trees)
def test_a_tree_comes_back_equal_bit_by_bit(tree: dict[str, Any]) -> None:
    sent = flatten_params({"params": tree})
    decoded = params_from_bytes(params_to_bytes({"params": tree}))
    received = flatten_params(decoded)
    assert list(received) == list(sent)
    for name, leaf in sent.items():
        assert received[name].shape == leaf.shape
        assert received[name].tobytes() == leaf.tobytes()


@given(st.binary(max_size=300))
def test_random_bytes_are_refused_in_one_sentence(data: bytes) -> None:
    with pytest.raises(ValueError, match="not whole safetensors content"):
        params_from_bytes(data)


def test_flat_names_leave_out_the_root_and_are_what_other_tools_read() -> None:
    params = {"params": {"Conv_0": {"kernel": np.ones((2, 3), np.float32)}}}
    flat = safetensors.numpy.load(params_to_bytes(params))
    assert list(flat) == ["Conv_0/kernel"]


def test_jax_arrays_and_transposed_views_encode_as_their_values() -> None:
    values = np.arange(6, dtype=np.float32).reshape(2, 3)
    plain = params_to_bytes({"params": {"w": np.ascontiguousarray(values.T)}})
    assert params_to_bytes({"params": {"w": values.T}}) == plain
    assert params_to_bytes({"params": {"w": jnp.asarray(values).T}}) == plain


def test_equal_trees_have_equal_bytes_whatever_the_order_of_their_keys() -> None:
    one, two = np.ones(1, np.float32), np.full(1, 2, np.float32)
    forward = params_to_bytes({"params": {"a": one, "b": two}})
    assert forward == params_to_bytes({"params": {"b": two, "a": one}})
    assert params_hash(forward) == hashlib.sha256(forward).hexdigest()


@pytest.mark.parametrize(
    ("tree", "pattern"),
    [
        ({"a": np.zeros(1, np.float32)}, r"top-level keys \['a'\]"),
        ({"params": {"w": np.zeros(2)}}, "'w' is float64"),
    ],
)
def test_a_tree_that_no_flat_names_can_hold_is_refused(tree: Any, pattern: str) -> None:
    with pytest.raises(ValueError, match=pattern):
        params_to_bytes(tree)


@pytest.mark.parametrize(
    "names", [[""], ["a//b"], ["/a"], ["/".join("abcdefghijklmnopq")], ["a", "a/b"], ["a/b", "a"]]
)
def test_a_name_that_no_tree_can_have_is_refused(names: list[str]) -> None:
    flat = {name: np.zeros(1, np.float32) for name in names}
    with pytest.raises(ValueError, match="1 to 16 non-empty parts"):
        params_from_bytes(safetensors.numpy.save(flat))
    with pytest.raises(ValueError, match="1 to 16 non-empty parts"):
        unflatten_params(flat)


@pytest.mark.parametrize("dtype", [np.float64, np.float16, np.int32, np.bool_])
def test_other_types_than_float32_are_refused_on_the_wire(dtype: Any) -> None:
    with pytest.raises(ValueError, match="only float32"):
        params_from_bytes(safetensors.numpy.save({"w": np.zeros(3, dtype)}))


def test_a_type_that_numpy_lacks_is_refused() -> None:
    header = json.dumps({"w": {"dtype": "BF16", "shape": [1], "data_offsets": [0, 2]}}).encode()
    with pytest.raises(ValueError, match="BF16"):
        params_from_bytes(struct.pack("<Q", len(header)) + header + b"\0\0")


def test_content_over_the_limit_is_refused_unread() -> None:
    with pytest.raises(ValueError, match="11 bytes; at most 10"):
        params_from_bytes(b"x" * 11, max_bytes=10)

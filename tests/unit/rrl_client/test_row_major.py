"""Observations in any order of memory travel row-major."""

import itertools

import numpy as np
import pytest

from rrl_client.row_major import copy_row_major, row_major_bytes

ORDERS = list(itertools.permutations(range(4)))


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("last", [1, 4, 17])
def test_the_bytes_are_those_of_the_elements_in_row_major_order(
    order: tuple[int, ...], last: int
) -> None:
    shape = (2, 5, 3, last)
    expected = np.arange(np.prod(shape), dtype=np.uint16).reshape(shape)
    # The same elements, with the axes in another order of memory.
    stored = np.ascontiguousarray(expected.transpose(order)).transpose(np.argsort(order))
    assert row_major_bytes(stored) == expected.tobytes()
    copy = np.zeros_like(expected)
    copy_row_major(stored, copy)
    np.testing.assert_array_equal(copy, expected)

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from numpy.typing import NDArray

from rrl_agents.checkpoints.teacher_card import Teacher
from services.shared.compilations import compilations
from services.teacher.policies.jax_policy import JaxPolicy


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_new_weights_of_the_same_network_compile_nothing(
    dtype: str,
    make_teacher: Callable[..., Teacher],
    observations: Callable[[int], NDArray[np.uint8]],
) -> None:
    # A width no other test has: nothing of it is compiled yet.
    width = {"float32": 21, "bfloat16": 22}[dtype]
    states = observations(4)
    start = compilations()
    old = JaxPolicy(make_teacher(0, (width,)), dtype=dtype).evaluate(states)
    after_first = compilations()
    new = JaxPolicy(make_teacher(1, (width,)), dtype=dtype).evaluate(states)
    assert start < after_first == compilations()
    assert not np.array_equal(old, new)


def test_a_batch_size_not_seen_before_counts_as_a_compilation(
    teacher: Teacher, observations: Callable[[int], NDArray[np.uint8]]
) -> None:
    policy = JaxPolicy(teacher)
    policy.evaluate(observations(2))
    before = compilations()
    policy.evaluate(observations(2))
    assert compilations() == before
    policy.evaluate(observations(97))
    assert compilations() > before

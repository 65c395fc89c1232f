"""Every batch size is compiled and timed once."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from rrl_agents.checkpoints.teacher_card import Teacher
from services.shared.compilations import compilations
from services.teacher.policies import timing
from services.teacher.policies.jax_policy import JaxPolicy
from services.teacher.policies.timing import warm_up


def test_the_warm_up_compiles_and_times_every_size(
    teacher: Teacher, observations: Callable[[int], NDArray[np.uint8]]
) -> None:
    policy = JaxPolicy(teacher)
    seconds = warm_up(policy, (1, 4, 11))
    assert list(seconds) == [1, 4, 11]
    assert all(value > 0 for value in seconds.values())
    before = compilations()
    for rows in (1, 4, 11):
        policy.evaluate(observations(rows))
    assert compilations() == before


def test_a_slow_policy_is_timed_by_a_few_calls(
    teacher: Teacher, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(timing, "_TIMED_SECONDS_PER_SIZE", 0.02)
    monkeypatch.setattr(timing, "_TIMED_SECONDS", 0.01)
    called: list[int] = []

    class Slow(JaxPolicy):
        def evaluate(self, observations: NDArray[Any]) -> NDArray[np.float32]:
            called.append(len(observations))
            time.sleep(0.03)
            return super().evaluate(observations)

    seconds = warm_up(Slow(teacher), (1, 4))
    # Once to compile, and one round of one call each.
    assert called == [1, 4, 1, 4]
    assert min(seconds.values()) >= 0.03

"""JAX and ONNX Runtime give the same answers, and the faster one is chosen."""

from __future__ import annotations

import concurrent.futures
import logging
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest
from numpy.typing import NDArray

from rrl_agents.checkpoints import onnx_primitives
from rrl_agents.checkpoints.teacher_card import Teacher
from rrl_agents.checkpoints.teacher_directory import load_teacher_directory
from rrl_client import PolicySpec
from services.library.catalogue import BUNDLED_DIRECTORY
from services.shared.errors import UserError
from services.teacher.policies.backend_choice import choose_policy, fastest
from services.teacher.policies.interface import Policy, PolicyInfo
from services.teacher.policies.jax_policy import JaxPolicy
from services.teacher.policies.onnx_policy import OnnxPolicy, exported

RECORDED = Path(__file__).parents[3] / "fixtures/pong_dqn/expected_q.npz"


@pytest.fixture(scope="module")
def recorded() -> Any:
    return np.load(RECORDED, allow_pickle=False)


@pytest.fixture(scope="module")
def pong() -> Teacher:
    return load_teacher_directory(BUNDLED_DIRECTORY / "pong_dqn")


def test_each_backend_gives_the_recorded_values_of_the_pong_teacher(
    as_policy: Callable[[Teacher], Policy], pong: Teacher, recorded: Any
) -> None:
    values = as_policy(pong).evaluate(recorded["states"])
    assert values.dtype == np.float32
    np.testing.assert_allclose(values, recorded["q_values"], rtol=1e-5, atol=1e-5)


def test_both_backends_choose_the_same_actions(pong: Teacher, recorded: Any) -> None:
    ours, theirs = (
        policy.evaluate(recorded["states"])
        for policy in (JaxPolicy(pong), OnnxPolicy(exported(pong)))
    )
    np.testing.assert_allclose(ours, theirs, rtol=1e-5, atol=1e-5)
    np.testing.assert_array_equal(ours.argmax(axis=1), theirs.argmax(axis=1))


def test_bfloat16_stays_within_a_hundredth_of_float32(pong: Teacher, recorded: Any) -> None:
    values = JaxPolicy(pong, dtype="bfloat16").evaluate(recorded["states"][:16])
    expected = recorded["q_values"][:16]
    assert values.dtype == np.float32
    # A significand of 8 bits rounds to 2^-9 = 0.2 %: less would be float32, more a mistake.
    error = np.abs(values - expected).max() / np.abs(expected).max()
    assert 1e-5 < error < 1e-2


@pytest.mark.parametrize("threads", [1, 2, None])
def test_onnx_answers_every_batch_size_with_any_number_of_threads(
    teacher: Teacher, observations: Callable[[int], NDArray[np.uint8]], threads: int | None
) -> None:
    policy = OnnxPolicy(exported(teacher), threads=threads)
    reference = JaxPolicy(teacher)
    for rows in (1, 3, 64):
        states = observations(rows)
        np.testing.assert_allclose(
            policy.evaluate(states), reference.evaluate(states), rtol=1e-5, atol=1e-5
        )


def test_policies_say_what_they_are(teacher: Teacher) -> None:
    info = PolicyInfo(
        game="catch",
        name="small",
        version=teacher.card.parameters_sha256[:16],
        spec=PolicySpec(num_actions=3, observation_shape=(10, 5, 2)),
        card=teacher.card.to_json(),
    )
    compiled, interpreted = JaxPolicy(teacher), OnnxPolicy(exported(teacher))
    assert compiled.info == interpreted.info == info
    assert compiled.backend == f"jax {jax.default_backend()}"
    assert interpreted.backend == "onnxruntime cpu"
    assert (compiled.dynamic_batch_size, interpreted.dynamic_batch_size) == (False, True)


def test_threads_may_ask_side_by_side(
    as_policy: Callable[[Teacher], Policy],
    teacher: Teacher,
    observations: Callable[[int], NDArray[np.uint8]],
) -> None:
    policy = as_policy(teacher)
    batches = [observations(rows) for rows in (1, 5, 9, 16)] * 5
    expected = [policy.evaluate(batch) for batch in batches]
    with concurrent.futures.ThreadPoolExecutor(4) as pool:
        for found, wanted in zip(pool.map(policy.evaluate, batches), expected, strict=True):
            np.testing.assert_array_equal(found, wanted)


class _Slowed:
    """A policy that takes longer than it must."""

    def __init__(self, policy: Policy, seconds: float) -> None:
        self._policy = policy
        self._seconds = seconds

    info = property(lambda self: self._policy.info)
    backend = property(lambda self: f"slow {self._policy.backend}")
    dynamic_batch_size = property(lambda self: self._policy.dynamic_batch_size)
    max_concurrency = property(lambda self: self._policy.max_concurrency)

    def evaluate(self, observations: NDArray[Any]) -> NDArray[np.float32]:
        time.sleep(self._seconds)
        return self._policy.evaluate(observations)


@pytest.mark.parametrize("slow_one", [0, 1])
def test_the_faster_policy_is_chosen_and_the_times_are_logged(
    slow_one: int, teacher: Teacher, caplog: pytest.LogCaptureFixture
) -> None:
    candidates: list[Policy] = [JaxPolicy(teacher), OnnxPolicy(exported(teacher))]
    candidates[slow_one] = _Slowed(candidates[slow_one], 0.03)
    with caplog.at_level(logging.INFO, logger="services"):
        assert fastest(candidates, [1, 8]) is candidates[1 - slow_one]
    (line,) = caplog.messages
    assert line.startswith(f"{candidates[1 - slow_one].backend} computes; us per state")
    assert "batches of [1, 8]" in line
    assert all(candidate.backend in line for candidate in candidates)


def test_a_network_that_onnx_cannot_hold_is_computed_by_jax_and_the_log_says_why(
    teacher: Teacher, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delitem(onnx_primitives._WRITERS, "dot_general")
    with caplog.at_level(logging.WARNING):
        policy = choose_policy(teacher, backend="auto", dtype="float32", largest_batch=16)
    assert policy.backend == "jax cpu"
    (message,) = caplog.messages
    assert "JAX computes" in message and "'dot_general'" in message
    with pytest.raises(ValueError, match="'dot_general'"):
        choose_policy(teacher, backend="onnx", dtype="float32", largest_batch=16)


def test_auto_takes_one_of_both_on_a_cpu(teacher: Teacher) -> None:
    policy = choose_policy(teacher, backend="auto", dtype="float32", largest_batch=16)
    assert policy.backend in ("jax cpu", "onnxruntime cpu")


def test_what_only_jax_can_do_is_done_by_jax(
    teacher: Teacher, monkeypatch: pytest.MonkeyPatch
) -> None:
    policy = choose_policy(teacher, backend="auto", dtype="bfloat16", largest_batch=16)
    assert isinstance(policy, JaxPolicy)
    with pytest.raises(UserError, match="bfloat16"):
        choose_policy(teacher, backend="onnx", dtype="bfloat16", largest_batch=16)
    # How the interpreter marks a module that is not to be had.
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    policy = choose_policy(teacher, backend="auto", dtype="float32", largest_batch=16)
    assert isinstance(policy, JaxPolicy)
    with pytest.raises(UserError, match="needs onnx and onnxruntime"):
        choose_policy(teacher, backend="onnx", dtype="float32", largest_batch=16)

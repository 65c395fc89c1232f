"""JAX and ONNX Runtime give the same answers, and the faster one is chosen."""

from __future__ import annotations

import concurrent.futures
import dataclasses
import itertools
import logging
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest
from numpy.typing import NDArray

from rrl_agents.checkpoints.load_teacher import load_teacher
from rrl_agents.checkpoints.params_codec import params_hash, params_to_bytes
from rrl_agents.checkpoints.teacher_card import Teacher, TeacherCard
from rrl_agents.networks.registry import NetworkConfig
from services.shared.errors import UserError
from services.teacher import policy as policy_module
from services.teacher.backends.choice import choose_policy, fastest
from services.teacher.backends.compilations import compilations
from services.teacher.backends.jax_policy import JaxPolicy
from services.teacher.backends.onnx_policy import OnnxPolicy
from services.teacher.backends.onnx_sessions import usable_cores
from services.teacher.config import ModelConfig
from services.teacher.policy import (
    Policy,
    PolicyInfo,
    evaluate_in_pieces,
    load_policy,
    warm_up,
)

RECORDED = Path(__file__).parents[2] / "fixtures/pong_dqn/expected_q.npz"
SHAPE = (10, 5, 2)


def _teacher(seed: int = 0, features: tuple[int, ...] = (16,)) -> Teacher:
    network = NetworkConfig(name="mlp", features=features)
    random = np.random.default_rng(seed)
    sizes = (int(np.prod(SHAPE)), *features, 3)
    layers = {
        f"Dense_{index}": {
            "kernel": random.normal(size=(inputs, units), scale=inputs**-0.5).astype(np.float32),
            "bias": random.normal(size=units).astype(np.float32),
        }
        for index, (inputs, units) in enumerate(itertools.pairwise(sizes))
    }
    params = {"params": layers}
    card = TeacherCard(
        name="small",
        game="catch",
        network=network,
        num_actions=3,
        observation_shape=SHAPE,
        made="for a test",
        parameters_sha256=params_hash(params_to_bytes(params)),
    )
    return Teacher(params=params, card=card)


@pytest.fixture
def teacher() -> Teacher:
    return _teacher()


def _observations(rows: int) -> NDArray[np.uint8]:
    return np.random.default_rng(rows).integers(0, 256, (rows, *SHAPE), np.uint8)


@pytest.fixture(scope="module")
def recorded() -> Any:
    return np.load(RECORDED, allow_pickle=False)


@pytest.fixture(scope="module")
def pong() -> Teacher:
    return load_teacher("pong_dqn")


@pytest.mark.parametrize("policy_class", [JaxPolicy, OnnxPolicy])
def test_each_backend_gives_the_recorded_values_of_the_pong_teacher(
    policy_class: Any, pong: Teacher, recorded: Any
) -> None:
    values = policy_class(pong).evaluate(recorded["states"])
    assert values.dtype == np.float32
    np.testing.assert_allclose(values, recorded["q_values"], rtol=1e-5, atol=1e-5)


def test_both_backends_choose_the_same_actions(pong: Teacher, recorded: Any) -> None:
    ours, theirs = (
        policy.evaluate(recorded["states"]) for policy in (JaxPolicy(pong), OnnxPolicy(pong))
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
    teacher: Teacher, threads: int | None
) -> None:
    policy = OnnxPolicy(teacher, threads=threads)
    reference = JaxPolicy(teacher)
    for rows in (1, 3, 64):
        observations = _observations(rows)
        np.testing.assert_allclose(
            policy.evaluate(observations), reference.evaluate(observations), rtol=1e-5, atol=1e-5
        )


def test_policies_say_what_they_are(teacher: Teacher) -> None:
    info = PolicyInfo(
        game="catch",
        name="small",
        version=teacher.card.parameters_sha256[:16],
        num_actions=3,
        observation_shape=SHAPE,
        observation_dtype="uint8",
    )
    compiled, interpreted = JaxPolicy(teacher), OnnxPolicy(teacher)
    assert compiled.info == interpreted.info == info
    assert compiled.backend == f"jax {jax.default_backend()}"
    assert interpreted.backend == "onnxruntime cpu"
    assert (compiled.any_batch_size, interpreted.any_batch_size) == (False, True)


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_new_weights_of_the_same_network_compile_nothing(dtype: str) -> None:
    # A width no other test has: nothing of it is compiled yet.
    width = {"float32": 21, "bfloat16": 22}[dtype]
    observations = _observations(4)
    start = compilations()
    old = JaxPolicy(_teacher(0, (width,)), dtype=dtype).evaluate(observations)
    after_first = compilations()
    new = JaxPolicy(_teacher(1, (width,)), dtype=dtype).evaluate(observations)
    assert start < after_first == compilations()
    assert not np.array_equal(old, new)


def test_a_batch_size_not_seen_before_counts_as_a_compilation(teacher: Teacher) -> None:
    policy = JaxPolicy(teacher)
    policy.evaluate(_observations(2))
    before = compilations()
    policy.evaluate(_observations(2))
    assert compilations() == before
    policy.evaluate(_observations(97))
    assert compilations() > before


@pytest.mark.parametrize("policy_class", [JaxPolicy, OnnxPolicy])
def test_threads_may_ask_side_by_side(policy_class: Any, teacher: Teacher) -> None:
    policy = policy_class(teacher)
    batches = [_observations(rows) for rows in (1, 5, 9, 16)] * 5
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
    any_batch_size = property(lambda self: self._policy.any_batch_size)
    callers = property(lambda self: self._policy.callers)

    def evaluate(self, observations: NDArray[Any]) -> NDArray[np.float32]:
        time.sleep(self._seconds)
        return self._policy.evaluate(observations)


@pytest.mark.parametrize("slow_one", [0, 1])
def test_the_faster_policy_is_chosen_and_the_times_are_logged(
    slow_one: int, teacher: Teacher, caplog: pytest.LogCaptureFixture
) -> None:
    candidates: list[Policy] = [JaxPolicy(teacher), OnnxPolicy(teacher)]
    candidates[slow_one] = _Slowed(candidates[slow_one], 0.2)
    with caplog.at_level(logging.INFO, logger="services"):
        assert fastest(candidates, [1, 8]) is candidates[1 - slow_one]
    (line,) = caplog.messages
    assert line.startswith(f"{candidates[1 - slow_one].backend} computes; us per state")
    assert "batches of [1, 8]" in line
    assert all(candidate.backend in line for candidate in candidates)


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


def test_a_backend_that_is_named_is_taken() -> None:
    model = ModelConfig(name="pong", checkpoint="pong_dqn")
    assert isinstance(load_policy(model, backend="jax"), JaxPolicy)
    assert isinstance(load_policy(model, backend="onnx", callers=1), OnnxPolicy)


@pytest.mark.parametrize(
    ("changes", "options", "message"),
    [
        ({"checkpoint": "no-such-teacher"}, {}, "no teacher 'no-such-teacher'"),
        ({}, {"backend": "torch"}, "backend is 'torch'; choose"),
        ({}, {"backend": "jax", "dtype": "float16"}, "dtype is 'float16'; choose"),
        ({}, {"backend": "onnx", "callers": 0}, "callers is 0; give at least 1"),
    ],
)
def test_what_cannot_be_loaded_is_an_error_for_the_user(
    changes: dict[str, Any], options: dict[str, Any], message: str
) -> None:
    model = dataclasses.replace(ModelConfig(name="pong", checkpoint="pong_dqn"), **changes)
    with pytest.raises(UserError, match=message):
        load_policy(model, **options)


def test_the_warm_up_compiles_and_times_every_size(teacher: Teacher) -> None:
    policy = JaxPolicy(teacher)
    seconds = warm_up(policy, (1, 4, 11))
    assert list(seconds) == [1, 4, 11]
    assert all(value > 0 for value in seconds.values())
    before = compilations()
    for rows in (1, 4, 11):
        policy.evaluate(_observations(rows))
    assert compilations() == before


def test_a_slow_policy_is_timed_by_a_few_calls(
    teacher: Teacher, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(policy_module, "_TIMED_SECONDS_PER_SIZE", 0.02)
    monkeypatch.setattr(policy_module, "_TIMED_SECONDS", 0.01)
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


@pytest.mark.parametrize("policy_class", [JaxPolicy, OnnxPolicy])
@pytest.mark.parametrize("rows", [1, 8, 19])
def test_many_states_are_answered_in_pieces(policy_class: Any, rows: int, teacher: Teacher) -> None:
    policy = policy_class(teacher)
    observations = _observations(rows)
    values = evaluate_in_pieces(policy, observations, rows_per_call=8)
    assert values.shape == (rows, 3)
    one_by_one = np.concatenate([policy.evaluate(row[None]) for row in observations])
    np.testing.assert_allclose(values, one_by_one, rtol=1e-5, atol=1e-5)


def test_usable_cores_are_those_the_process_is_bound_to() -> None:
    allowed = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {min(allowed)})
    try:
        assert usable_cores() == 1
    finally:
        os.sched_setaffinity(0, allowed)
    assert usable_cores() == len(allowed)


def test_the_policy_module_starts_without_jax() -> None:
    code = "import sys, services.teacher.policy; print(*{'jax', 'onnxruntime'} & {*sys.modules})"
    assert subprocess.check_output([sys.executable, "-c", code], text=True).strip() == ""

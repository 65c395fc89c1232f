"""Which library computes a policy: told, or whichever is faster on this machine."""

from __future__ import annotations

import importlib.util
import logging
import time
from collections.abc import Sequence
from typing import Any

import jax
import numpy as np
from numpy.typing import NDArray

from rrl_agents.checkpoints.teacher_card import Teacher
from services.shared.errors import UserError
from services.teacher.backends.jax_policy import JaxPolicy
from services.teacher.policy import Policy

_LOG = logging.getLogger(__name__)

_COMPARED_ROWS = (1, 8, 32)
_ROUNDS = 5
_FEWEST_ROWS_PER_ROUND = 8


def choose_policy(
    teacher: Teacher, *, backend: str, dtype: str, largest_batch: int, threads: int | None = None
) -> Policy:
    """Put a teacher on the backend asked for.

    Args:
        teacher: Parameters and card.
        backend: "jax", "onnx" (CPU only), or "auto": JAX where it has a GPU or computes in
            bfloat16, or where ONNX Runtime is not installed, and else what is faster here.
        dtype: What JAX computes in; ONNX Runtime computes in float32 only.
        largest_batch: Rows of the largest batch to expect.
        threads: Threads of ONNX Runtime; all usable cores when None.

    Raises:
        UserError: ONNX Runtime was asked for and is not installed, or is to compute in bfloat16.
        ValueError: Backend or dtype is unknown.
    """
    if backend not in ("auto", "jax", "onnx"):
        raise ValueError(f"backend is {backend!r}; choose 'auto', 'jax' or 'onnx'")
    if backend == "jax":
        return JaxPolicy(teacher, dtype=dtype)
    if backend == "onnx":
        return _onnx_policy(teacher, dtype, threads)
    if jax.default_backend() != "cpu" or dtype != "float32" or not has_onnx():
        return JaxPolicy(teacher, dtype=dtype)
    sizes = sorted({*(rows for rows in _COMPARED_ROWS if rows < largest_batch), largest_batch})
    return fastest([JaxPolicy(teacher), _onnx_policy(teacher, dtype, threads)], sizes)


def has_onnx() -> bool:
    """Whether ONNX and ONNX Runtime are installed."""
    return all(importlib.util.find_spec(name) is not None for name in ("onnx", "onnxruntime"))


def fastest(policies: Sequence[Policy], sizes: Sequence[int]) -> Policy:
    """The policy with the lowest sum over batch sizes of seconds per row; logs what it measured.

    Args:
        policies: Candidates that take the same observations.
        sizes: Batch sizes to compare at, in rows.
    """
    seconds_per_row = np.array([_seconds_per_row(policies, rows) for rows in sizes])
    table = "; ".join(
        f"{policy.backend} {', '.join(f'{1e6 * value:.0f}' for value in column)}"
        for policy, column in zip(policies, seconds_per_row.T, strict=True)
    )
    chosen = policies[int(np.argmin(seconds_per_row.sum(axis=0)))]
    _LOG.info("%s computes; us per state at batches of %s: %s", chosen.backend, [*sizes], table)
    return chosen


def _seconds_per_row(policies: Sequence[Policy], rows: int) -> list[float]:
    """Median of a few rounds for each policy; they take turns, so that noise meets all."""
    info = policies[0].info
    observations = np.zeros((rows, *info.observation_shape), info.observation_dtype)
    calls = max(1, _FEWEST_ROWS_PER_ROUND // rows)
    for policy in policies:
        policy.evaluate(observations)
    rounds = [[_timed(policy, observations, calls) for policy in policies] for _ in range(_ROUNDS)]
    medians: list[float] = np.median(rounds, axis=0).tolist()
    return [seconds / rows for seconds in medians]


def _timed(policy: Policy, observations: NDArray[Any], calls: int) -> float:
    start = time.perf_counter()
    for _ in range(calls):
        policy.evaluate(observations)
    return (time.perf_counter() - start) / calls


def _onnx_policy(teacher: Teacher, dtype: str, threads: int | None) -> Policy:
    if dtype != "float32":
        raise UserError(
            f"ONNX Runtime computes in float32, not {dtype}; choose the backend 'jax' for that"
        )
    if not has_onnx():
        raise UserError(
            "the backend 'onnx' needs onnx and onnxruntime: install them with "
            "`pip install 'rrl[teacher]'`, or choose the backend 'jax'"
        )
    from services.teacher.backends.onnx_policy import OnnxPolicy

    return OnnxPolicy(teacher, threads=threads)

"""Chooses the library that computes a policy: the requested one, or the faster one here."""

from __future__ import annotations

import importlib.util
import logging
from collections.abc import Sequence

import numpy as np

from rrl_agents.checkpoints.teacher_card import Teacher
from services.shared.errors import UserError
from services.shared.installation import ADVICE
from services.teacher.config import BACKENDS
from services.teacher.policies.interface import Policy
from services.teacher.policies.timing import warm_up

_LOG = logging.getLogger(__name__)

_COMPARED_ROWS = (1, 8, 32)


def choose_policy(
    teacher: Teacher,
    *,
    backend: str,
    dtype: str,
    largest_batch: int,
    max_concurrency: int | None = None,
) -> Policy:
    """Build a teacher's policy on the requested backend.

    Args:
        teacher: Parameters and card.
        backend: "jax", "onnx" (CPU only), or "auto": JAX if it has a GPU or computes in bfloat16,
            if ONNX Runtime is not installed, or if ONNX does not support the network; otherwise the
            faster one here.
        dtype: Type JAX computes in; ONNX Runtime only supports float32.
        largest_batch: Rows of the largest batch.
        max_concurrency: Parallel calls that ONNX Runtime is set up for, as in
            `loading.load_policy`.

    Raises:
        UserError: ONNX Runtime was requested but is not installed, or was to compute in bfloat16.
        ValueError: Backend or dtype is unknown, or ONNX was requested but does not support the
            network.
    """
    if backend not in BACKENDS:
        raise ValueError(f"backend is {backend!r}; choose one of {', '.join(BACKENDS)}")
    # Imported here, so that ONNX models and Python policies start without JAX.
    import jax

    from services.teacher.policies.jax_policy import JaxPolicy

    if backend == "jax":
        return JaxPolicy(teacher, dtype=dtype)
    if backend == "onnx":
        return _onnx_policy(teacher, dtype, max_concurrency)
    if jax.default_backend() != "cpu" or dtype != "float32" or not has_onnx():
        return JaxPolicy(teacher, dtype=dtype)
    try:
        by_onnx = _onnx_policy(teacher, dtype, max_concurrency)
    except ValueError as error:
        _LOG.warning("JAX computes, not ONNX Runtime: %s", error)
        return JaxPolicy(teacher, dtype=dtype)
    sizes = sorted({*(rows for rows in _COMPARED_ROWS if rows < largest_batch), largest_batch})
    return fastest([JaxPolicy(teacher), by_onnx], sizes)


def has_onnx() -> bool:
    """Whether ONNX and ONNX Runtime are installed."""
    return all(importlib.util.find_spec(name) is not None for name in ("onnx", "onnxruntime"))


def check_has_onnx(what: str, else_do: str = "") -> None:
    """Check that ONNX and ONNX Runtime are installed.

    Args:
        what: Name of what needs them, for the message.
        else_do: Alternative to installing them.

    Raises:
        UserError: They are not installed.
    """
    if not has_onnx():
        advice = f", {else_do}" if else_do else ""
        raise UserError(f"{what} needs onnx and onnxruntime: {ADVICE['teacher']}{advice}")


def fastest(policies: Sequence[Policy], sizes: Sequence[int]) -> Policy:
    """The policy with the lowest seconds per row, summed over batch sizes; logs the measurements.

    Args:
        policies: Candidates that accept the same observations.
        sizes: Batch sizes to compare at, in rows.
    """
    # Seconds per row as the service calls them, in parallel if need be.
    timed = [(policy, warm_up(policy, sizes)) for policy in policies]
    seconds_per_row = np.array(
        [
            [seconds[rows] / rows / policy.max_concurrency for policy, seconds in timed]
            for rows in sizes
        ]
    )
    table = "; ".join(
        f"{policy.backend} {', '.join(f'{1e6 * value:.0f}' for value in column)}"
        for policy, column in zip(policies, seconds_per_row.T, strict=True)
    )
    chosen = policies[int(np.argmin(seconds_per_row.sum(axis=0)))]
    _LOG.info("%s computes; us per state at batches of %s: %s", chosen.backend, [*sizes], table)
    return chosen


def _onnx_policy(teacher: Teacher, dtype: str, max_concurrency: int | None) -> Policy:
    if dtype != "float32":
        raise UserError(
            f"ONNX Runtime computes in float32, not {dtype}; choose the backend 'jax' for that"
        )
    check_has_onnx("the backend 'onnx'", "or choose the backend 'jax'")
    from services.teacher.policies.onnx_policy import OnnxPolicy, exported

    return OnnxPolicy(exported(teacher), max_concurrency=max_concurrency)

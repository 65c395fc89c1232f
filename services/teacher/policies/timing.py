"""Warms up a policy: compiles and times every batch size under realistic calls."""

from __future__ import annotations

import concurrent.futures
import time
from collections.abc import Iterable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from services.shared.errors import UserError
from services.teacher.policies.interface import Policy

_TIMED_ROUNDS = 4
_FEWEST_TIMED_CALLS = 2
_TIMED_ROWS = 16
# A user's policy may take seconds: then a few calls must suffice.
_TIMED_SECONDS_PER_SIZE = 1.0
_TIMED_SECONDS = 10.0
# Long calls vary less than short ones, so this much time per size suffices.
_ENOUGH_SECONDS_PER_SIZE = 0.25


def warm_up(policy: Policy, buckets: Iterable[int]) -> dict[int, float]:
    """Compile and time every batch size, with calls in parallel as in service.

    Args:
        policy: The policy.
        buckets: Batch sizes in rows, each at least 1.

    Returns:
        Batch size in rows -> seconds of one of `policy.max_concurrency` parallel calls: the minimum
        of a few rounds, because other load only adds to it.

    Raises:
        UserError: The policy fails on a batch; names its size.
    """
    batches = {}
    for rows in buckets:
        batches[rows] = policy.info.spec.zeros(rows)
        _timed_call(policy, batches[rows])
    with concurrent.futures.ThreadPoolExecutor(policy.max_concurrency) as threads:
        # Sizes take turns, so that a busy moment does not affect all rounds of one size.
        timed: dict[int, list[float]] = {rows: [] for rows in batches}
        spent = dict.fromkeys(batches, 0.0)
        end = time.perf_counter() + _TIMED_SECONDS
        for number in range(_TIMED_ROUNDS):
            for rows, batch in batches.items():
                if number == 0 or (
                    spent[rows] < _ENOUGH_SECONDS_PER_SIZE and time.perf_counter() < end
                ):
                    seconds = _timed_round(policy, batch, threads)
                    spent[rows] += sum(seconds)
                    timed[rows].append(float(np.median(seconds)))
    return {rows: min(medians) for rows, medians in timed.items()}


def _timed_round(
    policy: Policy, batch: NDArray[Any], threads: concurrent.futures.Executor
) -> list[float]:
    """Seconds of each call while all callers call in parallel, a few times each."""
    # Small batches are short and determine the latency, so time them more often.
    calls = max(_FEWEST_TIMED_CALLS, _TIMED_ROWS // len(batch))

    def call(_: int) -> list[float]:
        seconds: list[float] = []
        while len(seconds) < calls and sum(seconds) < _TIMED_SECONDS_PER_SIZE:
            seconds.append(_timed_call(policy, batch))
        return seconds

    times = threads.map(call, range(policy.max_concurrency))
    return [seconds for found in times for seconds in found]


def _timed_call(policy: Policy, batch: NDArray[Any]) -> float:
    start = time.perf_counter()
    try:
        policy.evaluate(batch)
    # A Python policy may raise anything.
    except Exception as error:
        reason = (str(error) or "no reason given").splitlines()[0]
        raise UserError(
            f"{policy.info.name} failed on a batch of {len(batch)} states "
            f"({type(error).__name__}: {reason}); rrl teacher serve --max-batch-rows takes smaller "
            "ones"
        ) from error
    return time.perf_counter() - start

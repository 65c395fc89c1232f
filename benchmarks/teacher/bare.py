"""The bare forward pass: the throughput of a policy in a loop with one caller and nothing else.

It runs in the benchmark's own process while the service is idle, with the allocator set up as in
the service, and is the backend's best for one caller: with the batch size of 8, 32, 64 and 128 that
gives the most states per second here.
"""

from __future__ import annotations

import dataclasses
import statistics
import time

import numpy as np

from benchmarks.teacher.service import Service
from services.teacher.policies.interface import Policy
from services.teacher.policies.loading import load_policy

BATCH_SIZES = (8, 32, 64, 128)

_ROUNDS = 3


@dataclasses.dataclass(frozen=True, kw_only=True)
class Speed:
    """A backend's speed at one time.

    Attributes:
        states_per_second: In batches of its best size.
        cpu_us_per_state: CPU microseconds of all threads for a state of those batches.
        single_p50_ms: Median milliseconds of a batch of 1.
    """

    states_per_second: float
    cpu_us_per_state: float
    single_p50_ms: float

    @staticmethod
    def mean(before: Speed, after: Speed) -> Speed:
        """The mean of two measurements, for what was measured between them."""
        return Speed(
            **{
                field.name: (getattr(before, field.name) + getattr(after, field.name)) / 2
                for field in dataclasses.fields(Speed)
            }
        )


def bare_forward(name: str, checkpoint: str, service: Service, seconds: float) -> BareForward:
    """The bare forward of what a service computes, on the same backend; prints its speed.

    Args:
        name: What it is called in tables.
        checkpoint: What the service serves.
        service: Which backend it has chosen.
        seconds: Time for each batch size.
    """
    backend = "jax" if service.backend.startswith("jax") else "onnx"
    policy = load_policy(checkpoint, backend=backend, max_concurrency=1)
    forward = BareForward(name, policy, seconds)
    rates = ", ".join(f"{rows}: {rate:.0f}" for rows, rate in forward.rates.items())
    print(
        f"bare {name} ({service.backend}): states/s by batch size {rates}; best {forward.best_rows}"
    )
    return forward


class BareForward:
    """One policy, called in a loop.

    Attributes:
        name: What it is called in tables.
        best_rows: The batch size that gives the most states per second.
        rates: Batch size -> states per second, as found at first.
    """

    def __init__(self, name: str, policy: Policy, seconds: float) -> None:
        """Compile what is needed and find the best batch size.

        Args:
            name: What it is called in tables.
            policy: What computes.
            seconds: Time for each size.
        """
        self.name = name
        self._policy = policy
        spec = policy.info.spec
        shape = (max(BATCH_SIZES), *spec.observation_shape)
        self._states = np.random.default_rng(0).integers(0, 256, shape, np.uint8)
        self._states = self._states.astype(spec.observation_dtype, copy=False)
        for rows in (1, *BATCH_SIZES):
            policy.evaluate(self._states[:rows])
        self.rates = {
            rows: statistics.median(self._rate(rows, seconds / _ROUNDS) for _ in range(_ROUNDS))
            for rows in BATCH_SIZES
        }
        self.best_rows = max(self.rates, key=self.rates.__getitem__)

    def measure(self, seconds: float) -> Speed:
        """Its speed now.

        Args:
            seconds: Time for the batches of the best size; those of 1 take half of it.
        """
        cpu_before = time.process_time()
        calls = self._call_seconds(self.best_rows, seconds)
        cpu = time.process_time() - cpu_before
        states = self.best_rows * len(calls)
        return Speed(
            states_per_second=states / sum(calls),
            cpu_us_per_state=1e6 * cpu / states,
            single_p50_ms=1e3 * statistics.median(self._call_seconds(1, seconds / 2)),
        )

    def _rate(self, rows: int, seconds: float) -> float:
        calls = self._call_seconds(rows, seconds)
        return rows * len(calls) / sum(calls)

    def _call_seconds(self, rows: int, seconds: float) -> list[float]:
        states = self._states[:rows]
        durations: list[float] = []
        end = time.perf_counter() + seconds
        while not durations or time.perf_counter() < end:
            start = time.perf_counter()
            self._policy.evaluate(states)
            durations.append(time.perf_counter() - start)
        return durations

"""A fake teacher without a service, for tests of programs that query one.

    from rrl_client import PolicySpec, TeacherUnavailable
    from rrl_client.fake import FakeTeacher, PixelSums

    spec = PolicySpec(num_actions=6, observation_shape=(84, 84, 4))
    teacher = FakeTeacher(PixelSums(spec=spec))
    run_my_agent(teacher)                                  # instead of a TeacherClient
    teacher.error = TeacherUnavailable("the teacher is down")
    run_my_agent(teacher)                                  # every query fails from now on

It checks queries like the service, and raises the same errors. B is the number of rows in a
query, A that of actions.
"""

from __future__ import annotations

import asyncio
import concurrent.futures
import dataclasses
from typing import Any, Protocol

import numpy as np
from numpy.typing import ArrayLike, NDArray

from rrl_client import errors
from rrl_client.codec import (
    InvalidRequest,
    TeacherAnswer,
    as_observations,
    check_request,
    encode_query,
)
from rrl_client.errors import TeacherError, TeacherRejected
from rrl_client.requests import Priority
from rrl_client.spec import PolicySpec, TeacherDescription

_NAME = "the fake teacher"


class FakePolicy(Protocol):
    """The policy of a fake teacher, such as `PixelSums`."""

    @property
    def spec(self) -> PolicySpec:
        """Its inputs and outputs."""

    def evaluate(self, observations: NDArray[Any]) -> NDArray[np.float32]:
        """Action values float32 [B, A] of observations [B, *observation_shape]."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class PixelSums:
    """The value of action a is (a + 1) times the sum of the observation's elements and `addend`.

    Attributes:
        spec: Its inputs and outputs.
        addend: Added to every sum.
    """

    spec: PolicySpec = PolicySpec(num_actions=2, observation_shape=(2, 3))
    addend: float = 0.0

    def evaluate(self, observations: NDArray[Any]) -> NDArray[np.float32]:
        """Action values float32 [B, A]."""
        sums = observations.reshape(len(observations), -1).sum(axis=1, dtype=np.float32)
        factors = np.arange(1, self.spec.num_actions + 1, dtype=np.float32)
        values: NDArray[np.float32] = (sums[:, None] + np.float32(self.addend)) * factors
        return values


class FakeTeacher:
    """It has the methods of a `TeacherClient`, and answers at once from a policy in this process.

    Attributes:
        error: Raised by every call; None while it answers.
        queries: Queries answered so far.
    """

    def __init__(self, policy: FakePolicy | None = None, *, max_batch_rows: int = 128) -> None:
        """Set the policy and limits.

        Args:
            policy: The policy; None for `PixelSums()`.
            max_batch_rows: Maximum number of observations in `evaluate_future`.
        """
        self._policy = PixelSums() if policy is None else policy
        self._about = TeacherDescription(
            game="fake",
            name="fake teacher",
            spec=self._policy.spec,
            teacher_version="fake",
            max_batch_rows=max_batch_rows,
            model="fake",
            backend="numpy",
        )
        self._is_closed = False
        self.error: TeacherError | None = None
        self.queries = 0

    def __enter__(self) -> FakeTeacher:
        """The teacher itself."""
        return self

    def __exit__(self, *error: object) -> None:
        """Close it."""
        self.close()

    def close(self) -> None:
        """Stop answering."""
        self._is_closed = True

    def describe(self, *, timeout_seconds: float | None = None) -> TeacherDescription:
        """The description, as in `TeacherClient.describe`."""
        self._check(timeout_seconds)
        return self._about

    def wait_until_ready(self, timeout_seconds: float) -> TeacherDescription:
        """As `TeacherClient.wait_until_ready`, without waiting."""
        return self.describe(timeout_seconds=timeout_seconds)

    def evaluate(
        self, observations: ArrayLike, *, timeout_seconds: float | None = None
    ) -> TeacherAnswer:
        """Action values of a batch of any size; as `TeacherClient.evaluate`."""
        self._check(timeout_seconds)
        array = as_observations(observations, self._about)
        return self._answer(array, dataclasses.replace(self._about, max_batch_rows=2**31 - 1))

    def evaluate_future(
        self, observations: ArrayLike, timeout_seconds: float | None = None
    ) -> concurrent.futures.Future[TeacherAnswer]:
        """One query of at most `max_batch_rows` rows; as `TeacherClient.evaluate_future`."""
        if self._is_closed:
            raise errors.closed(_NAME)
        future: concurrent.futures.Future[TeacherAnswer] = concurrent.futures.Future()
        try:
            self._check(timeout_seconds)
            future.set_result(self._answer(as_observations(observations, self._about), self._about))
        except TeacherError as error:
            future.set_exception(error)
        return future

    def _check(self, timeout_seconds: float | None) -> None:
        if self._is_closed:
            raise errors.closed(_NAME)
        if timeout_seconds is not None and not timeout_seconds > 0:
            raise ValueError(f"timeout_seconds is {timeout_seconds}; it must be above 0")
        if self.error is not None:
            raise self.error

    def _answer(self, array: NDArray[Any], about: TeacherDescription) -> TeacherAnswer:
        try:
            check_request(encode_query(array, "", "", Priority.ACTING), about)
        except InvalidRequest as error:
            raise TeacherRejected(f"{_NAME}: {error}") from error
        self.queries += 1
        return TeacherAnswer(
            action_values=self._policy.evaluate(array),
            teacher_version=self._about.teacher_version,
            model_version=self._about.model_version,
        )


class AsyncFakeTeacher:
    """A `FakeTeacher` with the methods of an `AsyncTeacherClient`.

    Attributes:
        blocking: The teacher that answers; set its `error` to have calls fail.
    """

    def __init__(self, blocking: FakeTeacher | None = None) -> None:
        self.blocking = FakeTeacher() if blocking is None else blocking

    async def __aenter__(self) -> AsyncFakeTeacher:
        """The teacher itself."""
        return self

    async def __aexit__(self, *error: object) -> None:
        """Close it."""
        await self.close()

    async def close(self) -> None:
        """Stop answering."""
        self.blocking.close()

    async def describe(self, *, timeout_seconds: float | None = None) -> TeacherDescription:
        """What it answers."""
        return self.blocking.describe(timeout_seconds=timeout_seconds)

    async def wait_until_ready(self, timeout_seconds: float) -> TeacherDescription:
        """What it answers, without waiting."""
        return self.blocking.wait_until_ready(timeout_seconds)

    async def evaluate(
        self, observations: ArrayLike, *, timeout_seconds: float | None = None
    ) -> TeacherAnswer:
        """Action values of a batch of any size."""
        return self.blocking.evaluate(observations, timeout_seconds=timeout_seconds)

    def evaluate_future(
        self, observations: ArrayLike, timeout_seconds: float | None = None
    ) -> asyncio.Future[TeacherAnswer]:
        """One query of at most `max_batch_rows` rows."""
        return asyncio.wrap_future(self.blocking.evaluate_future(observations, timeout_seconds))

"""A policy for tests of the teacher service: the client's fake, with what tests want to steer."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rrl_client import PolicySpec, fake
from services.teacher.policies.interface import PolicyInfo
from tests.support.patience import PATIENCE_SECONDS

POISON = 255
"""A pixel on which the policy fails."""


class PixelSums:
    """Action a of an observation is worth (a + 1) times the sum of its pixels and `addend`.

    It computes while its gate is open, and remembers the first pixel of every row it was given.
    """

    backend = "test"
    max_concurrency = 1

    def __init__(
        self,
        version: str = "v1",
        *,
        shape: tuple[int, ...] = (2, 3),
        num_actions: int = 2,
        addend: float = 0.0,
        game: str = "sums",
        dtype: str = "uint8",
        dynamic_batch_size: bool = True,
        fails_on: int | None = POISON,
    ) -> None:
        self.dynamic_batch_size = dynamic_batch_size
        self.addend = addend
        spec = PolicySpec(num_actions=num_actions, observation_shape=shape, observation_dtype=dtype)
        self.info = PolicyInfo(game=game, name="pixel sums", version=version, spec=spec)
        self._fails_on = fails_on
        self._sums = fake.PixelSums(spec=spec, addend=addend)
        self.gate = threading.Event()
        self.gate.set()
        self.entered = threading.Event()
        self.batches: list[list[int]] = []
        self.before_batch: Callable[[NDArray[Any]], None] = lambda _: None
        self.after_batch: Callable[[], None] = lambda: None

    @property
    def computed(self) -> list[int]:
        """The first pixel of every row, in order."""
        return [first for batch in self.batches for first in batch]

    @property
    def rows(self) -> int:
        """Rows computed so far."""
        return sum(map(len, self.batches))

    def forget(self) -> None:
        """As if nothing had been computed yet."""
        self.entered.clear()
        self.batches.clear()

    def evaluate(self, observations: NDArray[Any]) -> NDArray[np.float32]:
        first = observations.reshape(len(observations), -1)[:, 0]
        self.batches.append(first.tolist())
        self.entered.set()
        self.before_batch(observations)
        assert self.gate.wait(PATIENCE_SECONDS)
        if self._fails_on is not None and (observations == self._fails_on).any():
            raise RuntimeError("a poisoned row")
        values = self._sums.evaluate(observations)
        self.after_batch()
        return values


def observations(first: int, count: int, shape: tuple[int, ...] = (2, 3)) -> NDArray[np.uint8]:
    """`count` observations whose first pixels are first, first + 1, ..., the others 1."""
    made = np.ones((count, *shape), np.uint8)
    made.reshape(count, -1)[:, 0] = np.arange(first, first + count)
    return made


def expected(
    first: int, count: int, shape: tuple[int, ...] = (2, 3), addend: float = 0.0
) -> NDArray[np.float32]:
    """The two action values of `observations`: one pixel of the given value, the others one."""
    sums = np.arange(first, first + count, dtype=np.float32) + np.prod(shape) - 1 + addend
    return np.stack([sums, 2 * sums], axis=1).astype(np.float32)

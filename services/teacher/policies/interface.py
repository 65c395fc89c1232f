"""One frozen policy: observations in, scores out.

The parameters never change, so neither do the answers: the version is the parameters' hash. This
module only needs NumPy; the other files here import the backends.
"""

from __future__ import annotations

import dataclasses
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from rrl_client.spec import PolicySpec


@dataclasses.dataclass(frozen=True, kw_only=True)
class PolicyInfo:
    """The description of a policy.

    Attributes:
        game: Game or task.
        name: Human-readable name.
        version: Content hash of the parameters.
        spec: Its inputs and outputs.
        card: Its card, as JSON; empty if there is none.
    """

    game: str
    name: str
    version: str
    spec: PolicySpec
    card: str = dataclasses.field(default="", repr=False)


class Policy(Protocol):
    """Anything that can be served."""

    @property
    def info(self) -> PolicyInfo:
        """The description."""

    @property
    def backend(self) -> str:
        """The backend: "jax cpu", "jax gpu", "onnxruntime cpu" or "python"."""

    @property
    def dynamic_batch_size(self) -> bool:
        """Whether a new batch size costs nothing extra, so that padding is useless."""

    @property
    def max_concurrency(self) -> int:
        """Number of parallel calls of `evaluate` with the highest throughput."""

    def evaluate(self, observations: NDArray[Any]) -> NDArray[np.float32]:
        """Scores float32 [B, A] of [B, *observation_shape]."""

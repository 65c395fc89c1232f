"""One frozen policy: observations in, scores out.

The parameters never change, so neither do the answers: the version is the parameters' hash. Needs
numpy only; the other files of this folder bring what computes.
"""

from __future__ import annotations

import dataclasses
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from rrl_client.spec import PolicySpec


@dataclasses.dataclass(frozen=True, kw_only=True)
class PolicyInfo:
    """What is known of a policy without running it.

    Attributes:
        game: Game or task.
        name: Human-readable name.
        version: Content hash of the parameters.
        spec: What it takes and gives.
        card: Its card, as JSON; empty where there is none.
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
        """What it is."""

    @property
    def backend(self) -> str:
        """What computes: "jax cpu", "jax gpu", "onnxruntime cpu" or "python"."""

    @property
    def dynamic_batch_size(self) -> bool:
        """Whether a batch size not seen before costs nothing extra, so padding is no use."""

    @property
    def max_concurrency(self) -> int:
        """Calls of `evaluate` side by side that get the most done."""

    def evaluate(self, observations: NDArray[Any]) -> NDArray[np.float32]:
        """Scores float32 [B, A] of [B, *observation_shape]."""

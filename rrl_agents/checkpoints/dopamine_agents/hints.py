"""What a user knows of a Dopamine agent that its checkpoint does not say."""

from __future__ import annotations

import dataclasses
import math

AGENTS = ("dqn", "c51", "rainbow", "quantile", "iqn", "full_rainbow")
"""Kinds of agents that a user may name."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Hints:
    """What a user knows of an agent and its checkpoint does not say.

    Attributes:
        agent: What it is: dqn, c51, rainbow, quantile, iqn or full_rainbow; None to read it from
            the shapes.
        num_actions: Number of actions A; None to read it from the shapes.
        value_bound: Largest return on the support of C51 and Rainbow, Dopamine's `vmax`.
    """

    agent: str | None = None
    num_actions: int | None = None
    value_bound: float = 10.0

    def __post_init__(self) -> None:
        """Refuse what no agent can be."""
        if self.agent is not None and self.agent not in AGENTS:
            raise ValueError(f"agent is {self.agent!r}; choose one of {', '.join(AGENTS)}")
        if self.num_actions is not None and self.num_actions < 1:
            raise ValueError(f"num_actions is {self.num_actions}; it must be at least 1")
        if not (math.isfinite(self.value_bound) and self.value_bound > 0):
            raise ValueError(f"value_bound is {self.value_bound}; it must be finite and above 0")

"""The user's hints for an import: facts that the files do not record."""

from __future__ import annotations

import dataclasses
from typing import Literal, TypeAlias, get_args

from rrl_client.spec import DEFAULT_TEMPERATURE, Output, PolicySpec

Agent: TypeAlias = Literal["dqn", "c51", "rainbow", "quantile", "iqn", "full_rainbow"]
AGENTS: tuple[str, ...] = get_args(Agent)
"""The kinds of Dopamine agents that a user can name."""


class LeftOpen(ValueError):
    """The files leave a fact open; the message says which.

    Attributes:
        hints: Fields of `Hints` that supply it, with a value or a placeholder.
    """

    def __init__(self, message: str, **hints: str) -> None:
        """Keep the message and the hints."""
        super().__init__(message)
        self.hints = hints


@dataclasses.dataclass(frozen=True, kw_only=True)
class Hints:
    """Facts about a teacher from the user; None takes the fact from the files.

    Attributes:
        game: The game it plays; Dopamine's checkpoints never record it.
        output: Kind of its scores: q_values or logits.
        temperature: Divides its logits before the softmax, above 0.
        agent: Kind of Dopamine agent, if the shapes are ambiguous; for weights saved by PyTorch,
            dqn, c51 or quantile.
        num_actions: Number of actions, if ambiguous.
        value_bound: Largest return on the support (`vmax`) of Dopamine's C51 and Rainbow, or of a
            C51 saved by PyTorch without it.
        activation: Activation of the hidden layers of an MLP saved by PyTorch.
    """

    game: str | None = None
    output: Output | None = None
    temperature: float | None = None
    agent: Agent | None = None
    num_actions: int | None = None
    value_bound: float = 10.0
    activation: Literal["relu", "tanh"] | None = None

    def applied_to(self, spec: PolicySpec) -> PolicySpec:
        """A policy's spec with these scores; logits always get a temperature.

        Args:
            spec: The spec from its files.

        Raises:
            ValueError: Output or temperature are out of range, or do not go together.
        """
        output = spec.output if self.output is None else self.output
        temperature = spec.temperature if output == spec.output else None
        if self.temperature is not None:
            temperature = self.temperature
        if output == "logits" and temperature is None:
            temperature = DEFAULT_TEMPERATURE
        return dataclasses.replace(spec, output=output, temperature=temperature)


NO_HINTS = Hints()

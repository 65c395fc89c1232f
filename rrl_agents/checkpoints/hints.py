"""What a user says of foreign work when it is imported, and its files leave open."""

from __future__ import annotations

import dataclasses
from typing import Literal, TypeAlias, get_args

from rrl_client.spec import DEFAULT_TEMPERATURE, Output, PolicySpec

Agent: TypeAlias = Literal["dqn", "c51", "rainbow", "quantile", "iqn", "full_rainbow"]
AGENTS: tuple[str, ...] = get_args(Agent)
"""Kinds of Dopamine's agents that a user may name."""


class LeftOpen(ValueError):
    """The files leave something open; the message says what.

    Attributes:
        hints: Fields of `Hints` that say it, with a value or a word for one.
    """

    def __init__(self, message: str, **hints: str) -> None:
        """Keep both."""
        super().__init__(message)
        self.hints = hints


@dataclasses.dataclass(frozen=True, kw_only=True)
class Hints:
    """What a user says of a teacher; None for what its files say themselves.

    Attributes:
        game: What it plays; Dopamine's checkpoints never say it.
        output: What its scores are: q_values or logits.
        temperature: Divides its logits before the softmax, above 0.
        agent: Which of Dopamine's agents it is, where the shapes leave doubt; of weights that
            PyTorch saved, which of dqn, c51 and quantile.
        num_actions: Number of actions, likewise.
        value_bound: Largest return on the support of Dopamine's C51 and Rainbow, their `vmax`, or
            of a C51 that PyTorch saved without it.
        activation: Function behind the hidden layers of a perceptron that PyTorch saved.
    """

    game: str | None = None
    output: Output | None = None
    temperature: float | None = None
    agent: Agent | None = None
    num_actions: int | None = None
    value_bound: float = 10.0
    activation: Literal["relu", "tanh"] | None = None

    def applied_to(self, spec: PolicySpec) -> PolicySpec:
        """What a policy takes and gives, with these scores; logits always have a temperature.

        Args:
            spec: What its files say.

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

"""Several teachers as one: the name of an ensemble, and how it combines its members' scores.

    ensemble:mean:A,B         the mean of the members' policies; action values are softened at
                              temperature 0.1, the default of distillation
    ensemble:mean@0.02:A,B    the same, with another temperature for action values
    ensemble:values:A,B       the mean of their action values
    ensemble:highest:A,B      for each state the values of the member whose best one is highest

A and B can be any teachers except ensembles. Axes: M members, B rows of a batch, A actions, which
all members have in the same order.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from rrl_agents.plugins import is_reference
from rrl_agents.ranges import check_range

PREFIX = "ensemble:"
MAX_MEMBERS = 16
"""Upper bound of the members, all of which answer every query."""

_VALUES_TEMPERATURE = 0.1
_FORM = "write ensemble:RULE:A,B, e.g. ensemble:mean:Pong/a,Pong/b"
_LARGEST = np.finfo(np.float32).max

Scores = NDArray[np.float32]


def mean_of_policies(scores: Scores, temperatures: Sequence[float]) -> Scores:
    """Logits, at temperature 1, of drawing a member at random and then an action by its policy.

    Args:
        scores: float32 [M, B, A], finite: logits, or action values to be softened.
        temperatures: Divides each member's scores before the softmax, above 0.

    Returns:
        float32 [B, A], finite: log(mean over the members of softmax(scores / temperature)).
    """
    softened = scores.astype(np.float64) / np.reshape(temperatures, (-1, 1, 1))
    policies = softened - np.logaddexp.reduce(softened, axis=2, keepdims=True)
    mean = np.logaddexp.reduce(policies, axis=0) - np.log(len(scores))
    return np.asarray(np.clip(mean, -_LARGEST, 0.0), np.float32)


def mean_of_values(scores: Scores, _: Sequence[float]) -> Scores:
    """The mean over the members.

    Args:
        scores: float32 [M, B, A], action values of one unit.

    Returns:
        float32 [B, A].
    """
    return np.asarray(scores.mean(axis=0, dtype=np.float64), np.float32)


def values_of_the_highest(scores: Scores, _: Sequence[float]) -> Scores:
    """For each state the values of the member that expects the highest return; ties: the first.

    Args:
        scores: float32 [M, B, A], action values of one unit.

    Returns:
        float32 [B, A].
    """
    chosen = scores.max(axis=2).argmax(axis=0)
    return np.asarray(scores[chosen, np.arange(scores.shape[1])])


@dataclasses.dataclass(frozen=True, kw_only=True)
class Rule:
    """How to combine the scores of several teachers.

    Attributes:
        summary: The combination in words.
        gives_values: Whether the result is action values, which then all members must give; else
            logits.
        combine: (scores float32 [M, B, A], temperatures of the M) -> float32 [B, A].
    """

    summary: str
    gives_values: bool
    combine: Callable[[Scores, Sequence[float]], Scores]


RULES: Mapping[str, Rule] = {
    "mean": Rule(
        summary="the mean of their policies",
        gives_values=False,
        combine=mean_of_policies,
    ),
    "values": Rule(
        summary="the mean of their action values",
        gives_values=True,
        combine=mean_of_values,
    ),
    "highest": Rule(
        summary="for each state the values of the one that expects the highest return",
        gives_values=True,
        combine=values_of_the_highest,
    ),
}
"""Name -> rule."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Ensemble:
    """Several teachers, and the rule that combines them.

    Attributes:
        rule: Key of `RULES`.
        members: References of the teachers, 2 to `MAX_MEMBERS`, in the order given.
        temperature: Softens members that give action values, above 0; only "mean" uses it.
    """

    rule: str
    members: tuple[str, ...]
    temperature: float = _VALUES_TEMPERATURE

    def __post_init__(self) -> None:
        """Refuse invalid ensembles."""
        if self.rule not in RULES:
            raise ValueError(f"{self.rule!r} is not a rule of an ensemble; use {', '.join(RULES)}")
        check_range("the temperature of an ensemble", self.temperature, above=0)
        if not 2 <= len(self.members) <= MAX_MEMBERS or "" in self.members:
            raise ValueError(
                f"an ensemble has 2 to {MAX_MEMBERS} teachers, not {list(self.members)}; {_FORM}"
            )
        nested = next((name for name in self.members if name.startswith(PREFIX)), None)
        if nested is not None:
            raise ValueError(f"{nested} in an ensemble is one, too; name its teachers instead")

    def __str__(self) -> str:
        """The form that `parse_ensemble` reads."""
        at = "" if self.temperature == _VALUES_TEMPERATURE else f"@{self.temperature:g}"
        return f"{PREFIX}{self.rule}{at}:{','.join(self.members)}"


def parse_ensemble(reference: str) -> Ensemble | None:
    """The ensemble that a teacher's reference names; None if it names something else.

    Args:
        reference: `ensemble:RULE:A,B`; `ensemble:attribute` alone is code of a package.

    Raises:
        ValueError: it is not a valid ensemble; says how to write one.
    """
    if not reference.startswith(PREFIX) or is_reference(reference):
        return None
    said, colon, members = reference.removeprefix(PREFIX).partition(":")
    rule, at, temperature = said.partition("@")
    if not colon:
        raise ValueError(f"{reference} names no rule, of {', '.join(RULES)}; {_FORM}")
    if not at:
        return Ensemble(rule=rule, members=tuple(members.split(",")))
    if rule in RULES and RULES[rule].gives_values:
        raise ValueError(f"{said}: {rule} softens nothing; leave out {at}{temperature}")
    return Ensemble(
        rule=rule, members=tuple(members.split(",")), temperature=_number(temperature, said)
    )


def _number(text: str, said: str) -> float:
    try:
        return float(text)
    except ValueError as error:
        raise ValueError(f"{said}: {text!r} is not a temperature; write e.g. mean@0.1") from error

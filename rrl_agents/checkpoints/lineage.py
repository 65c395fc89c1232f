"""The ancestors of an agent, and their total cost.

A paper that builds on prior work must also report that work's computation (Agarwal et al., 2022,
section 6). A card contains its ancestors' cards, so the card alone gives the total. Ancestors are
identified by their parameters: one that appears twice, as teacher and as initial weights or through
two descendants, is counted once.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from rrl_agents.checkpoints.teacher_card import Compute, TeacherCard

COSTS = {
    "environment_frames": "frames it played",
    "teacher_frames": "frames its teacher played",
    "gradient_updates": "gradient steps",
    "hardware_seconds": "time",
}
"""Fields of a `Compute` that add up over a line -> their names."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Member:
    """One agent of a line.

    Attributes:
        card: Its card, where it appears nearest to the agent.
        generation: 1 without parents, else one more than its youngest parent's.
        compute: Cost of its own training, merged from all its appearances: known numbers replace
            unknown ones, and the larger of two wins.
    """

    card: TeacherCard
    generation: int
    compute: Compute


@dataclasses.dataclass(frozen=True, kw_only=True)
class Total:
    """A sum over a line.

    Attributes:
        known: Sum of the known costs.
        unknown: Number of agents whose cost is unknown; above 0, `known` is a lower bound.
    """

    known: float
    unknown: int


def family(card: TeacherCard) -> tuple[Member, ...]:
    """The ancestors of an agent, and the agent itself.

    Args:
        card: The agent's card.

    Returns:
        Each agent once, parents before their children, the agent last.
    """
    generations: dict[str, int] = {}
    _generation(card, generations)
    nearest: dict[str, TeacherCard] = {}
    appearances: dict[str, list[Compute]] = {}
    for found in _appearances(card):
        nearest.setdefault(found.parameters_sha256, found)
        appearances.setdefault(found.parameters_sha256, []).append(found.compute or Compute())
    members = [
        Member(card=found, generation=generations[key], compute=_merged(appearances[key]))
        for key, found in nearest.items()
    ]
    # Nearest first, so the reverse has older ones first within a generation; the sort is stable.
    # The agent itself is last, even if a card that repeats its parameters claims otherwise.
    return (*sorted(members[:0:-1], key=lambda member: member.generation), members[0])


def line_cost(members: Iterable[Member]) -> Mapping[str, Total]:
    """The cost of a whole line, counting each agent once.

    Args:
        members: From `family`.

    Returns:
        Field of a `Compute` -> its sum. Frames that a teacher played for its student are omitted if
        a parent that recorded "data" already counts them as its own play.
    """
    line = tuple(members)
    return {field: _total([_cost(member, field, line) for member in line]) for field in COSTS}


def cost_in_words(field: str, known: float | None, unknown: int = 0) -> str:
    """A cost or a `Total` in readable form: time in its largest units."""
    if known is None or (unknown and not known):
        return "unknown"
    amount = f"{known:,}"
    if field == "hardware_seconds":
        minutes, seconds = divmod(round(known), 60)
        hours, minutes = divmod(minutes, 60)
        amount = f"{hours} h {minutes} min" if hours else f"{minutes} min {seconds} s"
    return f"at least {amount}" if unknown else amount


def _appearances(card: TeacherCard) -> Iterator[TeacherCard]:
    """The agent and its ancestors, generation by generation."""
    level = [card]
    while level:
        yield from level
        level = [parent.card for child in level for parent in child.parents]


def _generation(card: TeacherCard, found: dict[str, int]) -> int:
    own = 1 + max((_generation(parent.card, found) for parent in card.parents), default=0)
    key = card.parameters_sha256
    found[key] = max(own, found.get(key, 0))
    return own


def _merged(appearances: list[Compute]) -> Compute:
    costs: dict[str, Any] = {}
    for field in COSTS:
        known = [getattr(one, field) for one in appearances]
        costs[field] = max((cost for cost in known if cost is not None), default=None)
    hardware = next((one.hardware for one in appearances if one.hardware), "")
    return Compute(**costs, hardware=hardware)


def _cost(member: Member, field: str, line: tuple[Member, ...]) -> float | None:
    if field == "teacher_frames":
        played = {one.card.parameters_sha256: one.compute.environment_frames for one in line}
        recorded = [parent.card for parent in member.card.parents if "data" in parent.relations]
        if any(played[card.parameters_sha256] is not None for card in recorded):
            return 0
    cost: float | None = getattr(member.compute, field)
    return cost


def _total(costs: Sequence[float | None]) -> Total:
    known = [cost for cost in costs if cost is not None]
    return Total(known=sum(known), unknown=len(costs) - len(known))

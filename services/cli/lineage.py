"""`rrl lineage`: whom an agent comes from, and what the whole line cost."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any

import tyro
from rich.markup import escape
from rich.table import Table
from rich.tree import Tree
from tyro.conf import Positional

from rrl_agents.checkpoints.card_markdown import one_line
from rrl_agents.checkpoints.lineage import LineCost, Member, Total, family, line_cost
from rrl_agents.checkpoints.teacher_card import CARD_FILE, TeacherCard, read_card
from services.cli.terminal import make_console
from services.library.catalogue import locate
from services.shared.errors import user_errors
from services.teacher.policies.loading import load_card

_RUN_FILE = "config.json"
_UNKNOWN = "unknown"
_COSTS = (
    ("frames it played", "environment_frames", 1, "{:,.0f}"),
    ("frames its teacher played", "teacher_frames", 1, "{:,.0f}"),
    ("gradient steps", "gradient_updates", 1, "{:,.0f}"),
    ("hours", "hardware_seconds", 3600, "{:,.2f}"),
)
"""Columns: title, the field of a `Compute`, its units in one of the column's, form."""


def lineage(
    agent: Positional[str],
    *,
    as_json: Annotated[bool, tyro.conf.arg(name="json")] = False,
) -> None:
    """Show the family tree of an agent, what each generation cost, and what all of them cost.

    An ancestor that appears twice is counted once. What a card does not tell is "unknown", and a
    total that lacks it "at least".

    Args:
        agent: A teacher's name, path or URL, or the folder of a run, whose student is looked at.
        as_json: Print one JSON object instead of tree and table.

    Raises:
        UserError: There is no such agent, or it cannot be read.
    """
    card = _card_of(agent)
    members = family(card)
    cost = line_cost(members)
    if as_json:
        print(_as_json(card, members, cost))
        return
    console = make_console()
    console.print(_tree(card))
    console.print(_table(members, cost))
    console.print(
        "Frames are the emulator's; recorded frames that a parent counts as its own play are not "
        "counted again. Hours are wall-clock time."
    )


def _card_of(agent: str) -> TeacherCard:
    path = Path(locate(agent))
    if (path / _RUN_FILE).is_file():
        # Only here, as the rest needs none of the training packages.
        from services.launcher.trained_student import default_name, read_student

        return read_student(path, default_name(path)).teacher.card
    if (path / CARD_FILE).is_file():
        # The card is enough: whoever has not got the parameters may still ask what they cost.
        with user_errors():
            return read_card(path / CARD_FILE)
    return load_card(agent)


def _tree(card: TeacherCard) -> Tree:
    tree = Tree(_label(card))
    _grow(tree, card, {card.parameters_sha256})
    return tree


def _grow(tree: Tree, card: TeacherCard, seen: set[str]) -> None:
    for parent in card.parents:
        again = parent.card.parameters_sha256 in seen
        seen.add(parent.card.parameters_sha256)
        note = " (again; counted once)" if again else ""
        branch = tree.add(f"{', '.join(parent.relations)}: {_label(parent.card)}{note}")
        _grow(branch, parent.card, seen)


def _label(card: TeacherCard) -> str:
    return f"{_name(card)}, {_plain(card.algorithm)} on {_plain(card.game)}, {_score(card)}"


def _name(card: TeacherCard) -> str:
    return f"[bold]{_plain(card.name)}[/bold] {card.parameters_sha256[:12]}"


def _score(card: TeacherCard) -> str:
    if card.score is None:
        return "not evaluated"
    interval = card.score.interval
    spread = "" if interval is None else f"95% interval {interval[0]:.2f} to {interval[1]:.2f}, "
    return f"mean return {card.score.mean_return:.2f} ({spread}{card.score.episodes:,} episodes)"


def _plain(text: str) -> str:
    """A card's text: no markup of ours, no escape of the terminal's."""
    return escape(one_line(text))


def _table(members: tuple[Member, ...], cost: LineCost) -> Table:
    table = Table(show_footer=True)
    table.add_column("generation", justify="right", footer="total")
    table.add_column("agent")
    for title, field, units, form in _COSTS:
        total: Total = getattr(cost, field)
        footer = form.format(total.known / units)
        if total.unknown:
            footer = f"at least {footer}" if total.known else _UNKNOWN
        table.add_column(title, justify="right", footer=footer)
    table.add_column("hardware")
    for member in members:
        costs = []
        for _, field, units, form in _COSTS:
            value = getattr(member.compute, field)
            costs.append(_UNKNOWN if value is None else form.format(value / units))
        hardware = _plain(member.compute.hardware) or _UNKNOWN
        table.add_row(str(member.generation), _name(member.card), *costs, hardware)
    return table


def _as_json(card: TeacherCard, members: tuple[Member, ...], cost: LineCost) -> str:
    content = {
        "agent": card.name,
        "parameters_sha256": card.parameters_sha256,
        "generations": [_member_fields(member) for member in members],
        "total": {
            name: {"known": total.known, "is_lower_bound": total.unknown > 0}
            for name, total in vars(cost).items()
        },
    }
    return json.dumps(content, indent=1, allow_nan=False)


def _member_fields(member: Member) -> dict[str, Any]:
    card, score = member.card, member.card.score
    return {
        "generation": member.generation,
        "name": card.name,
        "game": card.game,
        "algorithm": card.algorithm,
        "parameters_sha256": card.parameters_sha256,
        "mean_return": None if score is None else score.mean_return,
        "episodes": None if score is None else score.episodes,
        "compute": vars(member.compute),
        "parents": [
            {
                "relations": list(parent.relations),
                "parameters_sha256": parent.card.parameters_sha256,
            }
            for parent in card.parents
        ],
    }

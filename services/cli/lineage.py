"""`rrl lineage`: an agent's ancestors, and the cost of the whole line."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from rich.text import Text
from rich.tree import Tree
from tyro.conf import Positional

from rrl_agents.checkpoints.lineage import COSTS, Member, cost_in_words, family, line_cost
from rrl_agents.checkpoints.teacher_card import CARD_FILE, TeacherCard, read_card
from rrl_agents.typed_json import encode
from services.cli.terminal import UNBOUNDED_WIDTH, make_console, print_json, print_rows
from services.library.catalogue import locate
from services.shared.errors import printable, user_errors
from services.teacher.policies.loading import load_card

_RUN_FILE = "config.json"


def lineage(agent: Positional[str], *, json: bool = False) -> None:
    """Show an agent's family tree, the cost of each generation, and the total.

    An ancestor that appears twice is counted once. A cost that was not recorded is shown as
    "unknown", and a total without it as "at least".

    Args:
        agent: A teacher's name, path or URL; or the folder of a run, which stands for its student.
        json: Print one JSON object instead of tree and table.

    Raises:
        UserError: There is no such agent, or it cannot be read.
    """
    card = _card_of(agent)
    members = family(card)
    cost = line_cost(members)
    if json:
        print_json({"generations": [*map(_as_json, members)], "total": encode(cost)})
        return
    tree = Tree(_label(card))
    _grow(tree, card, {card.parameters_sha256})
    make_console(UNBOUNDED_WIDTH).print(tree)
    totals = [cost_in_words(field, cost[field].known, cost[field].unknown) for field in COSTS]
    print_rows(
        [*map(_row, members), ["total", "", *totals]],
        ["generation", "agent", *COSTS.values(), "hardware"],
    )
    print(
        "Frames are the emulator's; recorded frames that a parent counts as its own play are not "
        "counted again. Time is wall-clock time."
    )


def _card_of(agent: str) -> TeacherCard:
    path = Path(locate(agent))
    if (path / _RUN_FILE).is_file():
        # Imported here: the rest needs none of the training packages.
        from services.launcher.trained_student import default_name, read_student

        return read_student(path, default_name(path)).teacher.card
    if (path / CARD_FILE).is_file():
        # The card is enough; the parameters may be missing.
        with user_errors():
            return read_card(path / CARD_FILE)
    return load_card(agent)


def _grow(tree: Tree, card: TeacherCard, seen: set[str]) -> None:
    for parent in card.parents:
        again = parent.card.parameters_sha256 in seen
        seen.add(parent.card.parameters_sha256)
        note = " (again; counted once)" if again else ""
        label = Text.assemble(f"{', '.join(parent.relations)}: ", _label(parent.card), note)
        _grow(tree.add(label), parent.card, seen)


def _label(card: TeacherCard) -> Text:
    """An agent in one line, without markup or terminal escapes."""
    about = f"{_name(card)}, {printable(card.algorithm)} on {printable(card.game)}"
    return Text(f"{about}, {score_in_words(card)}")


def _name(card: TeacherCard) -> str:
    return f"{printable(card.name)} {card.parameters_sha256[:12]}"


def score_in_words(card: TeacherCard) -> str:
    """How well an agent plays."""
    if card.score is None:
        return "not evaluated"
    interval = card.score.interval
    spread = "" if interval is None else f"95% interval {interval[0]:.2f} to {interval[1]:.2f}, "
    return f"mean return {card.score.mean_return:.2f} ({spread}{card.score.episodes:,} episodes)"


def _row(member: Member) -> list[str]:
    costs = [cost_in_words(field, getattr(member.compute, field)) for field in COSTS]
    hardware = member.compute.hardware or "unknown"
    return [str(member.generation), _name(member.card), *costs, hardware]


def _as_json(member: Member) -> dict[str, Any]:
    """An agent's card, with its parents by their parameters."""
    parents = [
        {"relations": parent.relations, "parameters_sha256": parent.card.parameters_sha256}
        for parent in member.card.parents
    ]
    own = {"generation": member.generation, "compute": encode(member.compute), "parents": parents}
    return {**encode(member.card), **own}

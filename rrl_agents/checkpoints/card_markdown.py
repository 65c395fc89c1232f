"""A teacher's card as Markdown: the README.md beside its card.json.

Cards are untrusted: their texts are escaped, so that none can end a table or start a link.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from typing import Any

from rrl_agents.checkpoints.lineage import COSTS, cost_in_words, family, line_cost
from rrl_agents.checkpoints.teacher_card import Compute, EvaluationScore, TeacherCard
from rrl_agents.escaped_markdown import code_block, escaped, table
from rrl_agents.scores import score_if_known

_UNKNOWN = "unknown"
_HASH_DIGITS = 12


def card_markdown(card: TeacherCard) -> str:
    """Write a card as Markdown.

    Args:
        card: The card.

    Returns:
        A document with a heading, tables of facts, scores, costs and parents, and the command.
    """
    parts = [
        f"# {escaped(card.name)}",
        escaped(card.made[:1].upper() + card.made[1:]),
        table(("", ""), _facts(card)),
        "## Scores",
        *_scores(card),
        "## What it cost",
        table(("", "this agent", "its whole line"), _costs(card)),
        "Frames are the emulator's. Time is the wall-clock time of the run, whose processes all "
        "share the hardware named; a line's is the sum over its agents, whatever they ran on.",
        "## How it was made",
        code_block(card.command) if card.command else "The command is unknown.",
        f"Code version: {escaped(card.code_version) or _UNKNOWN}",
        "## Parents",
        _parents(card),
    ]
    return "\n\n".join(parts) + "\n"


def _in_words(record: Any, *always: str) -> str:
    """A record's fields in one line; omits defaults, except the named fields."""
    if record is None:
        return _UNKNOWN
    return ", ".join(
        f"{field.name.replace('_', ' ')} {getattr(record, field.name)}"
        for field in dataclasses.fields(record)
        if field.name in always or getattr(record, field.name) != field.default
    )


def _facts(card: TeacherCard) -> Iterator[tuple[str, str]]:
    yield "game", escaped(card.game)
    yield "algorithm", escaped(card.algorithm)
    yield "network", escaped(_in_words(card.network, "name", "features", "hidden_units", "padding"))
    yield "protocol", escaped(_in_words(card.protocol, "reward_clipping", "life_loss_ends"))
    interface = ("observation_shape", "observation_dtype", "num_actions", "output")
    yield "takes and gives", escaped(_in_words(card.spec, *interface))
    yield "order of observations", escaped(card.observation_order)
    yield "SHA-256 of the parameters", f"`{card.parameters_sha256}`"


def _scores(card: TeacherCard) -> Iterator[str]:
    header = ("player", "mean return", "95% interval", "episodes", "epsilon", "sticky actions")
    teachers = [parent.card for parent in card.parents if "teacher" in parent.relations]
    players = [("this agent", card), *((f"teacher {one.name}", one) for one in teachers)]
    random = _UNKNOWN if card.random_return is None else f"{card.random_return:.2f}"
    rows = [(escaped(player), *_score(one.score)) for player, one in players]
    yield table(header, [*rows, ("random policy", random, "", "", "", "")])
    yield "Returns are undiscounted sums of unclipped rewards."
    for teacher in teachers:
        score = score_if_known(_mean(card), card.random_return, _mean(teacher))
        if score is not None:
            yield (
                f"Between the random policy (0) and {escaped(teacher.name)} (1), this agent is at "
                f"{score:.2f}."
            )
    for player, one in players:
        if one.score is not None and one.score.note:
            yield f"Of {escaped(player)}: {escaped(one.score.note).rstrip('.')}."


def _mean(card: TeacherCard) -> float | None:
    return None if card.score is None else card.score.mean_return


def _score(score: EvaluationScore | None) -> tuple[str, str, str, str, str]:
    if score is None:
        return ("not evaluated", "", "", "", "")
    spread = f"{score.mean_return:.2f} ± {score.std_return:.2f}"
    low, high = score.interval or (None, None)
    interval = "not computed" if low is None else f"{low:.2f} to {high:.2f}"
    chances = (f"{score.epsilon:g}", f"{score.sticky_actions:g}")
    return (spread, interval, f"{score.episodes:,}", *chances)


def _costs(card: TeacherCard) -> Iterator[tuple[str, str, str]]:
    own, line = card.compute or Compute(), line_cost(family(card))
    for field, title in COSTS.items():
        total = line[field]
        whole = cost_in_words(field, total.known, total.unknown)
        yield title, cost_in_words(field, getattr(own, field)), whole
    yield "hardware", escaped(own.hardware) or _UNKNOWN, ""


def _parents(card: TeacherCard) -> str:
    if not card.parents:
        return "It names none."
    header = ("what it has from it", "name", "algorithm", "mean return", "SHA-256")
    rows = [
        (
            escaped(", ".join(parent.relations)),
            escaped(parent.card.name),
            escaped(parent.card.algorithm),
            _score(parent.card.score)[0],
            f"`{parent.card.parameters_sha256[:_HASH_DIGITS]}`",
        )
        for parent in card.parents
    ]
    return table(header, rows)

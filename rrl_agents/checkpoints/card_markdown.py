"""A teacher's card for people: the README.md beside its card.json.

A card may come from anywhere: its texts are escaped, so that none can end a table or start a link.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from rrl_agents.checkpoints.lineage import COSTS, cost_in_words, family, line_cost
from rrl_agents.checkpoints.teacher_card import Compute, EvaluationScore, TeacherCard
from rrl_agents.scores import score_if_known

_UNKNOWN = "unknown"
_HASH_DIGITS = 12
# What has a meaning in CommonMark, anywhere in a line.
_MARKUP = re.compile(r"([\\`*_{}\[\]<>()#|!~])")


def card_markdown(card: TeacherCard) -> str:
    """Write a card as Markdown.

    Args:
        card: The card.

    Returns:
        A document with a heading, tables of facts, scores, costs and parents, and the command.
    """
    parts = [
        f"# {_text(card.name)}",
        _text(card.made[:1].upper() + card.made[1:]),
        _table(("", ""), _facts(card)),
        "## Scores",
        *_scores(card),
        "## What it cost",
        _table(("", "this agent", "its whole line"), _costs(card)),
        "Frames are the emulator's. Time is the wall-clock time of the run, whose processes all "
        "share the hardware named; a line's is the sum over its agents, whatever they ran on.",
        "## How it was made",
        _code(card.command),
        f"Code version: {_text(card.code_version) or _UNKNOWN}",
        "## Parents",
        _parents(card),
    ]
    return "\n\n".join(parts) + "\n"


def _in_words(record: Any, *always: str) -> str:
    """A record's fields in one line; those at their default only where they are named."""
    if record is None:
        return _UNKNOWN
    return ", ".join(
        f"{field.name.replace('_', ' ')} {getattr(record, field.name)}"
        for field in dataclasses.fields(record)
        if field.name in always or getattr(record, field.name) != field.default
    )


def one_line(text: str) -> str:
    """A card's text without line ends and without what would steer a terminal."""
    return " ".join("".join(c if c.isprintable() else " " for c in text).split())


def _facts(card: TeacherCard) -> Iterator[tuple[str, str]]:
    yield "game", _text(card.game)
    yield "algorithm", _text(card.algorithm)
    yield "network", _text(_in_words(card.network, "name", "features", "hidden_units", "padding"))
    yield "protocol", _text(_in_words(card.protocol, "reward_clipping", "life_loss_ends"))
    interface = ("observation_shape", "observation_dtype", "num_actions", "output")
    yield "takes and gives", _text(_in_words(card.spec, *interface))
    yield "order of observations", _text(card.observation_order)
    yield "SHA-256 of the parameters", f"`{card.parameters_sha256}`"


def _scores(card: TeacherCard) -> Iterator[str]:
    header = ("player", "mean return", "95% interval", "episodes", "epsilon", "sticky actions")
    teachers = [parent.card for parent in card.parents if "teacher" in parent.relations]
    players = [("this agent", card), *((f"teacher {one.name}", one) for one in teachers)]
    random = _UNKNOWN if card.random_return is None else f"{card.random_return:.2f}"
    rows = [(_text(player), *_score(one.score)) for player, one in players]
    yield _table(header, [*rows, ("random policy", random, "", "", "", "")])
    yield "Returns are undiscounted sums of unclipped rewards."
    for teacher in teachers:
        score = score_if_known(_mean(card), card.random_return, _mean(teacher))
        if score is not None:
            yield (
                f"Between the random policy (0) and {_text(teacher.name)} (1), this agent is at "
                f"{score:.2f}."
            )
    for player, one in players:
        if one.score is not None and one.score.note:
            yield f"Of {_text(player)}: {_text(one.score.note).rstrip('.')}."


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
    yield "hardware", _text(own.hardware) or _UNKNOWN, ""


def _parents(card: TeacherCard) -> str:
    if not card.parents:
        return "It names none."
    header = ("what it has from it", "name", "algorithm", "mean return", "SHA-256")
    rows = [
        (
            _text(", ".join(parent.relations)),
            _text(parent.card.name),
            _text(parent.card.algorithm),
            _score(parent.card.score)[0],
            f"`{parent.card.parameters_sha256[:_HASH_DIGITS]}`",
        )
        for parent in card.parents
    ]
    return _table(header, rows)


def _text(text: str) -> str:
    """One line without markup."""
    return _MARKUP.sub(r"\\\1", one_line(text))


def _code(command: str) -> str:
    # An indented block has no fence that the text could end.
    return f"    {one_line(command)}" if command else "The command is not known."


def _table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)

"""A teacher's card for people: the README.md beside its card.json.

A card may come from anywhere: its texts are escaped, so that none can end a table or start a link.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence

from rrl_agents.checkpoints.lineage import Total, family, line_cost
from rrl_agents.checkpoints.teacher_card import Compute, EvaluationScore, PlayProtocol, TeacherCard
from rrl_agents.networks.config import NetworkConfig
from rrl_agents.scores import has_scale, normalised_score

_UNKNOWN = "unknown"
_HASH_DIGITS = 12
_COUNTS = (
    ("frames it played", "environment_frames"),
    ("frames its teacher played", "teacher_frames"),
    ("gradient steps", "gradient_updates"),
)
"""Titles, and fields of a `Compute`."""
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


def _network(network: NetworkConfig | None) -> str:
    """A network in one line."""
    if network is None:
        return "not one of this project's"
    words = [network.name, f"features {network.features}"]
    if network.name != "mlp":
        words += [f"hidden units {network.hidden_units}", f"padding {network.padding}"]
    if network.head != "values":
        words.append(f"head {network.head}, {network.num_atoms} atoms")
    words += [word for word in ("dueling", "noisy") if getattr(network, word)]
    return ", ".join(words)


def _protocol(protocol: PlayProtocol | None) -> str:
    """Rules of play in one line."""
    if protocol is None:
        return _UNKNOWN
    clipped = "clipped to [-1, 1]" if protocol.reward_clipping else "not clipped"
    end = "a lost life" if protocol.life_loss_ends else "game over"
    return (
        f"{protocol.frames_per_step} frames per step, stack of {protocol.stack_size}, sticky "
        f"actions {protocol.sticky_actions:g}, episodes end at {end} or after "
        f"{protocol.max_episode_steps:,} steps, training rewards {clipped}"
    )


def one_line(text: str) -> str:
    """A card's text without line ends and without what would steer a terminal."""
    return " ".join("".join(c if c.isprintable() else " " for c in text).split())


def _facts(card: TeacherCard) -> Iterator[tuple[str, str]]:
    yield "game", _text(card.game)
    yield "algorithm", _text(card.algorithm)
    yield "network", _text(_network(card.network))
    yield "protocol", _text(_protocol(card.protocol))
    shape = ", ".join(map(str, card.observation_shape))
    yield "observations", _text(f"{card.observation_dtype} ({shape}), {card.observation_order}")
    meanings = f": {', '.join(card.action_meanings)}" if card.action_meanings else ""
    yield "actions", _text(f"{card.num_actions}{meanings}")
    softened = "" if card.temperature is None else f", temperature {card.temperature:g}"
    yield "output", _text(f"{card.output}{softened}")
    yield "SHA-256 of the parameters", f"`{card.parameters_sha256}`"


def _scores(card: TeacherCard) -> Iterator[str]:
    header = ("player", "mean return", "95% interval", "episodes", "epsilon", "sticky actions")
    teachers = [parent.card for parent in card.parents if "teacher" in parent.relations]
    rows = [("this agent", *_score(card.score))]
    rows += [(f"teacher {_text(teacher.name)}", *_score(teacher.score)) for teacher in teachers]
    random = _UNKNOWN if card.random_return is None else f"{card.random_return:.2f}"
    rows.append(("random policy", random, "", "", "", ""))
    yield _table(header, rows)
    yield " ".join(("Returns are undiscounted sums of unclipped rewards.", *_normalised(card)))
    for player, score in (("This agent", card.score), *((t.name, t.score) for t in teachers)):
        if score is not None and score.note:
            yield f"{_text(player)}: {_text(score.note).rstrip('.')}."


def _normalised(card: TeacherCard) -> Iterator[str]:
    """How far from the random policy to each teacher it came, where all three are known."""
    own, random = card.score, card.random_return
    if own is None or random is None:
        return
    for parent in card.parents:
        teacher = parent.card.score
        if "teacher" not in parent.relations or teacher is None:
            continue
        if has_scale(random, teacher.mean_return):
            score = normalised_score(own.mean_return, random, teacher.mean_return)
            yield (
                f"Between the random policy (0) and {_text(parent.card.name)} (1), this agent is "
                f"at {score:.2f}."
            )


def _score(score: EvaluationScore | None) -> tuple[str, str, str, str, str]:
    if score is None:
        return ("not evaluated", "", "", "", "")
    spread = f"{score.mean_return:.2f} ± {score.std_return:.2f}"
    interval = "not computed"
    if score.interval is not None:
        interval = f"{score.interval[0]:.2f} to {score.interval[1]:.2f}"
    chances = (f"{score.epsilon:g}", f"{score.sticky_actions:g}")
    return (spread, interval, f"{score.episodes:,}", *chances)


def _costs(card: TeacherCard) -> Iterator[tuple[str, str, str]]:
    own, line = card.compute or Compute(), line_cost(family(card))
    for title, field in _COUNTS:
        count, total = getattr(own, field), getattr(line, field)
        yield title, _UNKNOWN if count is None else f"{count:,}", _sum(total, f"{total.known:,}")
    seconds = line.hardware_seconds
    yield "time", _time(own.hardware_seconds), _sum(seconds, _time(seconds.known))
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


def _time(seconds: float | None) -> str:
    if seconds is None:
        return _UNKNOWN
    minutes, left = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min" if hours else f"{minutes} min {left} s"


def _sum(total: Total, known: str) -> str:
    """A sum over a line, a lower bound where some of it is not known."""
    if not total.unknown:
        return known
    return f"at least {known}" if total.known else _UNKNOWN


def _text(text: str) -> str:
    """One line without markup."""
    return _MARKUP.sub(r"\\\1", one_line(text))


def _code(command: str) -> str:
    # An indented block has no fence that the text could end.
    return f"    {one_line(command)}" if command else "The command is not known."


def _table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)

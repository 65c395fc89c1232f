"""The report as one HTML page: images inline, light and dark, readable on a phone."""

from __future__ import annotations

import base64
import dataclasses
import html
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from services.bench.report.aggregates import Aggregates, EntryAggregates
from services.bench.report.drawing import Picture
from services.bench.results import ReferenceRow
from services.bench.suite import Suite

_STYLE = """
:root { color-scheme: light dark; --ink: #1b1b1b; --paper: #fff; --faint: #666; --line: #ddd;
  --mark: #fff3cd; }
@media (prefers-color-scheme: dark) { :root { --ink: #e8e8e8; --paper: #16181b; --faint: #a5a5a5;
  --line: #383c42; --mark: #4a3c10; } }
body { font: 16px/1.5 system-ui, sans-serif; color: var(--ink); background: var(--paper);
  max-width: 62rem; margin: 0 auto; padding: 1rem; }
figure { margin: 1rem 0; }
img { width: 100%; height: auto; background: #fff; border-radius: 6px; }
figcaption, .faint { color: var(--faint); font-size: .87rem; }
.scroll { overflow-x: auto; }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; font-size: .93rem; }
caption { text-align: left; color: var(--faint); padding: .3rem 0; }
th, td { padding: .25rem .7rem; text-align: right; border-bottom: 1px solid var(--line);
  white-space: nowrap; }
th:first-child, td:first-child, .text td, .text th { text-align: left; }
.text td { white-space: normal; }
.mark { background: var(--mark); padding: .6rem 1rem; border-radius: 6px; }
"""


@dataclasses.dataclass(frozen=True, kw_only=True)
class PageContent:
    """What the page tells.

    Attributes:
        suite: Title, notes and labels.
        aggregates: Scores.
        references: Game -> random policy and teacher.
        pictures: The figures, whose files are in the page's folder.
        remarks: What a reader must know before believing the numbers.
    """

    suite: Suite
    aggregates: Aggregates
    references: Mapping[str, ReferenceRow]
    pictures: Sequence[Picture]
    remarks: Sequence[str]


def make_page(content: PageContent, folder: Path) -> str:
    """Write the page.

    Args:
        content: What it tells.
        folder: Where the pictures are.

    Returns:
        A whole HTML document that needs no other file.
    """
    title = html.escape(content.suite.title)
    parts = [
        f"<h1>{title}</h1>",
        f"<p>{html.escape(content.suite.notes)}</p>" if content.suite.notes else "",
        _remarks(content.remarks),
        _table("Final scores, the best first", _SCORE_HEAD, _score_rows(content)),
        *(_figure(picture, folder) for picture in content.pictures),
        _table("Returns of the final weights in each game: mean over seeds and 95% interval",
               ("entry", *content.references), _game_rows(content)),
        "<h2>What scores are measured by</h2>",
        _table("0 is the random policy, 1 the teacher", _REFERENCE_HEAD,
               _reference_rows(content.references), kind="text"),
        '<p class="faint">Raw scores: evaluations.csv, episodes.csv and references.csv of results/ '
        "beside suite.toml; numbers of the figures: the CSV files beside this page, and "
        "summary.json.</p>",
    ]  # fmt: skip
    body = "\n".join(part for part in parts if part)
    return (
        f'<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        f'<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{title}</title>\n<style>{_STYLE}</style>\n</head>\n<body>\n{body}\n</body>\n</html>\n"
    )


_SCORE_HEAD = (
    "entry", "IQM", "95% interval", "better than teacher", "games", "seeds", "frames",
)  # fmt: skip
_REFERENCE_HEAD = (
    "game", "random policy", "source", "teacher", "return (95% interval)", "episodes", "epsilon",
    "sticky actions", "episode cut off at", "learned from", "source",
)  # fmt: skip


def _remarks(remarks: Sequence[str]) -> str:
    if not remarks:
        return ""
    items = "".join(f"<li>{html.escape(remark)}</li>" for remark in remarks)
    return f'<div class="mark"><strong>Mind:</strong><ul>{items}</ul></div>'


def _figure(picture: Picture, folder: Path) -> str:
    data = base64.b64encode((folder / picture.file).read_bytes()).decode()
    return (
        f"<h2>{html.escape(picture.title)}</h2>\n<figure>"
        f'<img src="data:image/png;base64,{data}" alt="{html.escape(picture.alternative)}">'
        f"<figcaption>{html.escape(picture.caption)}</figcaption></figure>"
    )


def _table(
    caption: str, head: Iterable[str], rows: Iterable[Sequence[str]], *, kind: str = "numbers"
) -> str:
    names = "".join(f'<th scope="col">{html.escape(name)}</th>' for name in head)
    lines = "\n".join(
        f'<tr><th scope="row">{html.escape(first)}</th>'
        + "".join(f"<td>{html.escape(cell)}</td>" for cell in rest)
        + "</tr>"
        for first, *rest in rows
    )
    return (
        f'<div class="scroll"><table class="{kind}"><caption>{html.escape(caption)}</caption>'
        f"<thead><tr>{names}</tr></thead>\n<tbody>\n{lines}\n</tbody></table></div>"
    )


def _score_rows(content: PageContent) -> Iterable[Sequence[str]]:
    for entry in content.aggregates.entries:
        point, low, high = entry.final_iqm
        ((better, better_low, better_high),) = entry.improvement.rows()
        yield (
            content.suite.label_of(entry.entry),
            f"{point:.3f}",
            f"{low:.3f} to {high:.3f}" if entry.has_intervals else "none: one run of each game",
            f"{better:.2f}{_ends(entry, better_low, better_high)}",
            str(len(entry.scores.games)),
            str(entry.scores.repetitions),
            f"{entry.scores.frames[-1]:,}",
        )


def _game_rows(content: PageContent) -> Iterable[Sequence[str]]:
    games = content.references
    for entry in content.aggregates.entries:
        yield (content.suite.label_of(entry.entry), *(_game_cell(entry, game) for game in games))
    yield ("teacher", *(f"{games[game].teacher_return:.2f}" for game in games))
    yield ("random policy", *(f"{games[game].random_return:.2f}" for game in games))


def _game_cell(entry: EntryAggregates, game: str) -> str:
    found = entry.games.get(game)
    if found is None:
        return "no run"
    point, low, high = found.rows()[-1]
    return f"{point:.2f}{_ends(entry, low, high)}"


def _ends(entry: EntryAggregates, low: float, high: float) -> str:
    """An interval behind its point; nothing where there is none."""
    return f" ({low:.2f} to {high:.2f})" if entry.has_intervals else ""


def _reference_rows(references: Mapping[str, ReferenceRow]) -> Iterable[Sequence[str]]:
    for game, row in references.items():
        interval = (
            f" ({row.teacher_low:.2f} to {row.teacher_high:.2f})"
            if row.teacher_low is not None and row.teacher_high is not None
            else ""
        )
        frames = "unknown" if row.teacher_frames is None else f"{row.teacher_frames:,} frames"
        yield (
            game,
            f"{row.random_return:.2f}",
            row.random_source,
            row.teacher,
            f"{row.teacher_return:.2f}{interval}",
            _known(row.teacher_episodes),
            _known(row.teacher_epsilon),
            _known(row.teacher_sticky_actions),
            "unknown"
            if row.teacher_max_episode_steps is None
            else f"{row.teacher_max_episode_steps:,} steps",
            frames,
            row.teacher_source,
        )


def _known(value: float | None) -> str:
    return "unknown" if value is None else f"{value:g}"

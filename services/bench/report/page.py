"""The report as one HTML page that needs no other file: images inline, light and dark."""

from __future__ import annotations

import base64
import dataclasses
import html
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from services.bench.report.figures import Picture
from services.bench.report.statistics import SuiteStatistics
from services.bench.results import ReferenceRow
from services.bench.suite import Suite

_PAGE = """<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{title}</title>
<style>
:root {{ color-scheme: light dark; }}
body {{ font: 16px/1.5 system-ui, sans-serif; max-width: 62rem; margin: auto; padding: 1rem; }}
figure {{ margin: 1rem 0; }}
img {{ max-width: 100%; background: #fff; }}
div {{ overflow-x: auto; }}
th, td {{ padding: .2rem .6rem; text-align: left; }}
</style>
<h1>{title}</h1>
<p>{notes}</p>
{remarks}
{scores}
{figures}
{games}
{references}
<p>Raw scores: evaluations.csv, episodes.csv and references.csv of results/ beside suite.toml.
Numbers of the figures: the CSV files beside this page, and summary.json.</p>
</html>
"""

_SCORES = ("entry", "IQM", "95% interval", "better than teacher", "games", "seeds", "frames")


def make_page(
    suite: Suite,
    statistics: SuiteStatistics,
    pictures: Sequence[Picture],
    remarks: Sequence[str],
    folder: Path,
) -> str:
    """Write the page.

    Args:
        suite: Title and notes.
        statistics: Scores.
        pictures: The figures.
        remarks: What a reader must know before believing the numbers.
        folder: Where the figures' files are.

    Returns:
        A whole HTML document.
    """
    warnings = "".join(f"<li><mark>{html.escape(remark)}</mark>" for remark in remarks)
    return _PAGE.format(
        title=html.escape(suite.title),
        notes=html.escape(suite.notes),
        remarks=f"<ul>{warnings}</ul>" if remarks else "",
        scores=_table("Final scores, the best first", _SCORES, _scores(statistics)),
        figures="\n".join(_figure(picture, folder) for picture in pictures),
        games=_table(
            "Returns of the final weights in each game: mean over seeds and 95% interval",
            ("entry", *statistics.references),
            _games(statistics),
        ),
        references=_table(
            "What scores are measured by: 0 is the random policy, 1 the teacher",
            [field.name.replace("_", " ") for field in dataclasses.fields(ReferenceRow)],
            map(dataclasses.astuple, statistics.references.values()),
        ),
    )


def _figure(picture: Picture, folder: Path) -> str:
    data = base64.b64encode((folder / picture.file).read_bytes()).decode()
    return (
        f"<h2>{html.escape(picture.title)}</h2>\n"
        f'<figure><img src="data:image/png;base64,{data}" alt="{html.escape(picture.title)}">'
        f"<figcaption>{html.escape(picture.caption)}</figcaption></figure>"
    )


def _table(title: str, head: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    lines = [_row("th", head), *(_row("td", row) for row in rows)]
    return f"<h2>{html.escape(title)}</h2>\n<div><table>\n{''.join(lines)}</table></div>"


def _row(tag: str, cells: Sequence[object]) -> str:
    texts = (html.escape(_text(cell)) for cell in cells)
    return "<tr>" + "".join(f"<{tag}>{text}</{tag}>" for text in texts) + "\n"


def _text(cell: object) -> str:
    if cell is None:
        return "unknown"
    return f"{cell:.4g}" if isinstance(cell, float) else str(cell)


def _scores(statistics: SuiteStatistics) -> Iterator[Sequence[object]]:
    for entry in statistics.entries:
        point, low, high = entry.iqm[:, -1]
        scores = entry.scores
        yield (
            entry.label,
            f"{point:.3f}",
            f"{low:.3f} to {high:.3f}" if entry.has_intervals else "none: one run of each game",
            entry.in_words(entry.improvement),
            len(scores.games),
            scores.repetitions,
            f"{scores.frames[-1]:,}",
        )


def _games(statistics: SuiteStatistics) -> Iterator[Sequence[object]]:
    references = statistics.references
    for entry in statistics.entries:
        found = {game: entry.in_words(one) for game, one in entry.games.items()}
        cells = (found.get(game, "no run") for game in references)
        yield (entry.label, *cells)
    yield ("teacher", *(f"{row.teacher_return:.2f}" for row in references.values()))
    yield ("random policy", *(f"{row.random_return:.2f}" for row in references.values()))

"""The report as one HTML page that needs no other file: images inline, light and dark."""

from __future__ import annotations

import base64
import dataclasses
import html
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from services.bench.report.figures import Picture
from services.bench.report.tables import Tables, last_of
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
<ul>{remarks}</ul>
<h2>Final scores, the best first</h2>
{scores}
{figures}
<h2>Returns of the final weights in each game: mean over seeds and 95% interval</h2>
{games}
<h2>What scores are measured by: 0 is the random policy, 1 the teacher</h2>
{references}
<p>Raw scores: evaluations.csv, episodes.csv and references.csv of results/ beside suite.toml.
Numbers of the figures: the CSV files beside this page, and summary.json.</p>
</html>
"""

_SCORES = ("entry", "IQM", "95% interval", "better than teacher", "games", "seeds", "frames")


def make_page(
    suite: Suite,
    tables: Tables,
    references: Mapping[str, ReferenceRow],
    pictures: Sequence[Picture],
    remarks: Sequence[str],
    folder: Path,
) -> str:
    """Write the page.

    Args:
        suite: Title and notes.
        tables: Scores.
        references: Game -> what its scores are measured by.
        pictures: The figures.
        remarks: What a reader must know before believing the numbers.
        folder: Where the figures' files are.

    Returns:
        A whole HTML document.
    """
    return _PAGE.format(
        title=html.escape(suite.title),
        notes=html.escape(suite.notes),
        remarks="".join(f"<li><mark>{html.escape(remark)}</mark>" for remark in remarks),
        scores=_html(_SCORES, _scores(tables)),
        figures="\n".join(_figure(picture, folder) for picture in pictures),
        games=_html(("entry", *references), _games(tables, references)),
        references=_html(
            [field.name.replace("_", " ") for field in dataclasses.fields(ReferenceRow)],
            (map(_text, dataclasses.astuple(row)) for row in references.values()),
        ),
    )


def _figure(picture: Picture, folder: Path) -> str:
    data = base64.b64encode((folder / picture.file).read_bytes()).decode()
    return (
        f"<h2>{html.escape(picture.title)}</h2>\n"
        f'<figure><img src="data:image/png;base64,{data}" alt="{html.escape(picture.title)}">'
        f"<figcaption>{html.escape(picture.caption)}</figcaption></figure>"
    )


def _html(head: Sequence[str], rows: Iterable[Iterable[object]]) -> str:
    with pd.option_context("display.max_colwidth", None):
        table = pd.DataFrame([[*row] for row in rows], columns=[*head], dtype=object)
        return f"<div>{table.to_html(index=False, border=0, justify='left')}</div>"


def _text(cell: object) -> str:
    if cell is None:
        return "unknown"
    return f"{cell:.4g}" if isinstance(cell, float) else str(cell)


def _in_words(estimate: Any, point: float) -> str:
    """An estimate, with its interval where there is one."""
    interval = f" ({estimate.low:.2f} to {estimate.high:.2f})" if estimate.seeds > 1 else ""
    return f"{point:.2f}{interval}"


def _scores(tables: Tables) -> Iterator[Sequence[object]]:
    final = last_of(tables.iqm_curve).itertuples()
    for row, better in zip(final, tables.improvement.itertuples(), strict=True):
        interval = f"{row.low:.3f} to {row.high:.3f}"
        yield (
            tables.labels[row.entry],
            f"{row.iqm:.3f}",
            interval if row.seeds > 1 else "none: one run of each game",
            _in_words(better, better.probability),
            row.games,
            row.seeds,
            f"{row.frames:,}",
        )


def _games(tables: Tables, references: Mapping[str, ReferenceRow]) -> Iterator[Sequence[object]]:
    final = last_of(tables.games, "game").itertuples()
    found = {(row.entry, row.game): _in_words(row, row.mean_return) for row in final}
    for entry, label in tables.labels.items():
        yield (label, *(found.get((entry, game), "no run") for game in references))
    yield ("teacher", *(f"{row.teacher_return:.2f}" for row in references.values()))
    yield ("random policy", *(f"{row.random_return:.2f}" for row in references.values()))

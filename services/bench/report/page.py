"""The report as one HTML page that needs no other file: images inline, light and dark."""

from __future__ import annotations

import html
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from services.bench.report.figures import Picture
from services.bench.report.score_arrays import SuiteScores
from services.bench.report.score_statistics import Tables, last_of
from services.bench.results import ReferenceRow, SessionRow
from services.bench.suite import Suite
from services.bench.sweeps import Sweep, in_words
from services.run_report.html_page import html_page, inline_image

_BODY = """<h1>{title}</h1>
<p>{notes}</p>
<ul>{remarks}</ul>
<h2>Final scores, best first</h2>
{scores}
{sweeps}
{figures}
<h2>Returns of the final weights in each game: mean over seeds and 95% interval</h2>
{games}
{judged}
<h2>Scale of the scores: 0 is the random policy, 1 the teacher</h2>
{references}
<h2>How the runs were made</h2>
<p>Seeds of each entry and game: {seeds}.</p>
{sessions}
<p>Raw scores: evaluations.csv and references.csv in the suite's folder results/, and
judged_episodes.csv if the environment has metrics besides the return.
Numbers of the figures: the CSV files in this page's folder, and summary.json.</p>"""
_NOT_RECORDED = "The commands and the versions of the code were not recorded."
_JUDGED = "Episodes of the final weights; differences are from the teacher's on the same seeds"


def make_page(
    suite: Suite,
    tables: Tables,
    scores: SuiteScores,
    pictures: Sequence[Picture],
    remarks: Sequence[str],
    judged: pd.DataFrame,
    folder: Path,
    sweeps: Sequence[tuple[Sweep, pd.DataFrame]],
) -> str:
    """Write the page.

    Args:
        suite: Title and notes.
        tables: Scores.
        scores: The runs' scores, from which the tables were computed.
        pictures: The figures.
        remarks: Caveats that a reader must know.
        judged: Table of the environment's metrics; may be empty.
        folder: Folder of the figures' files.
        sweeps: The suite's sweeps that have scores, each with its table.

    Returns:
        A complete HTML document.
    """
    references = scores.references
    body = _BODY.format(
        title=html.escape(suite.title),
        notes=html.escape(suite.notes),
        remarks="".join(f"<li><mark>{html.escape(remark)}</mark>" for remark in remarks),
        scores=_html(_scores(tables, scores)),
        sweeps="\n".join(_sweep(sweep, table) for sweep, table in sweeps),
        figures="\n".join(_figure(picture, folder) for picture in pictures),
        games=_html(_games(tables, references)),
        judged=f"<h2>{_JUDGED}</h2>\n{_html(judged)}" if len(judged) else "",
        references=_html(_references(references)),
        seeds=", ".join(map(str, suite.seeds)),
        sessions="\n".join(map(_session, scores.sessions)) or f"<p>{_NOT_RECORDED}</p>",
    )
    return html_page(suite.title, body)


def _session(row: SessionRow) -> str:
    made = f"Runs: {row.runs}. Code: {row.code}. Hardware: {row.hardware}."
    return f"<pre>{html.escape(row.command)}</pre>\n<p>{html.escape(made)}</p>"


def _figure(picture: Picture, folder: Path) -> str:
    image = inline_image(folder / picture.file, picture.title)
    return (
        f"<h2>{html.escape(picture.title)}</h2>\n"
        f"<figure>{image}<figcaption>{html.escape(picture.caption)}</figcaption></figure>"
    )


def _html(table: pd.DataFrame) -> str:
    shown = table.astype(object).where(table.notna(), "unknown")
    with pd.option_context("display.max_colwidth", None):
        text: str = shown.to_html(
            index=False, border=0, justify="left", float_format="{:.4g}".format
        )
    return text


def _in_words(table: pd.DataFrame, name: str) -> list[str]:
    """The estimates in that column, with their intervals if there is more than one seed."""
    words = []
    for row in table.to_dict("records"):
        interval = f" ({row['low']:.3f} to {row['high']:.3f})" if row["seeds"] > 1 else ""
        words.append(f"{row[name]:.3f}{interval}")
    return words


def _scores(tables: Tables, scores: SuiteScores) -> pd.DataFrame:
    facts = {one.entry: one.facts for one in scores.entries}
    final = last_of(tables.iqm_curve)
    return pd.DataFrame(
        {
            "entry": tables.labels.values(),
            "IQM (95% interval)": _in_words(final, "iqm"),
            "better than teacher": _in_words(tables.improvement, "probability"),
            **final[["games", "seeds"]].to_dict("list"),
            "after": [_learned(facts[entry]) for entry in final["entry"]],
        }
    )


def _learned(facts: Mapping[str, Any]) -> str:
    """The updates and frames after which an entry's final scores were measured."""
    offline, online = facts["offline_updates"], facts["online_updates"]
    return f"{offline:,} offline updates, {online:,} online updates, {facts['frames']:,} frames"


def _sweep(sweep: Sweep, table: pd.DataFrame) -> str:
    shown = pd.DataFrame(
        {
            **{setting: table[setting].map(in_words) for setting in sweep.settings},
            "IQM (95% interval)": _in_words(table, "iqm"),
            **table[["games", "seeds", "frames"]].to_dict("list"),
        }
    )
    return f"<h2>{html.escape(sweep.label)}: each value</h2>\n{_html(shown)}"


def _games(tables: Tables, references: Mapping[str, ReferenceRow]) -> pd.DataFrame:
    final = last_of(tables.games, "game")
    found = final.assign(shown=_in_words(final, "mean_return"))
    by_game = found.pivot(index="entry", columns="game", values="shown")
    ordered = by_game.reindex(index=[*tables.labels], columns=[*references]).fillna("no run")
    return ordered.rename(index=tables.labels).rename_axis(columns=None).reset_index()


def _references(references: Mapping[str, ReferenceRow]) -> pd.DataFrame:
    """A table with a column per game, as there are fewer games than fields."""
    by_game = pd.DataFrame(references.values(), dtype=object).set_index("game").T
    words = by_game.rename(index=lambda field: field.replace("_", " "))
    return words.rename_axis(columns=None, index="game").reset_index()

"""The report as one HTML page that needs no other file: images inline, light and dark."""

from __future__ import annotations

import base64
import html
from collections.abc import Mapping, Sequence
from pathlib import Path

import pandas as pd

from services.bench.report.figures import Picture
from services.bench.report.tables import Tables, last_of
from services.bench.results import ReferenceRow
from services.bench.suite import Suite
from services.bench.sweeps import Sweep, in_words

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
{sweeps}
{figures}
<h2>Returns of the final weights in each game: mean over seeds and 95% interval</h2>
{games}
{judged}
<h2>What scores are measured by: 0 is the random policy, 1 the teacher</h2>
{references}
<p>Raw scores: evaluations.csv and references.csv of results/ beside suite.toml, and
judged_episodes.csv where the environment judges episodes by more than the return.
Numbers of the figures: the CSV files beside this page, and summary.json.</p>
</html>
"""


_JUDGED = "Episodes of the final weights; differences are from the teacher's on the same seeds"


def make_page(
    suite: Suite,
    tables: Tables,
    references: Mapping[str, ReferenceRow],
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
        references: Game -> what its scores are measured by.
        pictures: The figures.
        remarks: What a reader must know before believing the numbers.
        judged: What the environment judges episodes by; may be empty.
        folder: Where the figures' files are.
        sweeps: The suite's that have scores, each with its table.

    Returns:
        A whole HTML document.
    """
    return _PAGE.format(
        title=html.escape(suite.title),
        notes=html.escape(suite.notes),
        remarks="".join(f"<li><mark>{html.escape(remark)}</mark>" for remark in remarks),
        scores=_html(_scores(tables)),
        sweeps="\n".join(_sweep(sweep, table) for sweep, table in sweeps),
        figures="\n".join(_figure(picture, folder) for picture in pictures),
        games=_html(_games(tables, references)),
        judged=f"<h2>{_JUDGED}</h2>\n{_html(judged)}" if len(judged) else "",
        references=_html(pd.DataFrame(references.values())),
    )


def _figure(picture: Picture, folder: Path) -> str:
    data = base64.b64encode((folder / picture.file).read_bytes()).decode()
    return (
        f"<h2>{html.escape(picture.title)}</h2>\n"
        f'<figure><img src="data:image/png;base64,{data}" alt="{html.escape(picture.title)}">'
        f"<figcaption>{html.escape(picture.caption)}</figcaption></figure>"
    )


def _html(table: pd.DataFrame) -> str:
    shown = table.astype(object).where(table.notna(), "unknown")
    with pd.option_context("display.max_colwidth", None):
        text = shown.to_html(index=False, border=0, justify="left", float_format="{:.4g}".format)
    return f"<div>{text}</div>"


def _in_words(table: pd.DataFrame, name: str) -> list[str]:
    """The estimates of that name, with their intervals where there are any."""
    words = []
    for row in table.to_dict("records"):
        interval = f" ({row['low']:.3f} to {row['high']:.3f})" if row["seeds"] > 1 else ""
        words.append(f"{row[name]:.3f}{interval}")
    return words


def _scores(tables: Tables) -> pd.DataFrame:
    final = last_of(tables.iqm_curve)
    return pd.DataFrame(
        {
            "entry": tables.labels.values(),
            "IQM (95% interval)": _in_words(final, "iqm"),
            "better than teacher": _in_words(tables.improvement, "probability"),
            **final[["games", "seeds", "frames"]].to_dict("list"),
        }
    )


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

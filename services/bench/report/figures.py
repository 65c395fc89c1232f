"""The figures of a report, as PNGs. An entry has the same colour in all of them."""

from __future__ import annotations

import dataclasses
import itertools
import textwrap
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pandas as pd
from cycler import cycler
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import EngFormatter, MaxNLocator

from services.bench.report.score_arrays import SuiteScores
from services.bench.report.score_statistics import Tables, last_of
from services.bench.report.sweep_figures import draw_sweep
from services.bench.suite import Suite
from services.bench.sweeps import Sweep, last_part

# Okabe and Ito's colours, which colour-blind readers can distinguish; then other line styles.
_COLORS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#8a6d00")
_STYLES = cycler(linestyle=("-", "--", "-.", ":")) * cycler(color=_COLORS)
_TEACHER: dict[str, Any] = {"color": "#1b1b1b", "label": "teacher"}
_RANDOM: dict[str, Any] = {"color": "#7a7a7a", "linestyle": ":", "label": "random policy"}
_IQM = "IQM of teacher-normalised scores"
_COLUMNS = 3
_REMARK_CHARACTERS = 140


@dataclasses.dataclass(frozen=True)
class Picture:
    """One figure of the report.

    Attributes:
        file: Name of its file.
        title: Heading of the figure.
        caption: What the figure shows, and from how many games, seeds and episodes.
    """

    file: str
    title: str
    caption: str


class Painter:
    """Draws a suite's figures.

    Args:
        suite: The suite, with the order of the entries.
        tables: The numbers to draw.
        scores: The runs' scores, from which the tables were computed.
        remark: A sentence for all figures and captions; may be empty.
    """

    def __init__(self, suite: Suite, tables: Tables, scores: SuiteScores, remark: str) -> None:
        self._tables, self._scores, self._remark = tables, scores, remark
        styles: Iterator[dict[str, Any]] = itertools.cycle(_STYLES)
        self._styles = dict(zip(suite.entries, styles, strict=False))

    def draw_all(self, folder: Path, sweeps: Sequence[tuple[Sweep, pd.DataFrame]]) -> list[Picture]:
        """Draw every figure into a folder.

        Args:
            folder: Folder for the files.
            sweeps: The suite's sweeps that have scores, each with its table.
        """
        pictures = []
        for draw, file, title, caption in (
            (self._curve, "iqm_curve.png", "Score against frames",
             "Interquartile mean over runs, 0: the random policy, 1: the teacher; against "
             "environment frames played online."),
            (self._final, "final_iqm.png", "Final scores",
             "Interquartile mean of the final weights' scores, 0: the random policy, 1: the "
             "teacher."),
            (self._profiles, "performance_profiles.png", "Performance profiles",
             "Share of runs whose final weights score above a threshold (score distributions)."),
            (self._improvement, "improvement.png", "Probability of improvement over the teacher",
             "Probability that a run's final weights score above their teacher, averaged over "
             "games; a tie counts half."),
            (self._games, "games.png", "Each game",
             "Mean return over seeds, against environment frames played online."),
        ):  # fmt: skip
            picture = Picture(file, title, f"{caption} {self._behind()}")
            pictures.append(picture)
            figure = Figure(figsize=(10.0, 6.0), layout="constrained")
            draw(figure)
            self._save(figure, folder / picture.file)
        for sweep, table in sweeps:
            picture = Picture(
                f"sweep_{sweep.entry}.png",
                f"{sweep.label}: the effect of {' and '.join(map(last_part, sweep.settings))}",
                "Interquartile mean of the final weights' scores, 0: the random policy, 1: the "
                f"teacher; against {sweep.settings[0]}. {self._behind()}",
            )
            pictures.append(picture)
            figure = Figure(figsize=(10.0, 6.0), layout="constrained")
            self._sweep(figure, sweep, table)
            self._save(figure, folder / picture.file)
        return pictures

    def _sweep(self, figure: Figure, sweep: Sweep, table: pd.DataFrame) -> None:
        axes = figure.subplots()
        axes.axhline(1.0, **_TEACHER)
        axes.axhline(0.0, **_RANDOM)
        axes.set(xlabel=sweep.settings[0], ylabel=_IQM)
        draw_sweep(axes, sweep, table, _STYLES)

    def _curve(self, figure: Figure) -> None:
        axes = figure.subplots()
        axes.axhline(1.0, **_TEACHER)
        axes.axhline(0.0, **_RANDOM)
        axes.set_ylabel(_IQM)
        self._draw_curves(axes, self._tables.iqm_curve, "iqm")

    def _final(self, figure: Figure) -> None:
        axes = self._draw_bars(figure, last_of(self._tables.iqm_curve), "iqm", _IQM)
        axes.axvline(1.0, **_TEACHER)
        axes.axvline(0.0, **_RANDOM)

    def _profiles(self, figure: Figure) -> None:
        axes = figure.subplots()
        axes.axvline(1.0, **_TEACHER)
        axes.set(xlabel="teacher-normalised score", ylabel="share of runs with a score above it")
        self._draw_lines(axes, self._tables.performance_profiles, "threshold", "share")

    def _improvement(self, figure: Figure) -> None:
        table = self._tables.improvement
        axes = self._draw_bars(figure, table, "probability", "P(score above the teacher's)")
        axes.axvline(0.5, **_TEACHER)
        axes.set_xlim(-0.02, 1.02)

    def _games(self, figure: Figure) -> None:
        returns = self._tables.games
        games = [game for game in self._scores.references if (returns["game"] == game).any()]
        columns = min(_COLUMNS, len(games))
        rows = -(-len(games) // columns)
        figure.set_figheight(1.5 + 3.2 * rows)
        grid = figure.subplots(rows, columns, squeeze=False)
        for axes, game in itertools.zip_longest(grid.flat, games):
            if game is None:
                axes.remove()
                continue
            reference = self._scores.references[game]
            axes.axhline(reference.teacher_return, **_TEACHER)
            axes.axhline(reference.random_return, **_RANDOM)
            axes.set_title(game)
            self._draw_curves(axes, returns[returns["game"] == game], "mean_return")

    def _draw_curves(self, axes: Axes, table: pd.DataFrame, value: str) -> None:
        self._draw_lines(axes, table, "frames", value, marker=".")
        axes.set_xlabel("environment frames")
        axes.xaxis.set_major_formatter(EngFormatter(sep=""))
        axes.xaxis.set_major_locator(MaxNLocator(nbins=5))

    def _draw_lines(
        self, axes: Axes, table: pd.DataFrame, key: str, value: str, marker: str = ""
    ) -> None:
        for entry, rows in table.groupby("entry", sort=False):
            style = self._styles[entry]
            axes.plot(
                rows[key], rows[value], label=self._tables.labels[entry], marker=marker, **style
            )
            axes.fill_between(rows[key], rows["low"], rows["high"], color=style["color"], alpha=0.2)

    def _draw_bars(self, figure: Figure, table: pd.DataFrame, value: str, name: str) -> Axes:
        figure.set_figheight(2.5 + 0.4 * len(table))
        axes = figure.subplots()
        axes.set_xlabel(name)
        labels = [self._tables.labels[entry] for entry in table["entry"]]
        colors = [self._styles[entry]["color"] for entry in table["entry"]]
        axes.barh(labels, table["high"] - table["low"], left=table["low"], color=colors, alpha=0.75)
        axes.scatter(table[value], labels, marker="|", s=400, color="black", zorder=3)
        # Bars are drawn from the bottom up, but the best entry comes first.
        axes.invert_yaxis()
        return axes

    def _save(self, figure: Figure, file: Path) -> None:
        """Write a figure, with its legend on the right and the remark above."""
        lines: dict[str, Any] = {}
        for axes in figure.axes:
            handles, labels = axes.get_legend_handles_labels()
            lines |= dict(zip(labels, handles, strict=True))
        figure.legend(lines.values(), lines.keys(), loc="outside right upper", frameon=False)
        if self._remark:
            figure.suptitle(textwrap.fill(self._remark, _REMARK_CHARACTERS), fontsize="small")
        figure.savefig(file, dpi=110)

    def _behind(self) -> str:
        """The end of a caption: games, seeds and episodes of a figure, and its intervals."""
        facts = [entry.facts for entry in self._scores.entries]
        shown = {name: _range(one[name] for one in facts) for name in facts[0]}
        per_point = f"{shown['episodes']} per point, " if shown["episodes"] else ""
        alone = "; none for a single run" if min(one["seeds"] for one in facts) == 1 else ""
        return (
            f"Games: {shown['games']}, seeds: {shown['seeds']}. Evaluated in separate environments "
            f"with separate seeds, epsilon {shown['epsilon']}, episodes: {per_point}"
            f"{shown['final_episodes']} of the final weights. 95% stratified bootstrap intervals "
            f"over runs ({self._tables.resamples:,} resamples{alone}). {self._remark}"
        ).strip()


def _range(numbers: Iterable[float | None]) -> str:
    """The range of the known numbers, "least to largest"; empty if none is known."""
    values = sorted({number for number in numbers if number is not None})
    return " to ".join(f"{value:g}" for value in dict.fromkeys((*values[:1], *values[-1:])))

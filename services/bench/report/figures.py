"""The figures of a report: rliable's plots as PNGs. An entry has the same colour in all of them."""

from __future__ import annotations

import dataclasses
import itertools
import textwrap
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib import pyplot
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import EngFormatter, MaxNLocator
from numpy.typing import NDArray
from rliable import plot_utils

from services.bench.report.statistics import Array, Estimates, SuiteStatistics

# Okabe and Ito's colours, which colour-blind readers can tell apart; then in other lines.
_COLORS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#8a6d00")
_LINES = ("-", "--", "-.", ":")
_TEACHER: dict[str, Any] = {"color": "#1b1b1b", "label": "teacher"}
_RANDOM: dict[str, Any] = {"color": "#7a7a7a", "linestyle": ":", "label": "random policy"}
_FONTS = {"labelsize": "medium", "ticklabelsize": "medium"}
_BESIDE = {"loc": "upper left", "bbox_to_anchor": (1.0, 1.0), "frameon": False}
_SIZE, _COLUMNS = (9.0, 5.0), 3
_CAPTION_CHARACTERS = 140


@dataclasses.dataclass(frozen=True)
class Picture:
    """One figure of the report.

    Attributes:
        file: Its name.
        title: Its heading.
        caption: What is behind it; stands in the image, too.
    """

    file: str
    title: str
    caption: str


class Painter:
    """Draws a suite's figures.

    Args:
        statistics: What is drawn.
        remark: A sentence for all captions; empty for none.
    """

    def __init__(self, statistics: SuiteStatistics, remark: str = "") -> None:
        self._statistics, self._remark = statistics, remark
        self._entries = {entry.label: entry for entry in statistics.entries}
        styles = [(color, line) for line in _LINES for color in _COLORS]
        placed = {label: styles[one.place % len(styles)] for label, one in self._entries.items()}
        self._colors = {label: color for label, (color, _) in placed.items()}
        self._lines = {label: line for label, (_, line) in placed.items()}

    def draw_all(self, folder: Path) -> list[Picture]:
        """Draw every figure into a folder."""
        # No window, whatever the user's settings are.
        pyplot.switch_backend("agg")
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
            _save(draw(), picture, folder)
        return pictures

    def _curve(self) -> Figure:
        figure, axes = pyplot.subplots(figsize=_SIZE)
        axes.axhline(1.0, **_TEACHER)
        axes.axhline(0.0, **_RANDOM)
        for label, entry in self._entries.items():
            self._draw_curve(axes, label, entry.scores.frames, entry.iqm)
        axes.set_ylabel("IQM of teacher-normalised scores")
        axes.legend(**_BESIDE)
        return figure

    def _final(self) -> Figure:
        figure, axes = self._draw_bars("final_iqm", "IQM of teacher-normalised scores")
        axes.axvline(1.0, **_TEACHER)
        axes.axvline(0.0, **_RANDOM)
        return figure

    def _improvement(self) -> Figure:
        figure, axes = self._draw_bars("improvement", "P(score above the teacher's)")
        axes.set_xlim(-0.02, 1.02)
        axes.axvline(0.5, **_RANDOM)
        return figure

    def _profiles(self) -> Figure:
        figure, axes = pyplot.subplots(figsize=_SIZE)
        axes.axvline(1.0, **_TEACHER)
        profiles, intervals = self._estimates("profile")
        plot_utils.plot_performance_profiles(
            profiles,
            self._statistics.thresholds,
            intervals,
            ax=axes,
            colors=self._colors,
            linestyles=self._lines,
            xlabel=r"teacher-normalised score $\tau$",
            ylabel=r"share of runs with a score above $\tau$",
            **_FONTS,
        )
        axes.legend(**_BESIDE)
        return figure

    def _games(self) -> Figure:
        played = {game for entry in self._entries.values() for game in entry.games}
        games = [game for game in self._statistics.references if game in played]
        columns = min(_COLUMNS, len(games))
        rows = -(-len(games) // columns)
        figure, grid = pyplot.subplots(rows, columns, figsize=(10.0, 3.2 * rows), squeeze=False)
        figure.subplots_adjust(hspace=0.7, wspace=0.35)
        for axes, game in itertools.zip_longest(grid.flat, games):
            if game is None:
                axes.remove()
            else:
                self._draw_game(axes, game)
        figure.axes[0].legend(loc="lower left", bbox_to_anchor=(0.0, 1.2), ncols=4, frameon=False)
        return figure

    def _draw_game(self, axes: Axes, game: str) -> None:
        reference = self._statistics.references[game]
        axes.axhline(reference.teacher_return, **_TEACHER)
        axes.axhline(reference.random_return, **_RANDOM)
        for label, entry in self._entries.items():
            # What has no run of this game has a place in the legend, which is the first game's.
            found = entry.games.get(game, np.empty((3, 0)))
            self._draw_curve(axes, label, entry.scores.frames[: found.shape[1]], found)
        axes.set_title(game)

    def _draw_curve(
        self, axes: Axes, label: str, frames: NDArray[np.int64], estimates: Estimates
    ) -> None:
        plot_utils.plot_sample_efficiency_curve(
            frames,
            {label: estimates[0]},
            {label: estimates[1:]},
            colors=self._colors,
            xlabel="environment frames",
            ylabel="",
            ax=axes,
            marker=".",
            **_FONTS,
        )
        pyplot.setp(axes.lines[-1], linestyle=self._lines[label])
        axes.xaxis.set_major_formatter(EngFormatter(sep=""))
        axes.xaxis.set_major_locator(MaxNLocator(nbins=5))

    def _draw_bars(self, statistic: str, name: str) -> tuple[Figure, Axes]:
        figure, axes = plot_utils.plot_interval_estimates(
            *self._estimates(statistic),
            metric_names=[name],
            colors=self._colors,
            subfigure_width=_SIZE[0],
            # rliable's label of the axis covers its numbers where there are few entries.
            xlabel="",
        )
        # rliable draws from below, and the best comes first.
        axes.invert_yaxis()
        return figure, axes

    def _estimates(self, statistic: str) -> tuple[dict[str, Array], dict[str, Array]]:
        """Points and intervals of a statistic, as rliable takes them."""
        found = {label: getattr(entry, statistic) for label, entry in self._entries.items()}
        return (
            {label: estimates[0] for label, estimates in found.items()},
            {label: estimates[1:] for label, estimates in found.items()},
        )

    def _behind(self) -> str:
        """How much play is behind a figure, and what its intervals are."""
        scores = [entry.scores for entry in self._entries.values()]
        during = [one.episodes for one in scores if one.episodes is not None]
        final = f"{_range(one.final_episodes for one in scores)} of the final weights"
        alone = (
            "; none where there is one run" if min(one.repetitions for one in scores) == 1 else ""
        )
        return (
            f"Games: {_range(len(one.games) for one in scores)}, "
            f"seeds: {_range(one.repetitions for one in scores)}. Evaluation in environments and "
            f"with seeds of its own, epsilon {_range(one.epsilon for one in scores)}, episodes: "
            f"{f'{_range(during)} per point, ' if during else ''}{final}. 95% stratified "
            f"bootstrap intervals over runs ({self._statistics.resamples:,} resamples{alone}). "
            f"{self._remark}"
        ).strip()


def _range(numbers: Iterable[float]) -> str:
    values = sorted(set(numbers))
    return f"{values[0]:g}" if len(values) == 1 else f"{values[0]:g} to {values[-1]:g}"


def _save(figure: Figure, picture: Picture, folder: Path) -> None:
    """Write a figure with its heading above and its caption below."""
    width, height = figure.get_size_inches()
    box = figure.get_tightbbox()
    caption = textwrap.fill(picture.caption, _CAPTION_CHARACTERS)
    left = box.x0 / width
    figure.text(left, (box.y1 + 0.1) / height, picture.title, fontweight="bold")
    figure.text(left, (box.y0 - 0.1) / height, caption, fontsize="small", va="top")
    figure.savefig(folder / picture.file, dpi=110, bbox_inches="tight")
    pyplot.close(figure)

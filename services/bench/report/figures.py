"""The figures of a report, as PNGs. An entry has the same colour and dash in all of them."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes

from services.bench.report.aggregates import Aggregates, EntryAggregates
from services.bench.report.captions import interval_over_runs, interval_over_seeds, play_behind
from services.bench.report.drawing import (
    RANDOM,
    TEACHER,
    Picture,
    canvas,
    frames_axis,
    interval_bar,
    name_line,
    panels,
    save,
)
from services.bench.results import ReferenceRow
from services.bench.suite import Suite

# Okabe and Ito's colours, which colour-blind readers can tell apart, then dashed ones.
_COLORS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#8a6d00")
_DASHES = ("-", "--", "-.", ":")
_COLUMNS = 3


class Painter:
    """Draws a suite's figures.

    Args:
        suite: Labels and the order that colours follow.
        aggregates: What is drawn.
        references: Game -> random policy and teacher.
        remark: A sentence for all captions; empty for none.
    """

    def __init__(
        self,
        suite: Suite,
        aggregates: Aggregates,
        references: Mapping[str, ReferenceRow],
        remark: str = "",
    ) -> None:
        self._suite = suite
        self._aggregates = aggregates
        self._references = references
        self._remark = remark
        self._styles = {
            entry.name: (_COLORS[index % len(_COLORS)], _DASHES[index // len(_COLORS) % 4])
            for index, entry in enumerate(suite.entries)
        }

    def draw_all(self, folder: Path) -> tuple[Picture, ...]:
        """Draw every figure into a folder."""
        return (
            self._curve(folder),
            self._final(folder),
            self._profiles(folder),
            self._improvement(folder),
            self._games(folder),
        )

    def _curve(self, folder: Path) -> Picture:
        figure, axes = canvas(5.6)
        axes.axhline(1.0, color=TEACHER, linewidth=1.2)
        axes.axhline(0.0, color=RANDOM, linewidth=1.2, linestyle=":")
        for entry in self._aggregates.entries:
            color, dash = self._styles[entry.entry]
            x, iqm = entry.scores.frames, entry.iqm
            axes.fill_between(x, iqm.low, iqm.high, color=color, alpha=0.13, linewidth=0)
            axes.plot(x, iqm.point, dash, color=color, label=self._label(entry), linewidth=1.8)
        frames_axis(axes)
        axes.set_ylabel("IQM of teacher-normalised scores")
        name_line(axes, 1.0, "teacher", TEACHER)
        name_line(axes, 0.0, "random", RANDOM)
        axes.legend(loc="upper left", bbox_to_anchor=(1.09, 1.0), frameon=False)
        caption = (
            "Interquartile mean over runs, 0: the random policy, 1: the teacher; against "
            "environment frames played online. "
            + self._behind(interval_over_runs(self._aggregates))
        )
        picture = Picture(
            file="iqm_curve.png",
            title="Score against frames",
            caption=caption,
            alternative="Curves of the interquartile mean against frames. At the end: "
            + self._ranking(),
        )
        return save(figure, picture, folder, right=0.72)

    def _final(self, folder: Path) -> Picture:
        figure, axes = canvas(2.3 + 0.36 * len(self._aggregates.entries))
        axes.axvline(1.0, color=TEACHER, linewidth=1.2)
        axes.axvline(0.0, color=RANDOM, linewidth=1.2, linestyle=":")
        for row, entry in enumerate(self._aggregates.entries):
            point, low, high = entry.final_iqm
            interval_bar(axes, row, (point, low, high), self._styles[entry.entry][0])
        self._name_rows(axes)
        axes.set_xlabel("IQM of teacher-normalised scores (random 0, teacher 1)")
        caption = "Interquartile mean of the final weights' scores. " + self._behind(
            interval_over_runs(self._aggregates)
        )
        picture = Picture(
            file="final_iqm.png",
            title="Final scores",
            caption=caption,
            alternative="Final interquartile means with intervals. " + self._ranking(),
        )
        return save(figure, picture, folder, left=0.24, right=0.93)

    def _profiles(self, folder: Path) -> Picture:
        figure, axes = canvas(5.2)
        axes.axvline(1.0, color=TEACHER, linewidth=1.2)
        taus = self._aggregates.thresholds
        for entry in self._aggregates.entries:
            color, dash = self._styles[entry.entry]
            axes.fill_between(
                taus, entry.profile.low, entry.profile.high, color=color, alpha=0.10, linewidth=0
            )
            label = self._label(entry)
            axes.plot(taus, entry.profile.point, dash, color=color, label=label, linewidth=1.8)
        axes.set_xlabel("teacher-normalised score $\\tau$")
        axes.set_ylabel("share of runs with a score above $\\tau$")
        axes.set_ylim(-0.02, 1.02)
        axes.legend(loc="upper left", bbox_to_anchor=(1.02, 1.0), frameon=False)
        caption = (
            "Performance profiles (score distributions) of the final weights; the vertical line is "
            f"the teacher. {self._behind(interval_over_runs(self._aggregates))}"
        )
        shares = "; ".join(
            f"{self._label(entry)} {np.mean(entry.scores.final > 1.0):.0%}"
            for entry in self._aggregates.entries
        )
        picture = Picture(
            file="performance_profiles.png",
            title="Performance profiles",
            caption=caption,
            alternative=f"Performance profiles. Share of runs above their teacher: {shares}.",
        )
        return save(figure, picture, folder, right=0.76)

    def _improvement(self, folder: Path) -> Picture:
        figure, axes = canvas(2.3 + 0.36 * len(self._aggregates.entries))
        axes.axvline(0.5, color=RANDOM, linewidth=1.2, linestyle=":")
        values = []
        for row, entry in enumerate(self._aggregates.entries):
            found = entry.improvement
            ends = (float(found.point[0]), float(found.low[0]), float(found.high[0]))
            interval_bar(axes, row, ends, self._styles[entry.entry][0])
            values.append(f"{self._label(entry)} {_in_words(entry, ends)}")
        self._name_rows(axes)
        axes.set_xlim(-0.03, 1.03)
        axes.set_xlabel("probability of a score above the teacher's")
        caption = (
            "Probability that a run's final weights score above their teacher, averaged over "
            f"games; a tie counts half. {self._behind(interval_over_runs(self._aggregates))}"
        )
        picture = Picture(
            file="improvement.png",
            title="Probability of improvement over the teacher",
            caption=caption,
            alternative=f"Probability of improvement over the teacher: {'; '.join(values)}.",
        )
        return save(figure, picture, folder, left=0.24, right=0.93)

    def _games(self, folder: Path) -> Picture:
        games = [game for game in self._suite.games if game in self._references]
        rows = -(-len(games) // _COLUMNS)
        figure, grid = panels(len(games), columns=_COLUMNS, height=1.6 + 2.8 * rows)
        for axes, game in zip(grid, games, strict=True):
            self._game(axes, game)
        handles, labels = grid[0].get_legend_handles_labels()
        figure.legend(handles, labels, loc="upper center", ncols=min(5, len(labels)), frameon=False)
        caption = (
            "Mean return over seeds, against environment frames played online; black line: "
            "teacher, dotted line: random policy. "
            + self._behind(interval_over_seeds(self._aggregates))
        )
        picture = Picture(
            file="games.png",
            title="Each game",
            caption=caption,
            alternative="Curves of the mean return of each game: " + ", ".join(games) + ". The "
            "numbers at the end stand in the table of games.",
        )
        legend_rows = -(-len(labels) // 5)
        top = 1.0 - (0.35 + 0.22 * legend_rows) / figure.get_size_inches()[1]
        figure.subplots_adjust(hspace=0.42, wspace=0.28, top=top)
        return save(figure, picture, folder, right=0.98, top=top)

    def _game(self, axes: Axes, game: str) -> None:
        reference = self._references[game]
        axes.axhline(reference.teacher_return, color=TEACHER, linewidth=1.2)
        axes.axhline(reference.random_return, color=RANDOM, linewidth=1.2, linestyle=":")
        for entry in self._aggregates.entries:
            # Each has a handle in the first panel, for the legend that all share.
            color, dash = self._styles[entry.entry]
            found = entry.games.get(game)
            if found is None:
                axes.plot([], [], dash, color=color, label=self._label(entry))
                continue
            x = entry.scores.frames
            axes.fill_between(x, found.low, found.high, color=color, alpha=0.13, linewidth=0)
            axes.plot(x, found.point, dash, color=color, label=self._label(entry), linewidth=1.5)
        axes.set_title(game, fontsize=10)
        frames_axis(axes, ticks=4, label="environment frames")
        if not any(game in entry.games for entry in self._aggregates.entries):
            axes.set_xticks([])
            axes.set_xlabel("no finished run yet")

    def _name_rows(self, axes: Axes) -> None:
        entries = self._aggregates.entries
        axes.set_yticks(range(len(entries)), [self._label(entry) for entry in entries])
        axes.set_ylim(len(entries) - 0.5, -0.5)

    def _label(self, entry: EntryAggregates) -> str:
        label = self._suite.label_of(entry.entry)
        played, asked = len(entry.scores.games), len(self._suite.games)
        # Fewer games than the others: not the same task.
        return label if played == asked else f"{label} ({played}/{asked} games)"

    def _ranking(self) -> str:
        return "; ".join(
            f"{self._label(entry)} {_in_words(entry, entry.final_iqm)}"
            for entry in self._aggregates.entries
        )

    def _behind(self, interval: str) -> str:
        words = (play_behind(self._aggregates), interval, self._remark)
        return " ".join(word for word in words if word)


def _in_words(entry: EntryAggregates, ends: tuple[float, float, float]) -> str:
    """A point, and its interval where there is one."""
    point, low, high = ends
    return f"{point:.2f} ({low:.2f} to {high:.2f})" if entry.has_intervals else f"{point:.2f}"

"""How figures of a report are drawn: sizes, axes, intervals, captions."""

from __future__ import annotations

import dataclasses
import textwrap
from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import EngFormatter, MaxNLocator

TEACHER, RANDOM, WORDS = "#1b1b1b", "#7a7a7a", "#444444"
"""Colours of the teacher's line, the random policy's, and of small print."""

_WIDTH = 10.0
_DPI = 110
_CAPTION_CHARACTERS = 160


@dataclasses.dataclass(frozen=True, kw_only=True)
class Picture:
    """One figure of the report.

    Attributes:
        file: Its name.
        title: Its heading.
        caption: What is behind it; stands in the image, too.
        alternative: What it shows, for readers who cannot see it.
    """

    file: str
    title: str
    caption: str
    alternative: str


def canvas(height: float) -> tuple[Figure, Axes]:
    """A figure with one panel.

    Args:
        height: In inches.
    """
    figure, (axes,) = panels(1, columns=1, height=height)
    return figure, axes


def panels(count: int, *, columns: int, height: float) -> tuple[Figure, list[Axes]]:
    """A figure with a panel for each of several things.

    Args:
        count: Panels, at least 1.
        columns: Panels beside each other, at most.
        height: Of the figure, in inches.
    """
    columns = min(columns, count)
    figure = Figure(figsize=(_WIDTH, height), dpi=_DPI)
    FigureCanvasAgg(figure)
    grid = figure.subplots(-(-count // columns), columns, squeeze=False).ravel()
    for unused in grid[count:]:
        unused.set_axis_off()
    return figure, list(grid[:count])


def interval_bar(axes: Axes, row: int, ends: tuple[float, float, float], color: str) -> None:
    """One estimate with its interval in a row of its own.

    Args:
        axes: Where.
        row: Height of the row.
        ends: Point, lower and upper end.
        color: Of both.
    """
    point, low, high = ends
    axes.barh(row, high - low, left=low, height=0.5, color=color, alpha=0.3, linewidth=0)
    axes.plot([point, point], [row - 0.3, row + 0.3], color=color, linewidth=2.5)
    axes.annotate(
        f"{point:.2f}", xy=(1.01, row), xycoords=("axes fraction", "data"), va="center",
        color=WORDS, fontsize=9,
    )  # fmt: skip


def frames_axis(axes: Axes, *, ticks: int = 8, label: str = "environment frames") -> None:
    """Environment frames from left to right.

    Args:
        axes: Where.
        ticks: Numbers at most.
        label: Below them.
    """
    axes.xaxis.set_major_formatter(EngFormatter(sep=""))
    axes.xaxis.set_major_locator(MaxNLocator(nbins=ticks))
    axes.margins(x=0.01)
    axes.set_xlabel(label)


def name_line(axes: Axes, height: float, name: str, color: str) -> None:
    """A word at the right end of a horizontal line."""
    axes.annotate(
        name, xy=(1.0, height), xycoords=("axes fraction", "data"), xytext=(5, 0),
        textcoords="offset points", va="center", color=color, fontsize=9, annotation_clip=False,
    )  # fmt: skip


def save(
    figure: Figure,
    picture: Picture,
    folder: Path,
    *,
    left: float = 0.08,
    right: float = 0.95,
    top: float | None = None,
) -> Picture:
    """Add heading and caption, which take inches, not shares of the height; and write the file.

    Args:
        figure: What was drawn.
        picture: What it says.
        folder: Where its file goes.
        left: Left edge of the panels, as a share of the width.
        right: Their right edge.
        top: Their upper edge, as a share of the height, where something stands above them instead
            of the heading.

    Returns:
        The picture.
    """
    height = float(figure.get_size_inches()[1])
    lines = textwrap.wrap(picture.caption, _CAPTION_CHARACTERS)
    for axes in figure.axes:
        axes.grid(alpha=0.25)
        axes.set_axisbelow(True)
        axes.spines[["top", "right"]].set_visible(False)
    if top is None:
        figure.suptitle(
            picture.title, x=0.02, y=1.0 - 0.12 / height, ha="left", va="top", fontweight="bold"
        )
        top = 1.0 - 0.5 / height
    figure.text(
        0.02, 0.08 / height, "\n".join(lines), fontsize=8, color=WORDS, va="bottom", ha="left"
    )
    bottom = (0.65 + 0.15 * len(lines)) / height
    figure.subplots_adjust(left=left, right=right, top=top, bottom=bottom)
    figure.savefig(folder / picture.file)
    return picture

"""Draws a run's learning curve.

Two panels share the return axis, as in the paper of reincarnating RL: the left one shows the
updates on the teacher's data (offline); the right one shows the student's own play (online) against
environment frames, and the baseline for comparison. A run without offline updates has only the
right panel. If the distillation weight (lambda) changes, a strip below the panels shows it.

Error bands are 95% bootstrap intervals of the mean over the episodes of one evaluation.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import EngFormatter, MaxNLocator

from services.run_report.learning_curve import CurvePoint, LearningCurve, split_stages

_STUDENT, _BASELINE, _TEACHER, _RANDOM = "#0b5fa5", "#c8641e", "#2e7d32", "#6b6b6b"


def draw_learning_curve(curve: LearningCurve, path: Path) -> None:
    """Draw the curve as a PNG.

    Args:
        curve: The curve to draw.
        path: The file to write.
    """
    before, after = split_stages(curve.student)
    stages = [(True, before)] if before else []
    if after or curve.baseline:
        stages.append((False, after))
    weighted = _weaning_changes(curve.student)
    figure = Figure(figsize=(10.0, 6.2 if weighted else 5.2), dpi=110)
    FigureCanvasAgg(figure)
    grid = figure.subplots(
        2 if weighted else 1,
        len(stages),
        squeeze=False,
        sharex="col",
        sharey="row",
        gridspec_kw={
            "width_ratios": [1, 2] if len(stages) == 2 else [1],
            "height_ratios": [5, 1] if weighted else [1],
            "wspace": 0.03,
            "hspace": 0.08,
        },
    )
    for column, (offline, stage) in enumerate(stages):
        _draw_stage(grid[0][column], curve, stage, offline=offline)
        if weighted:
            _draw_weaning(grid[1][column], stage, offline=offline)
        _finish_column([row[column] for row in grid], offline=offline)
    grid[0][0].set_ylabel("mean return per episode")
    if weighted:
        grid[1][0].set_ylabel("$\\lambda$", rotation=0, va="center", labelpad=14)
    _label_references(grid[0][-1], curve)
    _draw_words(figure, grid[0][-1], curve)
    figure.savefig(path)


def _weaning_changes(points: Sequence[CurvePoint]) -> bool:
    return len({point.weaning_weight for point in points} - {None}) > 1


def _position(point: CurvePoint, *, offline: bool) -> int:
    return point.offline_updates if offline else point.frames


def _draw_stage(
    axes: Axes, curve: LearningCurve, stage: Sequence[CurvePoint], *, offline: bool
) -> None:
    axes.axhline(curve.teacher_return, color=_TEACHER, linestyle="--", linewidth=1.4)
    axes.axhline(curve.random_return, color=_RANDOM, linestyle=":", linewidth=1.4)
    if curve.baseline and not offline:
        _draw_series(axes, curve.baseline, curve.baseline_label, _BASELINE, ends=True)
    if stage:
        ends = stage[-1] is curve.student[-1]
        _draw_series(axes, stage, curve.student_label, _STUDENT, ends=ends, offline=offline)
    axes.set_title("offline: the teacher's data" if offline else "online: the student's own play")


def _draw_series(
    axes: Axes,
    points: Sequence[CurvePoint],
    label: str,
    color: str,
    *,
    ends: bool,
    offline: bool = False,
) -> None:
    """Draw one curve; if the run ends in it, the last point is a diamond with its own interval."""
    x = [_position(point, offline=offline) for point in points]
    # The final evaluation is often a second one of the last weights, with more episodes. Then two
    # points have the same x: the line ends at the first, and the diamond is the second.
    end = -1 if len(x) > 1 and x[-1] == x[-2] else None
    low, high = [point.low for point in points], [point.high for point in points]
    axes.fill_between(x[:end], low[:end], high[:end], color=color, alpha=0.15, linewidth=0)
    mean = [point.mean_return for point in points]
    axes.plot(x[:end], mean[:end], "o-", color=color, ms=4, label=label)
    if ends:
        axes.vlines(x[-1], low[-1], high[-1], color=color, linewidth=2.0)
        axes.plot(x[-1], mean[-1], "D", color=color, ms=8, mec="white", zorder=5)


def _draw_weaning(axes: Axes, stage: Sequence[CurvePoint], *, offline: bool) -> None:
    # The weight set by one evaluation holds until the next.
    known = [
        (_position(point, offline=offline), point.weaning_weight)
        for point in stage
        if point.weaning_weight is not None
    ]
    x, weights = [position for position, _ in known], [weight for _, weight in known]
    axes.step(x, weights, where="post", color=_STUDENT, linewidth=1.4)
    axes.set_ylim(-0.08, 1.08)
    axes.set_yticks([0, 1])


def _finish_column(column: Sequence[Axes], *, offline: bool) -> None:
    for axes in column:
        axes.grid(alpha=0.25)
        axes.spines[["top", "right"]].set_visible(False)
    bottom = column[-1]
    bottom.set_xlabel("gradient updates" if offline else "environment frames")
    bottom.xaxis.set_major_formatter(EngFormatter(sep=""))
    bottom.xaxis.set_major_locator(MaxNLocator(nbins=4 if offline else 8))
    bottom.margins(x=0.02)
    right = bottom.get_xlim()[1]
    bottom.set_xlim(-0.02 * right, right)


def _label_references(axes: Axes, curve: LearningCurve) -> None:
    lines = (("teacher", curve.teacher_return, _TEACHER), ("random", curve.random_return, _RANDOM))
    for name, value, color in lines:
        axes.annotate(
            f"{name}\n{value:.2f}",
            xy=(1.0, value),
            xycoords=("axes fraction", "data"),
            xytext=(6, 0),
            textcoords="offset points",
            color=color,
            va="center",
            annotation_clip=False,
        )


def _draw_words(figure: Figure, axes: Axes, curve: LearningCurve) -> None:
    figure.suptitle(curve.title, x=0.08, y=0.98, ha="left", fontsize=13, fontweight="bold")
    outcomes = {curve.student_label: curve.student[-1]}
    if curve.baseline:
        outcomes[curve.baseline_label] = curve.baseline[-1]
    handles, names = axes.get_legend_handles_labels()
    # The run comes first in the legend, although it is drawn last, on top.
    labels = [f"{name}: {outcomes[name].mean_return:.2f}" for name in names]
    # Below the title, which may be long; further left, to compensate for the legend's padding.
    figure.legend(
        handles[::-1], labels[::-1], loc="upper left", bbox_to_anchor=(0.07, 0.95), ncols=2,
        frameon=False,
    )  # fmt: skip
    figure.subplots_adjust(left=0.08, right=0.91, top=0.83, bottom=0.1)

"""The learning curve of a run: points from evaluations, and their drawing.

Two panels share the return axis, as the reincarnation papers draw it: on the left the updates on
the teacher's data (offline), on the right the student's own play (online), counted in environment
frames, which is where a run from scratch can be compared. A run without offline updates has the
right panel only. Where the distillation weight (lambda) changes, a strip below shows it.

Error bands are 95% bootstrap intervals of the mean over the episodes of one evaluation.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import EngFormatter, MaxNLocator

from rrl_agents.scores import mean_and_interval
from rrl_agents.typed_json import may_be_missing
from services.learner.evaluation_records import EvaluationRecord

_STUDENT, _BASELINE, _TEACHER, _RANDOM = "#0b5fa5", "#c8641e", "#2e7d32", "#6b6b6b"


@dataclasses.dataclass(frozen=True, kw_only=True)
class CurvePoint:
    """One evaluation on the curve.

    Attributes:
        offline_updates: Gradient steps on the teacher's data behind the weights.
        online_updates: Gradient steps on the student's own data behind the weights.
        frames: Environment frames of the student's own play.
        mean_return: Mean over the episodes.
        low: Lower end of the 95% interval of the mean.
        high: Upper end.
        episodes: Number of episodes.
        weaning_weight: Weight of the distillation term; None where it is not known.
    """

    offline_updates: int
    online_updates: int
    frames: int
    mean_return: float
    low: float
    high: float
    episodes: int
    weaning_weight: float | None = may_be_missing(None)


@dataclasses.dataclass(frozen=True, kw_only=True)
class LearningCurve:
    """All that a drawing shows.

    Attributes:
        title: One line above the panels.
        caption: One or two lines below them.
        student_label: Name of the run's own curve, e.g. its method.
        student: Points in the order of the run, at least one.
        baseline_label: Name of the curve beside it.
        baseline: Its points; empty for none.
        teacher_return: Height of the teacher's line.
        random_return: Height of the random policy's line.
    """

    title: str
    caption: str
    student_label: str
    student: Sequence[CurvePoint]
    baseline_label: str = ""
    baseline: Sequence[CurvePoint] = ()
    teacher_return: float
    random_return: float

    def __post_init__(self) -> None:
        """Refuses a curve without points.

        Raises:
            ValueError: `student` is empty.
        """
        if not self.student:
            raise ValueError("a learning curve needs at least one evaluation of the student")


class _Series(NamedTuple):
    """One line of a panel: its points, the last point of the whole run, a name and a colour."""

    points: Sequence[CurvePoint]
    outcome: CurvePoint
    label: str
    color: str


def curve_point(record: EvaluationRecord, frames_per_step: int) -> CurvePoint:
    """Makes a point of one evaluation.

    Args:
        record: An evaluation of the student.
        frames_per_step: Environment frames that one agent step lasts.

    Returns:
        The point, with the 95% bootstrap interval of the mean over the record's episodes.
    """
    mean, low, high = mean_and_interval(record.episode_returns)
    return CurvePoint(
        offline_updates=record.offline_updates,
        online_updates=record.online_updates,
        frames=record.actor_steps * frames_per_step,
        mean_return=mean,
        # Sums in another order may differ in the last digit where all returns are equal.
        low=min(low, mean),
        high=max(high, mean),
        episodes=len(record.episode_returns),
        weaning_weight=record.weaning_weight,
    )


def split_stages(
    points: Sequence[CurvePoint],
) -> tuple[tuple[CurvePoint, ...], tuple[CurvePoint, ...]]:
    """Divides a curve at the start of the student's own play.

    Args:
        points: In the order of the run.

    Returns:
        Offline and online points. The last offline point opens the online part too: those weights
        are the ones it starts from. A run without offline updates has no offline part.
    """
    offline = tuple(point for point in points if point.frames == 0 and point.online_updates == 0)
    online = tuple(point for point in points if point not in offline)
    if all(point.offline_updates == 0 for point in points):
        return (), offline + online
    return offline, offline[-1:] + online if online else ()


def draw_learning_curve(curve: LearningCurve, path: Path) -> None:
    """Draws the curve as a PNG.

    Args:
        curve: What to show.
        path: The file to write.
    """
    stages = [stage for stage in split_stages(curve.student) if stage]
    is_offline = [_is_offline(stage) for stage in stages]
    if curve.baseline and is_offline == [True]:
        stages.append(())
        is_offline.append(False)
    weighted = _weaning_changes(curve.student)
    figure = Figure(figsize=(10.0, 6.6 if weighted else 5.6), dpi=110)
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
    for column, (stage, offline) in enumerate(zip(stages, is_offline, strict=True)):
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


def _is_offline(stage: Sequence[CurvePoint]) -> bool:
    return stage[-1].frames == 0 and stage[-1].online_updates == 0 and stage[-1].offline_updates > 0


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
        beside = _Series(curve.baseline, curve.baseline[-1], curve.baseline_label, _BASELINE)
        _draw_series(axes, beside, offline=False)
    if stage:
        own = _Series(stage, curve.student[-1], curve.student_label, _STUDENT)
        _draw_series(axes, own, offline=offline)
    axes.set_title("offline: the teacher's data" if offline else "online: the student's own play")


def _draw_series(axes: Axes, series: _Series, *, offline: bool) -> None:
    """Draws one curve; the run's last point is a diamond with an interval of its own."""
    points, color = series.points, series.color
    x = [_position(point, offline=offline) for point in points]
    # The final evaluation often replays the newest weights with more episodes: two points above
    # one another, of which the line takes the first and the diamond the second.
    end = -1 if len(x) > 1 and x[-1] == x[-2] else None
    low, high = [point.low for point in points], [point.high for point in points]
    axes.fill_between(x[:end], low[:end], high[:end], color=color, alpha=0.15, linewidth=0)
    mean = [point.mean_return for point in points]
    axes.plot(x[:end], mean[:end], "o-", color=color, ms=4, label=series.label)
    if points[-1] is series.outcome:
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
    # The run itself stands first, although it is drawn last, on top.
    labels = [f"{name}: {outcomes[name].mean_return:.2f}" for name in names]
    # Below the title, which may be long; the left edge takes the legend's own padding back.
    figure.legend(
        handles[::-1], labels[::-1], loc="upper left", bbox_to_anchor=(0.07, 0.95), ncols=2,
        frameon=False,
    )  # fmt: skip
    figure.text(0.08, 0.02, curve.caption, fontsize=8.5, color="#444444", va="bottom")
    figure.subplots_adjust(left=0.08, right=0.91, top=0.83, bottom=0.17)

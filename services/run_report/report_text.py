"""The words of a report: title, caption and README.md."""

from __future__ import annotations

from collections.abc import Sequence

from services.run_report.learning_curve import CurvePoint
from services.run_report.run_clocks import Clocks, duration, in_words
from services.run_report.summary import RunDescription, Summary


def title(summary: Summary) -> str:
    """Returns the line above the learning curve."""
    score = f"{summary.teacher_normalised_score:.2f}"
    state = "" if summary.finished else ", not finished"
    mixed = " (mixed protocols!)" if summary.mixed_protocols else ""
    return f"{summary.method} on {summary.game}: teacher-normalised score {score}{mixed}{state}"


def caption(
    summary: Summary, points: Sequence[CurvePoint], baseline: Sequence[CurvePoint] = ()
) -> str:
    """Returns the lines below the learning curve: what a point and a band are.

    Args:
        summary: The outcome of the run.
        points: The run's curve.
        baseline: The curve beside it.
    """
    what = f"Points: mean over {_episodes(points)} episodes"
    if baseline:
        what += f" ({_episodes(baseline)} beside)"
    epsilon = f"epsilon {summary.epsilon:g}"
    lines = [f"{what}, {epsilon}; the diamond over {points[-1].episodes}. Bands: 95% bootstrap."]
    clocks = summary.last_evaluation
    if clocks.offline_updates:
        steps = f"{clocks.teacher_steps:,} of the teacher's steps"
        offline = f"{clocks.offline_updates:,} updates offline on {steps}"
    else:
        offline = "no updates offline"
    online = f"{clocks.online_updates:,} online, {clocks.frames:,} frames"
    lines.append(f"At the last evaluation: {offline}, {online}.")
    return "\n".join(lines)


def readme(description: RunDescription, summary: Summary, *, has_video: bool) -> str:
    """Returns the report's README.md.

    Args:
        description: What ran.
        summary: What came out.
        has_video: Whether the report holds a video.
    """
    when = f"after {summary.last_evaluation.learner_updates:,} updates"
    state = f"final evaluation, {when}"
    if not summary.finished:
        state = f"newest evaluation, {when} (the run is not finished)"
    rows = [_row("student", summary.student_return, summary.teacher_normalised_score)]
    if summary.baseline is not None:
        beside = summary.baseline
        score = beside.teacher_normalised_score
        rows.append(_row(f"{beside.method}, beside", beside.student_return, score))
    rows += [
        _row(f"teacher {summary.teacher}".rstrip(), summary.teacher_return, 1.0),
        _row("random policy", summary.random_return, 0.0),
    ]
    low, high = summary.student_return_interval
    parts = [
        f"# {summary.method} on {summary.game}",
        f"The student's {state}: {summary.student_return:.2f} ± {summary.student_return_std:.2f} "
        f"(standard deviation) over {summary.student_episodes} episodes with epsilon "
        f"{summary.epsilon:g}; 95% interval of the mean {low:.2f} to {high:.2f}.",
        "\n".join(["| player | mean return | teacher-normalised |", "|---|---|---|", *rows]),
        "Teacher-normalised is (return - random) / (teacher - random).",
        _mixed(summary),
        "\n".join(_metrics(summary)),
        "## What it took",
        "\n".join(_costs(summary)),
        "\n".join(_asked(description, summary)),
        "## Files",
        "\n".join(_files(has_video=has_video)),
    ]
    if summary.baseline is not None:
        parts.insert(4, f"The run beside was made with: `{summary.baseline.command}`")
    return "\n\n".join(part for part in parts if part) + "\n"


def _episodes(points: Sequence[CurvePoint]) -> str:
    counts = [point.episodes for point in points]
    return f"{min(counts)}" if min(counts) == max(counts) else f"{min(counts)} to {max(counts)}"


def _row(name: str, mean_return: float, score: float) -> str:
    return f"| {name} | {mean_return:.2f} | {score:.2f} |"


def outcome_lines(summary: Summary) -> list[str]:
    """What the run has done and as of when, and where that is more than was asked for."""
    return [
        in_words(summary.last_evaluation),
        *([in_words(summary.newest_checkpoint)] if summary.newest_checkpoint else []),
        *summary.beyond_budgets,
        *([_mixed(summary)] if summary.mixed_protocols else []),
    ]


def _metrics(summary: Summary) -> list[str]:
    """A table of what episodes are judged by; nothing where that is the return alone."""
    rows = []
    for name, metric in summary.metrics.items():
        low, high = metric.student_interval
        teacher = "" if metric.teacher_mean is None else f"{metric.teacher_mean:.3f}"
        paired = ""
        if metric.difference is not None and metric.difference_interval is not None:
            below, above = metric.difference_interval
            paired = f"{metric.difference:.3f} ({below:.3f} to {above:.3f}, {metric.pairs} pairs)"
        student = f"{metric.student_mean:.3f} ({low:.3f} to {high:.3f})"
        rows.append(f"| {name} | {student} | {teacher} | {paired} |")
    if not rows:
        return []
    return [
        "| metric | student | teacher | difference on equal seeds |",
        "|---|---|---|---|",
        *rows,
    ]


def _mixed(summary: Summary) -> str:
    if not summary.mixed_protocols:
        return ""
    return (
        "Scores were measured under different protocols, and do not compare: "
        f"{'; '.join(summary.mixed_protocols)}. Evaluate both alike (--evaluation.epsilon, the "
        "environment's settings), or give the teacher's return so measured (--teacher.mean-return)."
    )


def _costs(summary: Summary) -> list[str]:
    """A column per moment."""
    moments = [summary.last_evaluation]
    if summary.newest_checkpoint is not None:
        moments.append(summary.newest_checkpoint)
    columns = [_cells(clocks) for clocks in moments]
    return [
        f"| | {' | '.join(clocks.as_of for clocks in moments)} |",
        f"|---|{'---|' * len(moments)}",
        *(f"| {name} | {' | '.join(column[name] for column in columns)} |" for name in columns[0]),
    ]


def _cells(clocks: Clocks) -> dict[str, str]:
    return {
        "teacher's steps in the replay": f"{clocks.teacher_steps:,}",
        "offline updates": f"{clocks.offline_updates:,}",
        "online updates": f"{clocks.online_updates:,}",
        "the student's own steps": f"{clocks.actor_steps:,}",
        "frames of these": f"{clocks.frames:,}",
        "weight of the distillation": f"{clocks.weaning_weight:.2f}",
        "time at work": duration(clocks.wall_seconds),
    }


def _asked(description: RunDescription, summary: Summary) -> list[str]:
    if not description.budgets:
        return []
    budgets = ", ".join(f"{name} {value:,}" for name, value in description.budgets.items())
    return [f"- asked: {budgets}", *(f"- {line}" for line in summary.beyond_budgets)]


def _files(*, has_video: bool) -> list[str]:
    lines = [
        "- `learning_curve.png`: the student against the teacher and the random policy",
        "- `summary.json`: the numbers above",
    ]
    if has_video:
        lines.append("- `student.gif`: the student at play")
    return [
        *lines,
        "- `../config.json`: the whole configuration",
        "- `../metrics/evaluations.jsonl`: every episode of every evaluation",
        "- `../metrics/`: losses and rates; see them with `tensorboard --logdir` and this folder",
        "- `../checkpoints/`: the student",
    ]

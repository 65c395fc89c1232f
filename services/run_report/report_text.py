"""The texts of a report: the curve's title, and README.md, from which the page is made."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from rrl_agents.escaped_markdown import code_block, escaped, table
from services.run_report.learning_curve import CurvePoint, LearningCurve
from services.run_report.run_clocks import Clocks, duration, in_words
from services.run_report.summary import Making, RunDescription, Summary

CURVE_FILE = "learning_curve.png"
VIDEO_FILE = "student.gif"


def title(summary: Summary) -> str:
    """The line above the learning curve."""
    score = f"{summary.teacher_normalised_score:.2f}"
    state = "" if summary.finished else ", not finished"
    mixed = " (mixed protocols!)" if summary.mixed_protocols else ""
    return f"{summary.method} on {summary.game}: teacher-normalised score {score}{mixed}{state}"


def heading(summary: Summary) -> str:
    """The heading of the report."""
    return f"{summary.method} on {summary.game}"


def readme(
    description: RunDescription, summary: Summary, curve: LearningCurve, *, has_video: bool
) -> str:
    """The report's README.md, in which texts from the run's files are escaped.

    Args:
        description: Description of the run.
        summary: Outcome of the run.
        curve: Content of learning_curve.png.
        has_video: Whether the report has a video.
    """
    parts = [
        f"# {escaped(heading(summary))}",
        _outcome(summary),
        f"![The learning curve]({CURVE_FILE})",
        _caption(summary, curve),
        table(("player", "mean return", "teacher-normalised"), _players(summary)),
        "Teacher-normalised is (return - random) / (teacher - random).",
        _made_beside(summary),
        escaped(_mixed(summary)),
        _metrics(summary),
        f"![The student at play]({VIDEO_FILE})" if has_video else "",
        "## Cost",
        _costs(summary),
        "\n".join(_asked(description, summary)),
        "## How it was made",
        *_making(summary.made),
        "## Files",
        "\n".join(_files(has_video=has_video)),
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def _outcome(summary: Summary) -> str:
    """The score, and the weights that it belongs to."""
    last = summary.last_evaluation
    evaluation = "final evaluation" if summary.finished else "newest evaluation"
    not_finished = "" if summary.finished else " (the run is not finished)"
    low, high = summary.student_return_interval
    return (
        f"The student's {evaluation}, after {last.learner_updates:,} updates and "
        f"{last.actor_steps:,} of its own steps{not_finished}: mean return "
        f"{summary.student_return:.2f} ± {summary.student_return_std:.2f} (standard deviation) "
        f"over {summary.student_episodes} episodes with epsilon {summary.epsilon:g}; 95% interval "
        f"of the mean {low:.2f} to {high:.2f}."
    )


def _players(summary: Summary) -> Iterator[tuple[str, str, str]]:
    yield _row("student", summary.student_return, summary.teacher_normalised_score)
    if (beside := summary.baseline) is not None:
        name = f"{escaped(beside.method)} (baseline)"
        yield _row(name, beside.student_return, beside.teacher_normalised_score)
    yield _row(f"teacher {escaped(summary.teacher)}".rstrip(), summary.teacher_return, 1.0)
    yield _row("random policy", summary.random_return, 0.0)


def _row(name: str, mean_return: float, score: float) -> tuple[str, str, str]:
    return name, f"{mean_return:.2f}", f"{score:.2f}"


def _made_beside(summary: Summary) -> str:
    if summary.baseline is None:
        return ""
    return f"The baseline run was made with:\n\n{code_block(summary.baseline.command)}"


def _making(made: Making) -> list[str]:
    """Command, seed and versions; several of each if the sessions differ."""
    unknown = "The command and the version of the code were not recorded."
    commands = [code_block(command) for command in made.commands]
    facts = [
        *([] if made.seed is None else [f"- seed: {made.seed}"]),
        *(f"- code: {escaped(code)}" for code in made.code),
        *(f"- hardware: {escaped(hardware)}" for hardware in made.hardware),
    ]
    return ["\n".join(commands) or unknown, "\n".join(facts)]


def _caption(summary: Summary, curve: LearningCurve) -> str:
    """Explains the points and bands of the learning curve, and where it ends."""
    what = f"Points: mean over {_episodes(curve.student)} episodes"
    if curve.baseline:
        what += f" ({_episodes(curve.baseline)} for the baseline)"
    clocks = summary.last_evaluation
    if clocks.offline_updates:
        steps = f"{clocks.teacher_steps:,} teacher steps"
        offline = f"{clocks.offline_updates:,} offline updates on {steps}"
    else:
        offline = "no offline updates"
    return (
        f"{what}, epsilon {summary.epsilon:g}; diamond: {curve.student[-1].episodes} episodes. "
        f"Bands: 95% bootstrap intervals. At the last evaluation: {offline}, "
        f"{clocks.online_updates:,} online updates, {clocks.frames:,} frames."
    )


def _episodes(points: Sequence[CurvePoint]) -> str:
    counts = [point.episodes for point in points]
    return f"{min(counts)}" if min(counts) == max(counts) else f"{min(counts)} to {max(counts)}"


def outcome_lines(summary: Summary) -> list[str]:
    """The run's clocks at the last evaluation and checkpoint, and any budget that it exceeded."""
    return [
        in_words(summary.last_evaluation),
        *([in_words(summary.newest_checkpoint)] if summary.newest_checkpoint else []),
        *summary.beyond_budgets,
        *([_mixed(summary)] if summary.mixed_protocols else []),
    ]


def _metrics(summary: Summary) -> str:
    """A table of the environment's metrics; empty if there are none besides the return."""
    rows = []
    for name, metric in summary.metrics.items():
        low, high = metric.student_interval
        teacher = "" if metric.teacher_mean is None else f"{metric.teacher_mean:.3f}"
        paired = ""
        if metric.difference is not None and metric.difference_interval is not None:
            below, above = metric.difference_interval
            paired = f"{metric.difference:.3f} ({below:.3f} to {above:.3f}, {metric.pairs} pairs)"
        student = f"{metric.student_mean:.3f} ({low:.3f} to {high:.3f})"
        rows.append((escaped(name), student, teacher, paired))
    return (
        table(("metric", "student", "teacher", "difference on equal seeds"), rows) if rows else ""
    )


def _mixed(summary: Summary) -> str:
    if not summary.mixed_protocols:
        return ""
    return (
        "Scores were measured under different protocols, and are not comparable: "
        f"{'; '.join(summary.mixed_protocols)}. Evaluate student and teacher in the same way "
        "(--evaluation.epsilon, the environment's settings), or give the teacher's return under "
        "the student's protocol (--teacher.mean-return)."
    )


def _costs(summary: Summary) -> str:
    """A table of the run's clocks, with a column per moment."""
    moments = [summary.last_evaluation]
    if summary.newest_checkpoint is not None:
        moments.append(summary.newest_checkpoint)
    columns = [_cells(clocks) for clocks in moments]
    rows = [(name, *(column[name] for column in columns)) for name in columns[0]]
    return table(("", *(clocks.as_of for clocks in moments)), rows)


def _cells(clocks: Clocks) -> dict[str, str]:
    return {
        "teacher steps in replay": f"{clocks.teacher_steps:,}",
        "offline updates": f"{clocks.offline_updates:,}",
        "online updates": f"{clocks.online_updates:,}",
        "student steps": f"{clocks.actor_steps:,}",
        "student frames": f"{clocks.frames:,}",
        "distillation weight (lambda)": f"{clocks.weaning_weight:.2f}",
        "wall-clock time": duration(clocks.wall_seconds),
    }


def _asked(description: RunDescription, summary: Summary) -> list[str]:
    if not description.budgets:
        return []
    budgets = ", ".join(f"{escaped(name)} {value:,}" for name, value in description.budgets.items())
    return [f"- budgets: {budgets}", *(f"- {line}" for line in summary.beyond_budgets)]


def _files(*, has_video: bool) -> list[str]:
    lines = [
        "- `index.html`: this text and its images in one file; `README.md`: the text",
        f"- `{CURVE_FILE}`: the student against the teacher and the random policy",
        "- `summary.json`: the numbers above",
    ]
    if has_video:
        lines.append(f"- `{VIDEO_FILE}`: the student at play")
    return [
        *lines,
        "- `../config.json`: the whole configuration; `../provenance.json`: every session",
        "- `../metrics/evaluations.jsonl`: every episode of every evaluation",
        "- `../metrics/`: losses and rates, for `tensorboard --logdir`",
        "- `../checkpoints/`: the student",
    ]

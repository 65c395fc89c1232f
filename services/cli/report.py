"""`rrl report`: builds the report of a run, or exports the run as a baseline."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from pathlib import Path

from tyro.conf import Positional

from rrl_agents.durable_files import write_whole
from services.run_report.html_page import PAGE_FILE
from services.run_report.report import REPORT_FOLDER, write_report
from services.run_report.report import export_baseline as baseline_of
from services.run_report.report_text import outcome_lines
from services.run_report.summary import Summary
from services.tracking.run_tracking import RunTracking, check_trackers
from services.tracking.tracker import TrackerName


def report(
    run: Positional[Path],
    *,
    baseline: Path | None = None,
    export_baseline: Path | None = None,
    command: str = "not recorded",
    teacher_return: float | None = None,
    random_return: float | None = None,
    track: tuple[TrackerName, ...] = (),
) -> None:
    """Build or rebuild the report of a run from its records.

    Args:
        run: Folder of the run.
        baseline: A baseline file to draw beside the run.
        export_baseline: Write the finished run to this file, as a baseline for other reports; an
            existing file is replaced.
        command: The command that made the run, to record in the exported baseline.
        teacher_return: Mean return of the teacher, if the run did not measure it.
        random_return: Mean return of random play, if the run did not measure it.
        track: Also send the report to these trackers, as `rrl train --track` does at the end of a
            run.

    Raises:
        UserError: The folder is not a run, has nothing to report yet, or a tracker's library is not
            installed.
    """
    check_trackers(track)
    if export_baseline is not None:
        write_whole(export_baseline, baseline_of(run, command))
        print(f"baseline: {export_baseline}")
    summary = write_report(
        run, baseline=baseline, teacher_return=teacher_return, random_return=random_return
    )
    track_outcome(run, summary, track)
    show_outcome(run, summary)


def track_outcome(run: Path, summary: Summary, trackers: Sequence[TrackerName]) -> None:
    """Send a run's report to its trackers.

    Args:
        run: Its folder.
        summary: Summary of its report.
        trackers: The trackers, whose libraries must be installed.
    """
    tracking = RunTracking(trackers, run)
    with contextlib.closing(tracking):
        step = summary.done.learner_updates
        outcome = {
            "final/student_return": summary.student_return,
            "final/teacher_normalised_score": summary.teacher_normalised_score,
        }
        tracking.scalars(step, outcome)
        folder = run / REPORT_FOLDER
        names = ("README.md", "learning_curve.png", "student.gif", "summary.json")
        tracking.files([folder / name for name in names], step)


def show_outcome(run: Path, summary: Summary) -> None:
    """Print the outcome of a run, and where its report is.

    Args:
        run: Folder of the run.
        summary: Summary of its report.
    """
    low, high = summary.student_return_interval
    lines = [
        "",
        f"student  {summary.student_return:7.2f}  (95% interval {low:.2f} to {high:.2f}, "
        f"{summary.student_episodes} episodes)",
        f"teacher  {summary.teacher_return:7.2f}",
        f"random   {summary.random_return:7.2f}",
        f"teacher-normalised score {summary.teacher_normalised_score:.2f} "
        "(0 = random, 1 = teacher)",
    ]
    if (beside := summary.baseline) is not None:
        score = f"{beside.teacher_normalised_score:.2f}"
        lines.append(f"{beside.method} at the same budget: {score}")
    lines += ["", *outcome_lines(summary), ""]
    folder = run / REPORT_FOLDER
    for name, path in {
        "report": folder / PAGE_FILE,
        "curve": folder / "learning_curve.png",
        "video": folder / "student.gif",
        "numbers": folder / "summary.json",
        "TensorBoard": run / "metrics",
    }.items():
        if path.exists():
            lines.append(f"{name + ':':<13}{path}")
    print("\n".join(lines), flush=True)

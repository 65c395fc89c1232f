"""One run on this machine, all roles as processes of their own, and its report at the end."""

from __future__ import annotations

import contextlib
import sys
from pathlib import Path

from services.launcher.experiment import VIDEO_FILE, Experiment
from services.launcher.experiment_config import ExperimentConfig
from services.launcher.launch import launch_run
from services.launcher.progress_display import ProgressDisplay
from services.launcher.resolution import resolve
from services.launcher.run_directory import is_finished, open_run
from services.learner.checkpoint_records import newest_checkpoint
from services.run_report.baseline import read_baseline
from services.run_report.report import write_report
from services.run_report.report_text import outcome_lines
from services.run_report.run_clocks import at_checkpoint, in_words
from services.run_report.summary import Summary


def train(config: ExperimentConfig, run: Path, *, baseline: Path | None = None) -> Summary | None:
    """Start or go on with a run, and write its report when it is finished.

    Returns:
        The outcome; None when the run was stopped before its end.

    Raises:
        UserError: bad input, or a role failed.
    """
    experiment = resolve(config)
    if baseline is not None:
        # Looked at now: an unreadable file is not to be found out after hours of training.
        read_baseline(baseline)
    if is_finished(run):
        open_run(run, experiment)
        print(f"{run} is finished already", flush=True)
        return report(experiment, run, baseline)
    with contextlib.closing(ProgressDisplay(sys.stdout)) as display:
        finished = launch_run(experiment, run, display)
    if not finished:
        print(_stopped(run), flush=True)
        return None
    return report(experiment, run, baseline)


def _stopped(run: Path) -> str:
    """What a run that was stopped has saved, and how to resume it."""
    checkpoint = newest_checkpoint(run)
    if checkpoint is None:
        return f"stopped; nothing is saved yet, and the same command starts {run} again"
    saved = in_words(at_checkpoint(checkpoint.record, frames_per_step=1))
    return f"stopped; saved {saved}. The same command resumes {run}"


def report(experiment: Experiment, run: Path, baseline: Path | None) -> Summary:
    """Write a finished run's report and say where it is."""
    video = run / VIDEO_FILE
    summary = write_report(
        run,
        teacher_return=experiment.teacher_return,
        random_return=experiment.random_return,
        student_gif=video if video.exists() else None,
        baseline=baseline,
    )
    low, high = summary.student_return_interval
    lines = [
        f"student  {summary.student_return:7.2f}  (95% interval {low:.2f} to {high:.2f}, "
        f"{summary.student_episodes} episodes)",
        f"teacher  {summary.teacher_return:7.2f}",
        f"random   {summary.random_return:7.2f}",
        f"teacher-normalised score {summary.teacher_normalised_score:.2f} "
        "(0 = random, 1 = teacher)",
    ]
    if summary.baseline is not None:
        lines.append(
            f"{summary.baseline.method} at the same budget: "
            f"{summary.baseline.teacher_normalised_score:.2f}"
        )
    lines += ["", *outcome_lines(summary)]
    print("\n".join(["", *lines, "", *_contents(run)]), flush=True)
    return summary


def _contents(run: Path) -> list[str]:
    files = {
        "report": run / "report" / "README.md",
        "curve": run / "report" / "learning_curve.png",
        "video": run / "report" / "student.gif",
        "numbers": run / "report" / "summary.json",
        "TensorBoard": run / "metrics",
    }
    return [f"{name + ':':<13}{path}" for name, path in files.items() if path.exists()]

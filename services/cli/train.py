"""Runs an experiment on this machine, in one process or one per role, then reports it."""

from __future__ import annotations

import contextlib
import sys
from pathlib import Path

from rrl_client import ClientSecurity
from services.cli.report import show_outcome, track_outcome
from services.cli.shutdown import install_shutdown_event
from services.cli.spinner import spinning
from services.launcher.experiment import Experiment
from services.launcher.experiment_config import ExperimentConfig
from services.launcher.progress_display import ProgressDisplay
from services.launcher.resolution import resolve
from services.launcher.run_directory import is_finished, open_run
from services.learner.checkpoint_records import newest_checkpoint
from services.run_report.baseline import read_baseline
from services.run_report.report import write_report
from services.run_report.run_clocks import at_checkpoint, in_words
from services.run_report.summary import Summary
from services.tracking.run_tracking import check_trackers


def train(
    config: ExperimentConfig,
    run: Path,
    *,
    baseline: Path | None = None,
    teacher_peers: ClientSecurity | None = None,
) -> Summary | None:
    """Start or resume a run, and write its report once it is finished.

    Args:
        config: The experiment.
        run: Its folder.
        baseline: A baseline file to draw in the report.
        teacher_peers: TLS and credentials for its teacher's address.

    Returns:
        The outcome; None when the run was stopped before its end.

    Raises:
        UserError: bad input, or a role failed.
    """
    check_trackers(config.track)
    with spinning("teacher and game"):
        experiment = resolve(config, teacher_peers=teacher_peers)
    if baseline is not None:
        # Read now, so that an unreadable file fails before hours of training.
        read_baseline(baseline)
    was_finished = is_finished(run)
    if was_finished:
        open_run(run, experiment)
        print(f"{run} is finished already", flush=True)
    else:
        with contextlib.closing(ProgressDisplay(sys.stdout)) as display:
            finished = _run(experiment, run, display)
        if not finished:
            print(_stopped(run), flush=True)
            return None
    summary = write_report(
        run,
        teacher_return=experiment.teacher_return,
        random_return=experiment.random_return,
        baseline=baseline,
    )
    if not was_finished:
        track_outcome(run, summary, config.track)
    show_outcome(run, summary)
    return summary


def _run(experiment: Experiment, run: Path, display: ProgressDisplay) -> bool:
    """Start or resume a run, in this process or one per role; returns whether it is finished."""
    if experiment.config.one_process:
        from services.launcher.launch_one_process import launch_in_one_process

        return launch_in_one_process(experiment, run, install_shutdown_event(), display)

    from services.launcher.launch import launch_run

    return launch_run(experiment, run, display)


def _stopped(run: Path) -> str:
    """What a stopped run has saved, and how to resume it."""
    checkpoint = newest_checkpoint(run)
    if checkpoint is None:
        return f"stopped; nothing is saved yet, and the same command starts {run} again"
    saved = in_words(at_checkpoint(checkpoint.record, frames_per_step=1))
    return f"stopped; saved {saved}. The same command resumes {run}"

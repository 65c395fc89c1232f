"""Runs an experiment in this process, with the display and files of a run of several processes."""

from __future__ import annotations

import contextlib
import threading
from pathlib import Path

from services.launcher.compiled_functions import keep_compiled_functions, tidy_compiled_functions
from services.launcher.experiment import Experiment
from services.launcher.one_process import run_opened
from services.launcher.progress_display import ProgressDisplay
from services.launcher.run_addresses import RunAddresses
from services.launcher.run_directory import open_run, session_folder
from services.launcher.telemetry import Telemetry, telemetry
from services.shared.addresses import free_ports, parse_address
from services.shared.locks import LAUNCHER_LOCK, locked

ROLE = "one_process"
"""Name of the process in logs and on metrics pages."""


def launch_in_one_process(
    experiment: Experiment, run: Path, stop: threading.Event, display: ProgressDisplay
) -> bool:
    """Start or resume a run in this process, with its progress, metrics page and log.

    Args:
        experiment: The experiment.
        run: Its folder.
        stop: Ends the run early.
        display: Shows progress.

    Returns:
        Whether the run is finished.

    Raises:
        UserError: as `run_in_one_process`.
    """
    resumed = open_run(run, experiment)
    # Checked before this session claims a folder and ports: another session may be running.
    with locked(run / LAUNCHER_LOCK):
        display.note(f"{'resuming' if resumed else 'starting'} {run}")
        return _launch(experiment, run, stop, display)


def _launch(
    experiment: Experiment, run: Path, stop: threading.Event, display: ProgressDisplay
) -> bool:
    learner, page = (f"localhost:{port}" for port in free_ports(2))
    addresses = RunAddresses(services={"learner": learner}, pages={ROLE: page})
    for line in addresses.lines:
        display.note(line)
    log = session_folder(run) / f"{ROLE}.log"
    options = Telemetry(metrics_port=parse_address(page).port)
    with (
        log.open("a") as printed,
        # The display owns the terminal.
        contextlib.redirect_stdout(printed),
        contextlib.redirect_stderr(printed),
        telemetry(ROLE, options, run=run) as registry,
    ):
        tidy_compiled_functions()
        keep_compiled_functions()
        return run_opened(
            experiment, run, stop, display.update, addresses=addresses, registry=registry
        )

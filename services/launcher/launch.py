"""Runs a program on this machine and shows its progress until it ends.

Launchpad owns the processes: when one fails, all are stopped, and the run resumes from its last
checkpoint when it is started again. The display polls the learner for progress; the roles' own
output goes to files.
"""

from __future__ import annotations

import contextlib
import io
import json
import os
import signal
import subprocess
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from services.launcher.compiled_functions import tidy_compiled_functions
from services.launcher.experiment import Experiment
from services.launcher.progress_display import ProgressDisplay
from services.launcher.readiness import Readiness
from services.launcher.roles import local_addresses
from services.launcher.run_addresses import RunAddresses, write_addresses
from services.launcher.run_directory import open_run, session_folder
from services.launcher.watching import watch
from services.learner.checkpoint_records import newest_checkpoint
from services.shared.errors import UserError
from services.shared.locks import LAUNCHER_LOCK, LEARNER_LOCK, locked

_POLL_SECONDS = 1.0
_TERMINATION_NOTICE_SECONDS = 60
"""From SIGTERM to SIGKILL: the learner's last checkpoint must fit."""

_STOPPING = "stopping; roles are saving their work, a second Ctrl-C ends them now"

_LEARNER_GONE_SECONDS = 30.0
"""How long a learner may take to save its checkpoint after its launcher was killed."""


def launch_run(experiment: Experiment, run: Path, display: ProgressDisplay) -> bool:
    """Start or resume a run, until it is finished or stopped.

    Args:
        experiment: The experiment.
        run: Its folder; created if missing, resumed if it belongs to this experiment.
        display: Shows progress.

    Returns:
        Whether the run is finished.

    Raises:
        UserError: the folder belongs to another experiment or is in use, or a role failed; the
            message says where its output is.
    """
    resumed = open_run(run, experiment)
    with (
        locked(run / LAUNCHER_LOCK),
        # Launchpad prints what it does, but the display owns the terminal.
        contextlib.redirect_stdout(io.StringIO()),
    ):
        # Roles of a killed launcher end by themselves; their learner may still be saving a
        # checkpoint.
        with locked(run / LEARNER_LOCK, wait_seconds=_LEARNER_GONE_SECONDS):
            logs = session_folder(run)
        display.note(f"{'resuming' if resumed else 'starting'} {run}")
        addresses = local_addresses(experiment)
        readiness = Readiness(addresses)
        with _hangup_stops():
            manager = _start(
                experiment, run, addresses, logs, lambda: display.starting(readiness.ready)
            )
        write_addresses(run, addresses)
        for line in addresses.lines:
            display.note(line)
        processes = _Processes(manager)

        def is_over() -> bool:
            if manager.stop_event().is_set():
                display.note(_STOPPING)
            return processes.are_over()

        if watch(
            addresses.services["learner"],
            is_over,
            display.update,
            period_seconds=_POLL_SECONDS,
            on_wait=lambda: display.starting(readiness.look()),
        ):
            manager.stop_and_wait()
            return True
    if failed := processes.failed or processes.lost:
        raise UserError(_failure_message(failed, logs, run))
    _check_is_saved(run, display.updates)
    return False


@contextlib.contextmanager
def _hangup_stops() -> Iterator[None]:
    """Treat SIGHUP, sent when the terminal closes, like SIGTERM once the roles have started.

    Roles inherit that they ignore SIGHUP: the launcher asks them to stop. Under nohup, which
    ignores SIGHUP, nothing changes.
    """
    if signal.getsignal(signal.SIGHUP) is signal.SIG_IGN:
        yield
        return
    signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGHUP])
    try:
        yield
        signal.signal(signal.SIGHUP, lambda *_: os.kill(os.getpid(), signal.SIGTERM))
    finally:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, [signal.SIGHUP])


def _start(
    experiment: Experiment,
    run: Path,
    addresses: RunAddresses,
    logs: Path,
    on_start: Callable[[], None],
) -> Any:
    """Start the processes; returns Launchpad's manager for them."""
    # Launchpad reads these on import and when it starts a process.
    os.environ["LAUNCHPAD_LOGGING_DIR"] = str(logs)
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    tidy_compiled_functions()
    from absl import flags

    from services.launcher.program import start_program

    if not flags.FLAGS.is_parsed():
        # Launchpad 0.5.2 looks up this flag to pass flags to processes, but does not define it.
        flags.DEFINE_multi_string("lp_dummy_config", [], "Stands in for a missing definition.")
        flags.FLAGS(["rrl", f"--lp_termination_notice_secs={_TERMINATION_NOTICE_SECONDS}"])
    return start_program(experiment, run.absolute(), addresses, logs, on_start)


class _Processes:
    """The processes of a run, and which of them failed, which Launchpad does not report.

    Attributes:
        failed: The processes that failed first, role -> how; the others were stopped then.
    """

    def __init__(self, manager: Any) -> None:
        self._manager = manager
        # Launchpad calls them "actor/0", "actor/1".
        self._of_roles: list[tuple[str, subprocess.Popen[bytes]]] = [
            (title.partition("/")[0], process)
            for title, processes in manager._active_workers.items()
            for process in processes
        ]
        self.failed: dict[str, str] = {}

    def are_over(self) -> bool:
        """Whether all have ended; if one has failed, asks the others to stop."""
        with self._manager._mutex:
            self._manager._check_workers()
        if self._manager._first_failure is not None:
            # Launchpad raises it again when the launcher ends.
            self._manager._first_failure = None
            self.failed = {
                role: _how_it_ended(process.returncode)
                for role, process in self._of_roles
                if process.returncode
            }
        return not any(self._manager._active_workers.values())

    @property
    def lost(self) -> dict[str, str]:
        """A learner that was asked to stop but could not save its work."""
        return {
            role: _how_it_ended(process.returncode)
            for role, process in self._of_roles
            # A killed one has left no message.
            if role == "learner" and process.returncode > 0
        }


def _check_is_saved(run: Path, updates: int) -> None:
    """Check that the newest checkpoint has as many updates as the display has shown.

    Raises:
        UserError: it has fewer: the learner was killed, or lost its replay, before it saved.
    """
    checkpoint = newest_checkpoint(run)
    kept = 0 if checkpoint is None else checkpoint.record.progress.learner_updates
    if kept < updates:
        raise UserError(
            f"the learner ended before it could save: updates {kept + 1:,} to {updates:,} and "
            f"all later ones are lost. The same command resumes {run} from its newest checkpoint, "
            f"which has {kept:,} updates"
        )


def _how_it_ended(code: int) -> str:
    if code >= 0:
        return f"exit code {code}"
    name = signal.Signals(-code).name
    hint = ", perhaps for want of memory" if name == "SIGKILL" else ""
    return f"killed by {name}{hint}"


def _failure_message(failed: Mapping[str, str], logs: Path, run: Path) -> str:
    """One line: which role failed, its last message, and how to resume."""
    reasons = "; ".join(
        f"the {role} failed ({how}){_last_words(logs / role)}" for role, how in failed.items()
    )
    return (
        f"{reasons}; all output is in {logs}. The same command resumes {run} from its newest "
        "checkpoint"
    )


def _last_words(logs: Path) -> str:
    """The error that a role ended with; empty if there is none."""
    for file in sorted(path for path in logs.rglob("*") if path.is_file()):
        lines = file.read_text(errors="replace").splitlines()[-200:]
        for line in map(_message, reversed(lines)):
            if "Error: " in line and not line.startswith(" "):
                return f": {line.split('Error: ', 1)[1]}"
    return ""


def _message(line: str) -> str:
    """The message of a log line, which may be JSON."""
    try:
        return str(json.loads(line)["message"]) if line.startswith("{") else line
    except (ValueError, LookupError, TypeError):
        return line

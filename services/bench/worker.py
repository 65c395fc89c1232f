"""A worker process: executes one run to its end, and exports a teacher's.

Arguments: the number of the file descriptor for messages to and from the bench (`workers`), and the
bench's own command line, which the run records as the command that made it.
"""

from __future__ import annotations

import contextlib
import logging
import signal
import sys
import threading
from collections.abc import Callable
from multiprocessing.connection import Connection

from rrl_agents.scores import check_scale
from rrl_agents.types import Progress
from services.bench.folder import drop_replay
from services.bench.plan import PlannedRun, RunResult
from services.launcher.compiled_functions import keep_compiled_functions
from services.launcher.one_process import run_in_one_process
from services.launcher.resolution import resolve
from services.launcher.run_directory import is_finished
from services.launcher.watching import Answer
from services.learner.codec import progress_from_proto
from services.shared.errors import UserError, user_errors
from services.shared.logging import Occasionally, setup_logging

_REPORT_SECONDS = 1.0
_LOGGER = logging.getLogger("services.bench.worker")

Report = Callable[[Progress | RunResult], None]


def main() -> None:
    """Execute the run that the bench sends."""
    _, descriptor, *command = sys.argv
    sys.argv = command
    connection: Connection = Connection(int(descriptor))
    run: PlannedRun = connection.recv()
    stop = threading.Event()
    threading.Thread(target=_await_stop, args=(connection, stop), daemon=True).start()

    def report(message: Progress | RunResult) -> None:
        # If the bench has ended, `_await_stop` stops the worker.
        with contextlib.suppress(OSError):
            connection.send(message)

    report(_execute(run, stop, report))


def _await_stop(connection: Connection, stop: threading.Event) -> None:
    """Set `stop` at the bench's only further message, or when the bench has ended."""
    with contextlib.suppress(EOFError, OSError):
        connection.recv()
    stop.set()


def _execute(run: PlannedRun, stop: threading.Event, report: Report) -> RunResult:
    """Start or resume a run until it is finished, has failed, or `stop` is set."""
    setup_logging(run.name)
    keep_compiled_functions()
    # Ctrl-C does not reach a worker. With Python's handler, asyncio would format the arrays of each
    # checkpoint for an error message that it never shows, which takes 0.1 s of CPU time.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    _LOGGER.info("starts in %s", run.folder)
    try:
        finished = is_finished(run.folder) or _train(run, stop, report)
        if finished:
            _finish(run)
    # A failed run must not end the others; the bench reports it at the end.
    except Exception as error:
        _LOGGER.exception("failed")
        kind = "" if isinstance(error, UserError) else f"{type(error).__name__}: "
        return RunResult(finished=False, error=f"{kind}{error}")
    _LOGGER.info("finished" if finished else "stopped")
    return RunResult(finished=finished)


def _finish(run: PlannedRun) -> None:
    """Export a finished teacher, and delete the replay, unless that is done already.

    Raises:
        UserError: the student cannot be exported, or is no better than random play.
    """
    if run.export is not None and not run.export.is_dir():
        # These import ONNX Runtime, which students' runs do not need.
        from services.launcher.trained_student import read_student
        from services.library.export import export_teacher

        # Names of teachers cannot have a slash.
        teacher = read_student(run.folder, run.name.replace("/", "-")).teacher
        score, chance = teacher.card.score, teacher.card.random_return
        assert score is not None and chance is not None, "a finished run has been scored"
        with user_errors():
            check_scale(chance, score.mean_return)
        # An export is atomic: leftovers of a crash are in a folder of another name.
        export_teacher(run.export, teacher)
    if not run.keep_replay:
        drop_replay(run.folder)


def _train(run: PlannedRun, stop: threading.Event, report: Report) -> bool:
    is_due = Occasionally(_REPORT_SECONDS)

    def observe(answer: Answer) -> None:
        if is_due():
            report(progress_from_proto(answer.progress))

    return run_in_one_process(resolve(run.config), run.folder, stop, observe)


if __name__ == "__main__":
    main()

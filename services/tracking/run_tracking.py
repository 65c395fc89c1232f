"""Sends the metrics of a run to its trackers.

Each tracker has its own thread, so that a slow server does not delay the learner. A tracker that
fails only loses points of curves; it is retried with the next point.
"""

from __future__ import annotations

import functools
import importlib.util
import logging
import queue
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeAlias

from services.shared.errors import UserError, printable
from services.shared.installation import ADVICE
from services.shared.run_config import CONFIG_FILE, read_config
from services.shared.urls import without_credentials
from services.tracking.tracker import TrackedRun, Tracker, TrackerName

CLOSE_SECONDS = 30.0
"""How long trackers may take to finish writing at the end of a session."""
_MOST_WAITING = 1000
"""Most points waiting for a slow tracker; further ones are dropped."""

_MOST_WORDS = 200
"""Most characters of a library's message in the log."""

_LOGGER = logging.getLogger(__name__)

_Sent: TypeAlias = tuple[int, Callable[[Tracker], None]]
"""A step, and the call on the tracker."""


def check_trackers(names: Iterable[TrackerName]) -> None:
    """Check that trackers' libraries are installed, and that W&B has a login.

    Does not import them, because they start threads, and roles fork from a process without threads.

    Raises:
        UserError: a library is missing, or W&B would ask for a login; says what to do.
    """
    for name in names:
        if importlib.util.find_spec(name) is None:
            raise UserError(f"--track {name} needs the package {name}: {ADVICE['track']}")
        if name == "wandb" and _wandb_would_ask():
            raise UserError(
                "--track wandb: there is no login; run `wandb login`, or set WANDB_MODE=offline"
            )


@functools.cache
def _wandb_would_ask() -> bool:
    """Whether W&B would wait for a login, at a prompt in a thread that is hard to answer."""
    code = "import sys; from services.tracking.wandb import would_ask; sys.exit(3 * would_ask())"
    command = [sys.executable, "-c", code]
    quiet = subprocess.DEVNULL
    return subprocess.run(command, stdin=quiet, stdout=quiet, stderr=quiet).returncode == 3


class RunTracking:
    """The trackers of a run, during one session.

    Args:
        names: Names of the trackers.
        run: Folder of the run; its configuration and lineage are sent, too, if present.
        resumed_step: Updates at which this session resumes; None for a fresh run.

    Raises:
        UserError: as `check_trackers`.
    """

    def __init__(
        self, names: Sequence[TrackerName], run: Path, *, resumed_step: int | None = None
    ) -> None:
        check_trackers(names)
        self._senders = [_Sender(name, run, resumed_step) for name in dict.fromkeys(names)]

    def scalars(self, step: int, values: Mapping[str, float]) -> None:
        """Send a point of each curve, like `Tracker.scalars`."""
        for sender in self._senders:
            sender.send(step, lambda tracker: tracker.scalars(step, values))

    def files(self, paths: Iterable[Path], step: int) -> None:
        """Send the files that exist, like `Tracker.file`; they must stay until `close` returns."""
        for path in filter(Path.is_file, paths):
            for sender in self._senders:
                sender.send(step, functools.partial(_send_file, path, step))

    def close(self, timeout_seconds: float = CLOSE_SECONDS) -> None:
        """Have the trackers finish writing; a second call does nothing.

        Args:
            timeout_seconds: How long to wait.
        """
        deadline = time.monotonic() + timeout_seconds
        for sender in self._senders:
            # Ask all first, so that they write in parallel.
            sender.stop()
        for sender in self._senders:
            sender.join(max(0.0, deadline - time.monotonic()))


def _send_file(path: Path, step: int, tracker: Tracker) -> None:
    tracker.file(path, step)


class _Sender:
    """A tracker and its own thread, which starts with the first point.

    So a learner that finds another one running never touches the run's files.
    """

    def __init__(self, name: TrackerName, run: Path, resumed_step: int | None) -> None:
        self._name = name
        self._run = run
        self._resumed_step = resumed_step
        self._waiting: queue.SimpleQueue[_Sent | None] = queue.SimpleQueue()
        self._thread: threading.Thread | None = None
        self._tracker: Tracker | None = None
        self._has_failed = self._has_dropped = False

    def send(self, step: int, use: Callable[[Tracker], None]) -> None:
        if self._thread is None:
            self._thread = threading.Thread(target=self._work, name=self._name, daemon=True)
            self._thread.start()
        if self._waiting.qsize() < _MOST_WAITING:
            self._waiting.put((step, use))
        elif not self._has_dropped:
            self._has_dropped = True
            _LOGGER.warning("%s is too slow: points are lost from step %d on", self._name, step)

    def stop(self) -> None:
        self._waiting.put(None)

    def join(self, timeout_seconds: float) -> None:
        if self._thread is None:
            return
        self._thread.join(timeout_seconds)
        if self._thread.is_alive():
            _LOGGER.warning("%s did not accept all metrics in time; the rest is lost", self._name)
        self._thread = None

    def _work(self) -> None:
        while (sent := self._waiting.get()) is not None:
            self._use(*sent)
        self._close()

    def _use(self, step: int, use: Callable[[Tracker], None]) -> None:
        try:
            if self._tracker is None:
                self._tracker = self._open()
            use(self._tracker)
            self._has_failed = False
        # Libraries may raise anything, and a run is worth more than its curves.
        except Exception as error:
            self._report(error)
            self._close()
        self._resumed_step = step

    def _open(self) -> Tracker:
        """Open the tracker, and send the run's configuration."""
        run = TrackedRun(folder=self._run, resumed_step=self._resumed_step)
        self._tracker = tracker = _TRACKERS[self._name](run)
        if (self._run / CONFIG_FILE).exists():
            tracker.configuration(_flat(read_config(self._run)))
        if (lineage := self._run / "provenance.json").exists():
            tracker.file(lineage, self._resumed_step or 0)
        return tracker

    def _close(self) -> None:
        if self._tracker is not None:
            try:
                self._tracker.close()
            # As in `_use`; some libraries only send their data now.
            except Exception as error:
                self._report(error)
        self._tracker = None

    def _report(self, error: Exception) -> None:
        """Log the first of consecutive errors; the others add nothing."""
        if not self._has_failed:
            words = printable(str(error)[:_MOST_WORDS])
            _LOGGER.error("no metrics written to %s: %s", self._name, words)
        self._has_failed = True


def _flat(settings: Mapping[str, Any], prefix: str = "") -> dict[str, object]:
    """Dotted name -> value, without credentials in URLs."""
    flat: dict[str, object] = {}
    for name, value in settings.items():
        if isinstance(value, dict) and value:
            flat |= _flat(value, f"{prefix}{name}.")
        else:
            flat[f"{prefix}{name}"] = _public(value)
    return flat


def _public(value: object) -> object:
    if isinstance(value, list):
        return [_public(one) for one in value]
    return without_credentials(value) if isinstance(value, str) else value


def _tensorboard(run: TrackedRun) -> Tracker:
    from services.tracking.tensorboard import TensorBoard

    return TensorBoard(run)


def _trackio(run: TrackedRun) -> Tracker:
    from services.tracking.trackio import Trackio

    return Trackio(run)


def _wandb(run: TrackedRun) -> Tracker:
    from services.tracking.wandb import WandB

    return WandB(run)


def _mlflow(run: TrackedRun) -> Tracker:
    from services.tracking.mlflow import MLflow

    return MLflow(run)


# Each library is imported only if its tracker is requested.
_TRACKERS: Mapping[TrackerName, Callable[[TrackedRun], Tracker]] = {
    "tensorboard": _tensorboard,
    "trackio": _trackio,
    "wandb": _wandb,
    "mlflow": _mlflow,
}

"""Reloads served models: detects new weights, loads, checks, warms up and swaps them in.

If a checkpoint cannot be read, or takes other observations than its model, the present version
keeps serving, and the log says what is wrong.
"""

from __future__ import annotations

import contextlib
import glob
import itertools
import logging
import queue
import threading
from collections.abc import Callable, Sequence
from pathlib import Path

from rrl_agents.ensembles import parse_ensemble
from rrl_client import PolicySpec
from services.library.catalogue import locate
from services.shared.errors import UserError
from services.teacher.config import ModelConfig
from services.teacher.engine import Engine
from services.teacher.metrics import TeacherMetrics
from services.teacher.policies.interface import Policy

_LOG = logging.getLogger(__name__)
_MOST_FILES = 10_000

Fingerprint = frozenset[tuple[str, int, int]]
"""Name, size and modification time of every file of a checkpoint."""


class Reloader:
    """Watches the checkpoints of a service, in one thread."""

    def __init__(
        self,
        engine: Engine,
        models: Sequence[ModelConfig],
        load: Callable[[ModelConfig, str], Policy],
        *,
        metrics: TeacherMetrics,
        buckets: Sequence[int],
        period_seconds: float | None,
    ) -> None:
        """Remember the checkpoints as they are now; `start` begins to watch.

        Args:
            engine: Gets the new versions.
            models: The served models; of several checkpoints with one name, the last is watched.
            load: Loads a model for a backend ("jax", "onnx" or "auto").
            metrics: Metrics of reloads.
            buckets: Batch sizes to compile.
            period_seconds: Seconds between checks; None for checks only on request.
        """
        self._engine = engine
        self._models = {model.name: model for model in models}
        self._load = load
        self._metrics = metrics
        self._buckets = buckets
        self._period_seconds = period_seconds
        self._seen: dict[str, Fingerprint | None] = {
            name: fingerprint(model.reference) for name, model in self._models.items()
        }
        # Not an event: a signal handler may interrupt another one that holds the event's lock.
        self._wake: queue.SimpleQueue[None] = queue.SimpleQueue()
        self._stopping = False
        self._thread = threading.Thread(target=self._run, name="teacher-reloader", daemon=True)

    def start(self) -> None:
        """Begin to watch."""
        self._thread.start()

    def look_now(self) -> None:
        """Request a reload of every checkpoint, changed or not; safe in a signal handler."""
        # Differs from every fingerprint, even from that of a policy without files.
        self._seen = dict.fromkeys(self._models)
        self._wake.put(None)

    def stop(self) -> None:
        """End the thread, after the current reload."""
        self._stopping = True
        self._wake.put(None)
        if self._thread.is_alive():
            self._thread.join()

    def _run(self) -> None:
        while not self._stopping:
            self._wait()
            for name, model in self._models.items():
                now = fingerprint(model.reference)
                if not self._stopping and now != self._seen[name]:
                    self._seen[name] = now
                    self._reload(model)

    def _wait(self) -> None:
        with contextlib.suppress(queue.Empty):
            self._wake.get(timeout=self._period_seconds)
            # One check serves all requests so far.
            while True:
                self._wake.get_nowait()

    def _reload(self, model: ModelConfig) -> None:
        try:
            description, plan = self._engine.newest(model.name)
            # An ensemble's members may use different backends.
            by_onnx = "onnx" in description.backend and "jax" not in description.backend
            policy = self._load(model, "onnx" if by_onnx else "jax")
            if policy.info.version == description.teacher_version:
                return
            _check_fits(policy.info.spec, description.spec)
            for rows in self._buckets:
                policy.evaluate(policy.info.spec.zeros(rows))
            # Use the old version's plan, whose times come from a quieter machine.
            added = self._engine.add_version(model.name, policy, plan)
        except Exception as error:
            self._metrics.reloaded(model.name, "failed")
            _LOG.error("%s: not reloaded, the old weights keep serving: %s", model.name, error)
        else:
            self._metrics.reloaded(model.name, "ok")
            _LOG.info(
                "%s: version %d (%s) serves now",
                model.name,
                added.model_version,
                added.teacher_version,
            )


def fingerprint(reference: str) -> Fingerprint:
    """Changes whenever the files of a checkpoint change; empty if there are none.

    A Python policy has no files: only SIGHUP rebuilds it. An ensemble's files are its members'.
    """
    ensemble = parse_ensemble(reference)
    if ensemble is not None:
        return frozenset().union(*map(fingerprint, ensemble.members))
    try:
        path = Path(locate(reference))
    except UserError:
        return frozenset()
    # TensorFlow checkpoints may be named by the common prefix of their files.
    files = path.rglob("*") if path.is_dir() else path.parent.glob(f"{glob.escape(path.name)}*")
    found = []
    for file in itertools.islice(files, _MOST_FILES):
        with contextlib.suppress(OSError):
            state = file.stat()
            found.append((file.name, state.st_size, state.st_mtime_ns))
    return frozenset(found)


def _check_fits(new: PolicySpec, served: PolicySpec) -> None:
    mismatch = new.mismatch(served, of="the version that serves")
    if mismatch is not None:
        raise ValueError(
            f"it {mismatch}, as clients of this model expect; serve it under a name of its own"
        )

"""The importer: recorded data becomes a table of a run, labelled by the teacher.

    recorded rows ─▶ labelled_chunks ─▶ RecordedWriter ─▶ replay (Reverb)
                       │      ▲
                       ▼      │ scores, kept on disk
                     teacher service

It fills the teacher's table or, where a run goes on from the data of the agent before it, the
student's; there no actor may write until all is in.

The transitions go in in the order of time, so the number of items ever inserted says where to go
on: after any kill, that is what the restored table holds. A replay server that comes back with
fewer items than it had confirmed, while this process lives on, cannot be told from one that also
took what was under way: its table is emptied and filled anew, from labels that are on disk by then.
A teacher or a replay server that is away is waited for.
"""

from __future__ import annotations

import contextlib
import logging
import threading
import time

import reverb
from prometheus_client import CollectorRegistry

from rrl_client import TeacherDescription
from services.replay.config import PreloadConfig
from services.replay.connection import ReplayTimeout
from services.replay.filling import Filling, ReplayWentBack, inserted_items
from services.replay.importer_metrics import ImporterMetrics
from services.replay.labels import LabelManifest, Labels
from services.replay.newest_rows import with_newest_transitions
from services.replay.patient_teacher import AskingStopped, PatientTeacher
from services.replay.writer import WriterStopped
from services.shared.errors import UserError
from services.shared.locks import locked

IMPORTER_LOCK = ".importer.lock"
"""Held in a run's folder by its importer: two would write every transition twice."""

LABELS_FOLDER = "teacher_labels"
"""In a run's folder."""

_LOCK_WAIT_SECONDS = 30.0
_REPLAY_SECONDS = 1.0
_REPLAY_STARTUP_SECONDS = 300.0


def build_preloader(config: PreloadConfig, metrics: ImporterMetrics | None = None) -> Preloader:
    """The importer of a run, not yet at work."""
    return Preloader(config, metrics)


class Preloader:
    """Fills one table once.

    Args:
        config: What goes where.
        metrics: What it counts; None for nobody to see.
    """

    def __init__(self, config: PreloadConfig, metrics: ImporterMetrics | None = None) -> None:
        self._config = config
        self._metrics = metrics or ImporterMetrics(CollectorRegistry())
        self._metrics.aims_at(config.transitions)
        self._log = logging.getLogger(__name__)

    def run(self, stop: threading.Event) -> None:
        """Import until the table holds all, or `stop` is set.

        Raises:
            UserError: another importer works on this run; replay does not come, or is another
                experiment's; the teacher is another; the data is damaged or has changed.
        """
        with (
            locked(self._config.run / IMPORTER_LOCK, wait_seconds=_LOCK_WAIT_SECONDS),
            contextlib.suppress(WriterStopped, AskingStopped),
        ):
            inserted = self._wait_for_replay(stop)
            if inserted >= self._config.transitions:
                self._log.info(
                    "the %s's table holds its %d transitions already",
                    self._config.table,
                    self._config.transitions,
                )
                return
            with PatientTeacher(
                self._config.teacher_address,
                stop,
                timeout_seconds=self._config.teacher_timeout_seconds,
                security=self._config.peers,
            ) as teacher:
                self._import(teacher, stop)

    def _import(self, teacher: PatientTeacher, stop: threading.Event) -> None:
        """Raises: as `run`, and AskingStopped or WriterStopped."""
        config = self._config
        rows = config.data.open()
        if config.labels is None:
            rows = with_newest_transitions(rows, config.layout.n_step, config.transitions)
        described = teacher.wait_until_ready()
        self._check_teacher(described)
        manifest = LabelManifest(
            data_fingerprint=rows.fingerprint,
            rows=rows.rows,
            num_actions=config.layout.num_actions,
            teacher=described.name,
            teacher_version=described.teacher_version,
            output=described.spec.output,
            temperature=described.spec.temperature,
        )
        with Labels(config.labels or config.run / LABELS_FOLDER, manifest) as labels:
            filling = Filling(config, rows, labels, teacher, stop, on_written=self._metrics.wrote)
            while (inserted := self._wait_for_replay(stop)) < config.transitions:
                try:
                    filling.go_on(inserted)
                except ReplayTimeout as error:
                    # Nothing is under way: what the table holds by then says where to go on.
                    self._log.warning("%s; waiting for it", error)
                except ReplayWentBack as error:
                    self._log.warning("%s; filling the table anew", error)
                    reverb.Client(config.replay_address).reset(config.table)
        self._log.info("the %s's table holds %d transitions", config.table, inserted)

    def _check_teacher(self, described: TeacherDescription) -> None:
        config = self._config
        if not config.teacher.parameters_sha256.startswith(described.teacher_version):
            raise UserError(
                f"the teacher at {config.teacher_address} is {described.name} "
                f"({described.teacher_version}), not this run's {config.teacher.name} "
                f"({config.teacher.parameters_sha256[:16]}); serve that one"
            )

    def _wait_for_replay(self, stop: threading.Event) -> int:
        """Items that the table has ever taken, once the replay server is there.

        Raises:
            UserError: it does not come.
            AskingStopped: asked to stop meanwhile.
        """
        end = time.monotonic() + _REPLAY_STARTUP_SECONDS
        while not stop.is_set():
            try:
                inserted = inserted_items(self._config, _REPLAY_SECONDS)
                self._metrics.stands_at(inserted)
                return inserted
            except ReplayTimeout as error:
                if time.monotonic() > end:
                    raise UserError(f"{error}; is the replay server running?") from error
        raise AskingStopped("stopped while waiting for the replay server")

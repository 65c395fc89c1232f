"""The importer: fills a run's table with recorded data, labelled by the teacher.

    recorded rows ─▶ labelled_chunks ─▶ RecordedWriter ─▶ replay (Reverb)
                       │      ▲
                       ▼      │ scores, kept on disk
                     teacher service

It fills the teacher's table or, if a run starts from the previous agent's data, the student's; no
actor may write there until the import is complete.

Transitions are written in time order, so the number of items ever inserted says where to resume:
after a crash, that is the number in the restored table. If a replay server restarts during the
import with another number of items than it had confirmed, items in flight may or may not be in its
table: the importer empties the table and fills it again, from labels that are on disk by then. It
waits for an unavailable teacher or replay server.
"""

from __future__ import annotations

import contextlib
import logging
import threading

from prometheus_client import CollectorRegistry

from rrl_client import TeacherDescription
from services.recorded_data.config import LABELS_FOLDER, ImporterConfig
from services.recorded_data.labelling import label_manifest
from services.recorded_data.labels import Labels
from services.recorded_data.metrics import ImporterMetrics
from services.recorded_data.retrying_teacher import RetryingTeacherClient, Stopped
from services.recorded_data.transfer import ReplayRestarted, Transfer
from services.replay.connection import reset_table, wait_for_tables
from services.replay.failures import ReplayTimeout, WriterStopped
from services.shared.errors import UserError
from services.shared.locks import locked

IMPORTER_LOCK = ".importer.lock"
"""Held in a run's folder by its importer, because two would write every transition twice."""

_LOCK_WAIT_SECONDS = 30.0
_REPLAY_STARTUP_SECONDS = 300.0


def build_importer(config: ImporterConfig, metrics: ImporterMetrics | None = None) -> Importer:
    """Build the importer of a run."""
    return Importer(config, metrics)


class Importer:
    """Fills one table once.

    Args:
        config: Data, table and peers.
        metrics: Its metrics; None for no metrics page.
    """

    def __init__(self, config: ImporterConfig, metrics: ImporterMetrics | None = None) -> None:
        self._config = config
        self._metrics = metrics or ImporterMetrics(CollectorRegistry())
        self._metrics.target = config.transitions
        self._log = logging.getLogger(__name__)

    def run(self, stop: threading.Event) -> None:
        """Import until the table is complete or `stop` is set.

        Raises:
            UserError: another importer works on this run; replay does not start, or belongs to
                another experiment; the teacher differs; the data is damaged or has changed.
        """
        config = self._config
        with (
            locked(config.run / IMPORTER_LOCK, wait_seconds=_LOCK_WAIT_SECONDS),
            contextlib.suppress(WriterStopped, Stopped),
        ):
            if self._wait_for_replay(stop) >= config.transitions:
                self._log.info(
                    "the %s's table holds its %d transitions already",
                    config.table,
                    config.transitions,
                )
                return
            with RetryingTeacherClient(
                config.teacher_address,
                timeout_seconds=config.teacher_timeout_seconds,
                security=config.teacher_peers,
                stop=stop,
            ) as teacher:
                self._import(teacher, stop)

    def _import(self, teacher: RetryingTeacherClient, stop: threading.Event) -> None:
        """Raises: as `run`, and Stopped or WriterStopped."""
        config = self._config
        rows = config.data.open()
        if config.labels is None:
            rows = rows.newest(config.layout.n_step, config.transitions)
        described = teacher.wait_until_ready()
        self._check_teacher(described)
        folder = config.labels or config.run / LABELS_FOLDER
        with Labels(folder, label_manifest(rows, described)) as labels:
            transfer = Transfer(
                config, rows, labels, teacher.ask, stop, on_written=self._metrics.count_written
            )
            while (inserted := self._wait_for_replay(stop)) < config.transitions:
                try:
                    transfer.resume(inserted)
                except ReplayTimeout as error:
                    # Nothing is in flight: the table's content says where to resume.
                    self._log.warning("%s; waiting for it", error)
                except ReplayRestarted as error:
                    self._log.warning("%s; filling the table again", error)
                    reset_table(config.replay_address, config.table)
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
        """Items ever inserted into the table, once the replay server is up.

        Raises:
            UserError: it does not start in time.
            Stopped: `stop` was set.
        """
        config = self._config
        counts = wait_for_tables(config.replay_address, stop, _REPLAY_STARTUP_SECONDS)
        if counts is None:
            raise Stopped("stopped while waiting for the replay server")
        inserted = counts[config.table].inserted
        self._metrics.in_table = inserted
        return inserted

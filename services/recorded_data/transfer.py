"""Transfers a recording into a table: rows, labels and writer combined."""

from __future__ import annotations

import contextlib
import logging
import threading
import time
from collections.abc import Callable, Iterator

import numpy as np

from rrl_agents.checkpoints.recorded_rows import RecordedRows
from services.recorded_data.config import ImporterConfig
from services.recorded_data.labelling import Ask, LabelledChunk, labelled_chunks
from services.recorded_data.labels import Labels
from services.recorded_data.recorded_writer import RecordedWriter
from services.replay.connection import table_counts
from services.replay.table_names import STUDENT_TABLE
from services.shared.errors import UserError, user_errors
from services.shared.logging import Occasionally

_LOG_PERIOD_SECONDS = 10.0


class ReplayRestarted(Exception):
    """The table's number of items differs from what it had confirmed."""


class Transfer:
    """Writes the transitions of a recording in time order.

    Args:
        config: Table, layout and number of transitions.
        rows: The recording; if it has more transitions than needed, the newest are written.
        labels: Labels of these rows.
        ask: Queries missing labels.
        stop: Ends every wait.
        on_written: Called with the number of newly confirmed transitions.
    """

    def __init__(
        self,
        config: ImporterConfig,
        rows: RecordedRows,
        labels: Labels,
        ask: Ask,
        stop: threading.Event,
        on_written: Callable[[int], None],
    ) -> None:
        self._config = config
        self._on_written = on_written
        self._rows = rows
        self._labels = labels
        self._ask = ask
        self._stop = stop
        self._starts = rows.transition_rows(config.layout.n_step)[-config.transitions :]

    def resume(self, inserted: int) -> None:
        """Write all transitions after the first `inserted`, which the table has.

        Raises:
            ReplayRestarted: the replay server has restarted.
            ReplayTimeout: it is unavailable; nothing is in flight.
            WriterStopped, Stopped: `stop` was set.
            UserError: the data is damaged or has changed, or the teacher differs.
        """
        starts = self._starts[inserted:]
        wanted = np.zeros(self._rows.rows, bool)
        wanted[starts] = True
        first_row = int(starts[0]) - (self._rows.stack_size - 1)
        wanted_items, done, rows = self._config.transitions, inserted, 0
        log, began = logging.getLogger(__name__), time.monotonic()
        should_log = Occasionally(_LOG_PERIOD_SECONDS, at_once=False)
        log.info("importing transitions %d to %d", inserted, wanted_items)
        with contextlib.closing(RecordedWriter(self._config, self._stop)) as writer:
            for labelled in self._chunks(first_row):
                begin, count = labelled.rows.first_row, len(labelled.rows)
                writer.append(labelled, wanted[begin : begin + count])
                writer.flush()
                before, done = done, inserted + writer.items
                self._on_written(done - before)
                self._check_inserted(done)
                rows += count
                if should_log() or done == wanted_items:
                    pace = rows / (time.monotonic() - began)
                    log.info("%d of %d transitions, %.0f rows/s", done, wanted_items, pace)
                if done == wanted_items:
                    return
        raise UserError(f"{self._config.data.path} changed while it was read; start again")

    def _chunks(self, first_row: int) -> Iterator[LabelledChunk]:
        with user_errors():
            yield from labelled_chunks(self._rows, self._labels, self._ask, first_row=first_row)

    def _check_inserted(self, confirmed: int) -> None:
        inserted = inserted_items(self._config)
        is_last = confirmed == self._config.transitions
        if self._config.table == STUDENT_TABLE and is_last and inserted > confirmed:
            return  # The student is already playing and only waits for our last transition.
        if inserted != confirmed:
            raise ReplayRestarted(
                f"the replay server confirmed {confirmed} transitions and now counts {inserted}"
            )


def inserted_items(config: ImporterConfig) -> int:
    """The number of items ever inserted into the table.

    Raises:
        ReplayTimeout: the replay server does not answer.
    """
    return table_counts(config.replay_address)[config.table].inserted

"""Imports recorded data into a table of this process, labelled by its teacher.

    recorded rows ─▶ labelled_chunks ─▶ LocalTable
                       │      ▲
                       ▼      │ scores, kept on disk
                     teacher

Transitions are inserted in time order, so the number of items says where to resume.
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rrl_client import TeacherDescription
from services.recorded_data.config import LABELS_FOLDER, ImporterConfig
from services.recorded_data.labelling import label_manifest, labelled_chunks
from services.recorded_data.labels import Labels
from services.recorded_data.recorded_rows import append_row
from services.replay.local_table import LocalTable
from services.shared.errors import UserError, user_errors


def import_in_process(
    config: ImporterConfig,
    table: LocalTable,
    scores: Callable[[NDArray[Any]], NDArray[np.float32]],
    described: TeacherDescription,
    *,
    is_stopped: Callable[[], bool],
) -> None:
    """Insert all transitions that the table lacks.

    Args:
        config: The data; addresses are ignored.
        table: The table to fill.
        scores: The teacher's scores of states.
        described: Describes the teacher.
        is_stopped: Called after each chunk; true ends the import early.

    Raises:
        UserError: the data is damaged or has changed, or the teacher plays another game.
    """

    def ask(states: NDArray[np.uint8]) -> Future[NDArray[np.float32]]:
        answered: Future[NDArray[np.float32]] = Future()
        answered.set_result(scores(states))
        return answered

    rows = config.data.open()
    if config.labels is None:
        rows = rows.newest(config.layout.n_step, config.transitions)
    starts = rows.transition_rows(config.layout.n_step)[-config.transitions :][table.inserted :]
    if not len(starts):
        return
    wanted = np.zeros(rows.rows, bool)
    wanted[starts] = True
    first_row, items = int(starts[0]) - (rows.stack_size - 1), table.writer()
    folder = config.labels or config.run / LABELS_FOLDER
    with Labels(folder, label_manifest(rows, described)) as labels, user_errors():
        for labelled in labelled_chunks(rows, labels, ask, first_row=first_row):
            for index in range(len(labelled.rows)):
                begins_item = bool(wanted[labelled.rows.first_row + index])
                append_row(items, config.layout, labelled, index, begins_item)
            if table.inserted >= config.transitions or is_stopped():
                return
    raise UserError(f"{config.data.path} changed while it was read; start again")

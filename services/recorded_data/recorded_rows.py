"""Converts recorded rows to replay rows, for any table.

Recorded data has its own padding before episodes. After a terminal row, n zero rows are inserted,
so that items at the end of an episode never contain the next episode (`item_layout`).
"""

from __future__ import annotations

from services.recorded_data.labelling import LabelledChunk
from services.replay.episodes import RowWriter
from services.replay.item_layout import ItemLayout, StepRow


def append_row(
    items: RowWriter, layout: ItemLayout, labelled: LabelledChunk, index: int, begins_item: bool
) -> None:
    """Append one row of a chunk, and the padding after a terminal one.

    Args:
        items: Receives the rows.
        layout: Shapes of rows and items.
        labelled: The chunk, with the teacher's scores.
        index: Index of the row in the chunk.
        begins_item: Whether to create the item that begins there.

    Raises:
        ValueError: a frame or an action does not fit the layout.
    """
    rows, columns = labelled.rows, labelled.rows.columns
    is_terminal = bool(columns.terminal[index])
    step = StepRow(
        frame=rows.frame[index],
        action=int(columns.action[index]),
        reward=float(columns.reward[index]),
        terminated=is_terminal,
        teacher_outputs=labelled.scores[index] if columns.is_state[index] else None,
    )
    items.append(layout.row(step), begins_item=begins_item)
    if is_terminal:
        items.append_padding(layout.n_step)

"""Labelling recorded rows with a teacher's scores, in one pass and bounded memory.

    recorded rows ──▶ stacks uint8 [B, H, W, stack] ──▶ ask ──▶ scores ──▶ labels (disk) ──▶ caller

A few queries are always in flight while the next rows are read and unpacked. Every state is queried
once: existing scores are read from the labels.
"""

from __future__ import annotations

import collections
import dataclasses
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from rrl_agents.checkpoints.recorded_rows import RecordedRows, RowChunk
from rrl_client import TeacherDescription
from services.recorded_data.labels import LabelManifest, Labels
from services.shared.errors import UserError

BATCH_ROWS = 128
"""States of one query: the largest batch that the teacher service compiles."""

QUERIES_AHEAD = 8
"""Queries in flight, 29 MB of Atari states: enough that the service never waits while a chunk is
unpacked or written."""


Ask = Callable[[NDArray[np.uint8]], Future[NDArray[np.float32]]]
"""Sends states, uint8 [B, H, W, stack] with B up to `BATCH_ROWS`, which must not change."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class LabelledChunk:
    """Consecutive rows with the teacher's scores.

    Attributes:
        rows: R rows.
        scores: float32 [R, A]; zeros for rows that are not states.
    """

    rows: RowChunk
    scores: NDArray[np.float32]


def labelled_chunks(
    rows: RecordedRows, labels: Labels, ask: Ask, *, first_row: int = 0
) -> Iterator[LabelledChunk]:
    """Read rows with their scores, and store new scores.

    Args:
        rows: The recorded rows.
        labels: Reads and stores the scores; labels of this data.
        ask: Queries missing scores.
        first_row: First row to yield, 0 to the number of rows; earlier rows without labels are
            labelled on the way.

    Yields:
        Chunks in time order, from `first_row` to the end.

    Raises:
        ValueError: The data is damaged.
        UserError: The scores do not fit, or cannot be written.
    """
    labelled_before = labels.rows_done
    # Earlier rows complete the first state's stack.
    begin = max(min(first_row, labelled_before) - (rows.stack_size - 1), 0)
    queries: collections.deque[_Query] = collections.deque()
    opened: collections.deque[_OpenChunk] = collections.deque()
    for chunk, frames in _with_history(rows, begin):
        opened.append(_OpenChunk(chunk, labels, labelled_before))
        for places in opened[-1].batches():
            if len(queries) == QUERIES_AHEAD:
                queries.popleft().settle()
                yield from _closed(opened, first_row)
            states = _stacks(frames, places, rows.stack_size)
            queries.append(_Query(opened[-1], places, ask(states)))
        opened[-1].is_asked = True
        yield from _closed(opened, first_row)
    while queries:
        queries.popleft().settle()
        yield from _closed(opened, first_row)


def label_manifest(rows: RecordedRows, teacher: TeacherDescription) -> LabelManifest:
    """The manifest of a teacher's labels of a recording.

    Raises:
        UserError: The teacher does not accept these states, or lacks actions of the data.
    """
    spec = teacher.spec
    misfit = spec.misfit(
        observation_shape=(*rows.frame_shape, rows.stack_size),
        observation_dtype="uint8",
        of="the data",
    )
    if misfit is not None:
        raise UserError(f"{teacher.name} {misfit}; choose a teacher of this game and preprocessing")
    if rows.num_actions > spec.num_actions:
        raise UserError(
            f"{teacher.name} has {spec.num_actions} actions, the data holds action "
            f"{rows.num_actions - 1}; choose a teacher of this game"
        )
    return LabelManifest(
        data_fingerprint=rows.fingerprint,
        rows=rows.rows,
        num_actions=spec.num_actions,
        teacher=teacher.name,
        teacher_version=teacher.teacher_version,
        output=spec.output,
        temperature=spec.temperature,
    )


class _OpenChunk:
    """A chunk that still lacks scores."""

    def __init__(self, rows: RowChunk, labels: Labels, labelled_before: int) -> None:
        """Read existing scores from the labels.

        Args:
            rows: The chunk.
            labels: Reads and stores its scores.
            labelled_before: Rows that were labelled when the pass began.
        """
        self.rows = rows
        self.scores = np.zeros((len(rows), labels.manifest.num_actions), np.float32)
        self.is_asked = False
        self._labels = labels
        self._known = min(max(labelled_before - rows.first_row, 0), len(rows))
        self._unanswered = 0
        if self._known:
            self.scores[: self._known] = labels.read(rows.first_row, self._known)

    @property
    def is_whole(self) -> bool:
        """Whether every state has its scores."""
        return self.is_asked and not self._unanswered

    def batches(self) -> Iterator[NDArray[np.intp]]:
        """Positions in the chunk of the states to query."""
        places = np.flatnonzero(self.rows.columns.is_state)
        places = places[places >= self._known]
        for start in range(0, len(places), BATCH_ROWS):
            self._unanswered += 1
            yield places[start : start + BATCH_ROWS]

    def answer(self, places: NDArray[np.intp], scores: NDArray[np.float32]) -> None:
        """Store the scores of one batch.

        Raises:
            UserError: They do not fit the labels.
        """
        wanted = (len(places), self.scores.shape[1])
        if scores.shape != wanted or not np.isfinite(scores).all():
            raise UserError(
                f"the teacher answered {wanted[0]} states with scores of shape {scores.shape}, "
                f"finite ones of shape {wanted} are wanted; serve the teacher of these labels"
            )
        self.scores[places] = scores
        self._unanswered -= 1

    def close(self) -> LabelledChunk:
        """Store the new scores.

        Raises:
            UserError: They cannot be written.
        """
        self._labels.append(self.scores[self._known :])
        return LabelledChunk(rows=self.rows, scores=self.scores)


class _Query(NamedTuple):
    """A query in flight for states of one chunk."""

    chunk: _OpenChunk
    places: NDArray[np.intp]
    pending: Future[NDArray[np.float32]]

    def settle(self) -> None:
        """Wait for the answer and store it."""
        self.chunk.answer(self.places, self.pending.result())


def _closed(opened: collections.deque[_OpenChunk], first_row: int) -> Iterator[LabelledChunk]:
    """Remove complete chunks from the front; yields their rows from `first_row` on."""
    while opened and opened[0].is_whole:
        labelled = opened.popleft().close()
        before = first_row - labelled.rows.first_row
        if before <= 0:
            yield labelled
        elif before < len(labelled.rows):
            yield LabelledChunk(
                rows=labelled.rows.since(first_row), scores=labelled.scores[before:]
            )


def _with_history(
    rows: RecordedRows, first_row: int
) -> Iterator[tuple[RowChunk, NDArray[np.uint8]]]:
    """Chunks, each with uint8 [stack - 1 + R, H, W]: preceding frames, then its own."""
    # No row before the data is a state, so any frames will do.
    frames = np.zeros((rows.stack_size - 1, *rows.frame_shape), np.uint8)
    for chunk in rows.chunks(first_row):
        frames = np.concatenate([frames[len(frames) - rows.stack_size + 1 :], chunk.frame])
        yield chunk, frames


def _stacks(
    frames: NDArray[np.uint8], places: NDArray[np.intp], stack_size: int
) -> NDArray[np.uint8]:
    """uint8 [B, H, W, stack], oldest frame first, for the rows at `places`.

    Frame by frame, which is three times as fast as copying a `sliding_window_view`.
    """
    states = np.empty((len(places), *frames.shape[1:], stack_size), np.uint8)
    for age in range(stack_size):
        states[..., age] = frames[places + age]
    return states

"""Splits a batch that is too large for one request, and joins the answers."""

from __future__ import annotations

import collections
import dataclasses
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rrl_client.codec import TeacherAnswer
from rrl_client.spec import TeacherDescription

PIECES_UNDER_WAY = 4
"""Most pieces of one batch in flight: some are transferred while one is computed."""

SEEK_SECONDS = 1.0
"""Longest search for a replica with the version that answered the other pieces."""

SEEK_PAUSE_SECONDS = 0.01

# Bytes of a message besides its observations: shape, dtype, model, version and tags take a few
# hundred bytes, unless names are very long.
_MESSAGE_OVERHEAD_BYTES = 16 * 1024


class VersionsDiffer(Exception):
    """The pieces of a batch were answered by several versions of the model.

    Attributes:
        best: Content hash of the version to request: the newest on its server; if replicas differ,
            the one that most of them serve.
    """

    def __init__(self, versions: Iterable[str], best: str) -> None:
        super().__init__(" and ".join(sorted(versions)))
        self.best = best


def piece_rows(description: TeacherDescription) -> int:
    """Most rows that fit one message under both limits of a teacher, at least 1."""
    room = description.max_message_bytes - _MESSAGE_OVERHEAD_BYTES
    return max(min(description.max_batch_rows, room // description.spec.row_bytes), 1)


def cut(observations: NDArray[Any], rows: int) -> list[NDArray[Any]]:
    """A batch [B, ...] in pieces of at most `rows` rows; an empty batch is one empty piece."""
    starts = range(0, max(len(observations), 1), rows)
    return [observations[start : start + rows] for start in starts]


def join(answers: Sequence[TeacherAnswer]) -> TeacherAnswer:
    """Join the answers of the pieces.

    Raises:
        VersionsDiffer: The answers are from different parameters, which must not be mixed.
    """
    if len(answers) == 1:
        return answers[0]
    counts = collections.Counter(answer.teacher_version for answer in answers)
    best = max(answers, key=lambda answer: (answer.model_version, counts[answer.teacher_version]))
    if len(counts) > 1:
        raise VersionsDiffer(counts, best.teacher_version)
    return dataclasses.replace(
        best, action_values=np.concatenate([answer.action_values for answer in answers])
    )

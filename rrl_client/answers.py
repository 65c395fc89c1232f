"""What every client of the teacher makes of an answer, and how it cuts a batch into pieces.

Pure functions and the types that callers see; B is the rows of a query, A the actions.
"""

from __future__ import annotations

import collections
import dataclasses
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rrl_client import codec
from rrl_client.codec import TeacherDescription
from rrl_client.errors import TeacherFailed, TeacherRejected
from rrl_client.requests import Priority
from rrl_client.v1 import teacher_pb2

PIECES_UNDER_WAY = 4
"""Pieces of one batch on their way at once: some travel while one is computed."""

SEEK_SECONDS = 1.0
"""How long a replica is looked for that has the version which other pieces were answered by."""

SEEK_PAUSE_SECONDS = 0.01

# What a message holds beside its observations: shape, dtype, model, version, tags; a few hundred
# bytes, unless names are very long.
_MESSAGE_OVERHEAD_BYTES = 16 * 1024


@dataclasses.dataclass(frozen=True, kw_only=True)
class TeacherAnswer:
    """Action values of a batch.

    Attributes:
        action_values: float32 [B, A].
        teacher_version: Content hash of the parameters that computed them.
        model_version: Number of that version on its server, from 1; 0 when the server told none.
    """

    action_values: NDArray[np.float32]
    teacher_version: str
    model_version: int = 0


class VersionsDiffer(Exception):
    """The pieces of a batch were answered by several versions of the model.

    Attributes:
        best: Content hash of the one to ask for: the newest on its server, and where replicas
            differ, the one that most of them serve.
    """

    def __init__(self, versions: Iterable[str], best: str) -> None:
        super().__init__(" and ".join(sorted(versions)))
        self.best = best


def encode_query(
    observations: NDArray[Any], model: str, version: str, priority: Priority
) -> teacher_pb2.EvaluateRequest:
    """The message that asks for a batch, still without the observations.

    Raises:
        TeacherRejected: The array cannot be sent at all.
    """
    try:
        return codec.encode_query(observations, model, version, priority)
    except ValueError as error:
        raise TeacherRejected(str(error)) from error


def decode_answer(message: teacher_pb2.EvaluateResponse, rows: int, address: str) -> TeacherAnswer:
    """Read an answer to `rows` observations.

    Raises:
        TeacherFailed: It does not fit the question.
    """
    try:
        values = codec.decode_action_values(message, rows)
    except ValueError as error:
        raise TeacherFailed(f"{address}: {error}; is it an rrl teacher?") from error
    return TeacherAnswer(
        action_values=values,
        teacher_version=message.teacher_version,
        model_version=message.model_version,
    )


def decode_description(message: teacher_pb2.DescribeResponse, address: str) -> TeacherDescription:
    """Read what a teacher says of itself.

    Raises:
        TeacherFailed: It contradicts itself.
    """
    try:
        return codec.decode_description(message)
    except ValueError as error:
        raise TeacherFailed(f"{address}: {error}; is it an rrl teacher?") from error


def piece_rows(description: TeacherDescription) -> int:
    """Most rows that fit one message under both limits of a teacher, at least 1."""
    room = description.max_message_bytes - _MESSAGE_OVERHEAD_BYTES
    return max(min(description.max_batch_rows, room // description.spec.row_bytes), 1)


def cut(observations: NDArray[Any], rows: int) -> list[NDArray[Any]]:
    """A batch [B, ...] in pieces of at most `rows` rows; an empty batch is one empty piece."""
    starts = range(0, max(len(observations), 1), rows)
    return [observations[start : start + rows] for start in starts]


def join(answers: Sequence[TeacherAnswer]) -> TeacherAnswer:
    """The pieces' answers as one.

    Raises:
        VersionsDiffer: They come from different parameters, which must not be mixed.
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


def changed_during_call(address: str, error: Exception) -> TeacherFailed:
    """The error of a batch whose pieces no single version answered."""
    return TeacherFailed(f"the teacher at {address} changed during the call ({error}); ask again")

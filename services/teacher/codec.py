"""Arrays and messages of the teacher's wire contract (protos/rrl/teacher/v1/teacher.proto).

Both sides use these functions. They need protobuf and numpy only, and trust nothing: what arrives
is checked against what was announced before any array is made of it. B is the rows of one request,
A the actions; bytes are row-major and little-endian.
"""

from __future__ import annotations

import dataclasses
import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from protos.rrl.teacher.v1 import teacher_pb2

OBSERVATION_DTYPES = ("uint8", "float32")
"""Element types an observation may have on the wire."""


class InvalidRequest(ValueError):
    """A request does not fit what is served; the message says what would."""


_ACTION_VALUE = np.dtype("<f4")


@dataclasses.dataclass(frozen=True, kw_only=True)
class TeacherDescription:
    """What a teacher serves, fixed for the life of its process.

    Attributes:
        game: Game or task, e.g. "pong".
        name: Human-readable name of the checkpoint.
        num_actions: Number of actions A.
        observation_shape: Shape of one observation, e.g. (84, 84, 4), oldest frame first.
        observation_dtype: One of `OBSERVATION_DTYPES`.
        teacher_version: Content hash of the parameters.
        max_batch_rows: Most observations in one request.
        action_meanings: Names of the actions in the order of the values; empty when unknown.
    """

    game: str
    name: str
    num_actions: int
    observation_shape: tuple[int, ...]
    observation_dtype: str
    teacher_version: str
    max_batch_rows: int
    action_meanings: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        """Check what a foreign server might get wrong."""
        if self.num_actions < 1 or self.max_batch_rows < 1:
            raise ValueError(
                f"{self.num_actions} actions and {self.max_batch_rows} rows per request announced; "
                "both must be at least 1"
            )
        if not self.observation_shape or min(self.observation_shape) < 1:
            raise ValueError(
                f"observation shape {self.observation_shape} announced; every length must be >= 1"
            )
        if self.observation_dtype not in OBSERVATION_DTYPES:
            raise ValueError(
                f"observation dtype {self.observation_dtype!r} announced; "
                f"known are {', '.join(OBSERVATION_DTYPES)}"
            )
        if self.action_meanings and len(self.action_meanings) != self.num_actions:
            raise ValueError(
                f"{len(self.action_meanings)} action names for {self.num_actions} actions"
            )

    @property
    def row_bytes(self) -> int:
        """Bytes of one observation."""
        return math.prod(self.observation_shape) * np.dtype(self.observation_dtype).itemsize


def encode_description(description: TeacherDescription) -> teacher_pb2.DescribeResponse:
    """The message of a description."""
    return teacher_pb2.DescribeResponse(**dataclasses.asdict(description))


def decode_description(message: teacher_pb2.DescribeResponse) -> TeacherDescription:
    """Read a description.

    Raises:
        ValueError: The message contradicts itself or misses something.
    """
    return TeacherDescription(
        game=message.game,
        name=message.name,
        num_actions=message.num_actions,
        observation_shape=tuple(message.observation_shape),
        observation_dtype=message.observation_dtype,
        teacher_version=message.teacher_version,
        max_batch_rows=message.max_batch_rows,
        action_meanings=tuple(message.action_meanings),
    )


def encode_observations(observations: NDArray[Any]) -> teacher_pb2.EvaluateRequest:
    """The request for the action values of a batch.

    Args:
        observations: [B, ...] with B >= 1, uint8 or float32.

    Raises:
        ValueError: No rows, no axes beside the batch's, or an element type not on the wire.
    """
    dtype = observations.dtype.name
    if observations.ndim < 2 or observations.shape[0] < 1:
        raise ValueError(
            f"observations have shape {observations.shape}; give [B, ...] with at least one row"
        )
    if dtype not in OBSERVATION_DTYPES:
        raise ValueError(f"observations are {dtype}; give {' or '.join(OBSERVATION_DTYPES)}")
    return teacher_pb2.EvaluateRequest(
        batch_rows=observations.shape[0],
        observation_shape=observations.shape[1:],
        observation_dtype=dtype,
        observations=observations.astype(_little_endian(dtype), copy=False).tobytes(),
    )


def decode_observations(
    message: teacher_pb2.EvaluateRequest, description: TeacherDescription
) -> NDArray[Any]:
    """Read a request, checked against what is served.

    Returns:
        [B, *observation_shape], a read-only view of the message's bytes.

    Raises:
        InvalidRequest: Rows, shape, dtype or number of bytes differ from what is served.
    """
    rows, shape = message.batch_rows, tuple(message.observation_shape)
    if not 1 <= rows <= description.max_batch_rows:
        raise InvalidRequest(
            f"{rows} rows asked; send 1 to {description.max_batch_rows} in one request"
        )
    if shape != description.observation_shape:
        raise InvalidRequest(
            f"observations have shape {shape}; this teacher takes {description.observation_shape}"
        )
    if message.observation_dtype != description.observation_dtype:
        raise InvalidRequest(
            f"observations are {message.observation_dtype!r}; "
            f"this teacher takes {description.observation_dtype}"
        )
    if len(message.observations) != rows * description.row_bytes:
        raise InvalidRequest(
            f"{len(message.observations)} bytes of observations; "
            f"{rows} rows are {rows * description.row_bytes}"
        )
    dtype = _little_endian(description.observation_dtype)
    return np.frombuffer(message.observations, dtype).reshape(rows, *shape)


def encode_action_values(
    action_values: NDArray[np.float32], teacher_version: str
) -> teacher_pb2.EvaluateResponse:
    """The answer to one request.

    Args:
        action_values: float32 [B, A].
        teacher_version: Version that computed them.
    """
    rows, actions = action_values.shape
    return teacher_pb2.EvaluateResponse(
        batch_rows=rows,
        num_actions=actions,
        action_values=action_values.astype(_ACTION_VALUE, copy=False).tobytes(),
        teacher_version=teacher_version,
    )


def decode_action_values(
    message: teacher_pb2.EvaluateResponse, rows_asked: int
) -> NDArray[np.float32]:
    """Read an answer, checked against the request and itself.

    Returns:
        float32 [B, A], writable.

    Raises:
        ValueError: Other rows than asked, no actions, wrong number of bytes, or not finite.
    """
    rows, actions = message.batch_rows, message.num_actions
    if rows != rows_asked or actions < 1:
        raise ValueError(f"answer has {rows} rows of {actions} actions; {rows_asked} rows asked")
    if len(message.action_values) != 4 * rows * actions:
        raise ValueError(
            f"answer has {len(message.action_values)} bytes; "
            f"{rows} rows of {actions} actions are {4 * rows * actions}"
        )
    values = np.frombuffer(message.action_values, _ACTION_VALUE).reshape(rows, actions)
    if not np.isfinite(values).all():
        raise ValueError("answer holds action values that are not finite")
    return values.astype(np.float32)


def _little_endian(dtype: str) -> np.dtype[Any]:
    return np.dtype(dtype).newbyteorder("<")

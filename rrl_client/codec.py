"""Arrays and messages of the teacher's wire contract (protos/rrl/teacher/v1/teacher.proto).

Both sides use these functions. They need protobuf and numpy only, and trust nothing: what arrives
is checked against what was announced before any array is made of it. B is the rows of one request,
A the actions; bytes are row-major and little-endian.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Iterable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rrl_client.requests import Priority, Refusal
from rrl_client.spec import OBSERVATION_DTYPES, PolicySpec
from rrl_client.v1 import teacher_pb2

MOST_REASON_CHARS = 500
"""Length of what a refusal may say: it quotes the request, and gRPC drops trailers over 8 KiB."""

_ACTION_VALUE = np.dtype("<f4")
_MOST_QUOTED_CHARS = 32


class InvalidRequest(ValueError):
    """A request does not fit what is served; the message says what would."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class TeacherDescription:
    """One version of a model: what it takes and gives, and the limits of its service.

    Attributes:
        game: Game or task, e.g. "pong".
        name: Human-readable name of the checkpoint.
        spec: What it takes and gives.
        teacher_version: Content hash of the parameters.
        max_batch_rows: Most observations in one request.
        model: Name of the model on its server.
        model_version: Counts the versions of the model on its server, from 1.
        backend: What computes, e.g. "jax cpu".
        max_message_bytes: Largest message the server reads.
        host_id: Identifies the host and its boot where the server reads memory that clients on it
            share; empty where it does not.
    """

    game: str
    name: str
    spec: PolicySpec
    teacher_version: str
    max_batch_rows: int
    model: str = ""
    model_version: int = 1
    backend: str = ""
    max_message_bytes: int = 4 * 2**20
    host_id: str = ""

    def __post_init__(self) -> None:
        """Check what a foreign server might get wrong."""
        if self.max_batch_rows < 1:
            raise ValueError(f"max_batch_rows is {self.max_batch_rows}; it must be at least 1")


def encode_description(description: TeacherDescription) -> teacher_pb2.DescribeResponse:
    """The message of a description."""
    fields = dataclasses.asdict(description)
    return teacher_pb2.DescribeResponse(**fields.pop("spec"), **fields)


def decode_description(message: teacher_pb2.DescribeResponse) -> TeacherDescription:
    """Read a description.

    Raises:
        ValueError: The message contradicts itself or misses something.
    """
    return TeacherDescription(
        game=message.game,
        name=message.name,
        spec=PolicySpec(
            num_actions=message.num_actions,
            observation_shape=tuple(message.observation_shape),
            observation_dtype=message.observation_dtype,
            output=message.output,
            temperature=message.temperature if message.HasField("temperature") else None,
            action_meanings=tuple(message.action_meanings),
        ),
        teacher_version=message.teacher_version,
        max_batch_rows=message.max_batch_rows,
        model=message.model,
        model_version=message.model_version,
        backend=message.backend,
        max_message_bytes=message.max_message_bytes,
        host_id=message.host_id,
    )


def encode_models(descriptions: Iterable[TeacherDescription]) -> teacher_pb2.ListModelsResponse:
    """The list of models.

    Args:
        descriptions: Every model in every version, ordered by name and version.
    """
    found = list(descriptions)
    newest = {about.model: about.model_version for about in found}
    return teacher_pb2.ListModelsResponse(
        models=[
            teacher_pb2.ModelStatus(
                model=about.model,
                model_version=about.model_version,
                teacher_version=about.teacher_version,
                newest=about.model_version == newest[about.model],
                game=about.game,
                backend=about.backend,
            )
            for about in found
        ]
    )


def encode_failure(refusal: Refusal) -> teacher_pb2.Failure:
    """The answer to a query of a stream that is refused."""
    after = refusal.retry_after_seconds
    return teacher_pb2.Failure(
        code=int(refusal.code),
        message=str(refusal)[:MOST_REASON_CHARS],
        retry_after_ms=0 if after is None else max(1, min(round(1000 * after), 2**32 - 1)),
    )


def one_observation(shape: tuple[int, ...]) -> str:
    """What to say of an array that has the shape of a single observation."""
    return (
        f"observations have shape {shape}: that is one observation; add a batch axis: "
        "observation[None]"
    )


def encode_query(
    observations: NDArray[Any],
    model: str = "",
    version: str = "",
    priority: Priority = Priority.ACTING,
) -> teacher_pb2.EvaluateRequest:
    """The request for the action values of a batch, still without the observations themselves.

    Args:
        observations: [B, ...] with B >= 1, uint8 or float32.
        model: Name of the model; empty for the server's first.
        version: Number or hash of the version that must answer; empty for the newest.
        priority: What it is for.

    Raises:
        ValueError: No rows, no axes beside the batch's, or an element type not on the wire.
    """
    dtype = observations.dtype.name
    if observations.ndim < 2 or observations.shape[0] < 1:
        raise ValueError(
            f"observations have shape {observations.shape}; give [B, ...] with at least one row "
            "(to one observation add a batch axis: observation[None])"
        )
    if dtype not in OBSERVATION_DTYPES:
        raise ValueError(f"observations are {dtype}; give {' or '.join(OBSERVATION_DTYPES)}")
    return teacher_pb2.EvaluateRequest(
        batch_rows=observations.shape[0],
        observation_shape=observations.shape[1:],
        observation_dtype=dtype,
        model=model,
        version=version,
        priority=int(priority),  # type: ignore[arg-type]
    )


def encode_observations(
    observations: NDArray[Any],
    model: str = "",
    version: str = "",
    priority: Priority = Priority.ACTING,
) -> teacher_pb2.EvaluateRequest:
    """The whole request, as of the unary call; arguments and errors as of `encode_query`."""
    request = encode_query(observations, model, version, priority)
    request.observations = observation_bytes(observations)
    return request


def observation_bytes(observations: NDArray[Any]) -> bytes:
    """Observations as a message carries them: row-major, little-endian."""
    if observations.dtype.itemsize > 1:
        observations = observations.astype(observations.dtype.newbyteorder("<"), copy=False)
    return observations.tobytes()


def decode_observations(
    message: teacher_pb2.EvaluateRequest,
    description: TeacherDescription,
    memory: NDArray[np.uint8] | None = None,
) -> NDArray[Any]:
    """Read a request, checked against what is served.

    Args:
        message: The request.
        description: What is served.
        memory: What the caller shares with this process, uint8 [bytes]; None for nothing.

    Returns:
        [B, *observation_shape], a read-only view of the message's bytes or of the memory.

    Raises:
        InvalidRequest: Rows, shape, dtype or place of the observations differ from what is served.
    """
    check_request(message, description)
    rows, spec = message.batch_rows, description.spec
    size = rows * spec.row_bytes
    if message.HasField("memory_offset"):
        dtype = np.dtype(spec.observation_dtype)
        shared = _in_memory(message.memory_offset, size, dtype.itemsize, memory)
        return shared.view(dtype).reshape(rows, *spec.observation_shape)
    # Each look at the field makes new bytes of it.
    content = message.observations
    if len(content) != size:
        raise InvalidRequest(f"{len(content)} bytes of observations; {rows} rows are {size}")
    elements = np.frombuffer(content, _little_endian(spec.observation_dtype))
    return elements.reshape(rows, *spec.observation_shape)


def check_request(message: teacher_pb2.EvaluateRequest, description: TeacherDescription) -> None:
    """Hold what a request says of its observations to what is served.

    Raises:
        InvalidRequest: Rows, shape or dtype differ from what is served.
    """
    rows, spec = message.batch_rows, description.spec
    shape = spec.observation_shape
    # Messages may be large: what does not fit is not spelt out in full.
    dimensions = len(message.observation_shape)
    if dimensions + 1 == len(shape) and (rows, *message.observation_shape) == shape:
        raise InvalidRequest(one_observation(shape))
    if not 1 <= rows <= description.max_batch_rows:
        raise InvalidRequest(
            f"{rows} rows asked; send 1 to {description.max_batch_rows} in one request"
        )
    if dimensions != len(shape):
        raise InvalidRequest(
            f"observations have {dimensions} dimensions; this teacher takes the shape {shape}"
        )
    if tuple(message.observation_shape) != shape:
        raise InvalidRequest(
            f"observations have shape {tuple(message.observation_shape)}; this teacher takes "
            f"{shape}"
        )
    if message.observation_dtype != spec.observation_dtype:
        raise InvalidRequest(
            f"observations are {message.observation_dtype[:_MOST_QUOTED_CHARS]!r}; "
            f"this teacher takes {spec.observation_dtype}"
        )


def _in_memory(
    offset: int, size: int, itemsize: int, memory: NDArray[np.uint8] | None
) -> NDArray[np.uint8]:
    if memory is None:
        raise InvalidRequest("observations are said to lie in shared memory, but none is shared")
    if offset % itemsize or offset + size > len(memory):
        raise InvalidRequest(
            f"observations are said to lie at byte {offset} of shared memory; give a multiple of "
            f"{itemsize} up to {max(len(memory) - size, 0)}"
        )
    return memory[offset : offset + size]


def decode_priority(message: teacher_pb2.EvaluateRequest) -> Priority:
    """What a request is for.

    Raises:
        InvalidRequest: A priority that does not exist.
    """
    try:
        return Priority(message.priority)
    except ValueError as error:
        known = ", ".join(f"{priority.value} ({priority.name})" for priority in Priority)
        raise InvalidRequest(f"priority is {message.priority}; known are {known}") from error


def encode_action_values(
    action_values: NDArray[np.float32], teacher_version: str, model_version: int = 1
) -> teacher_pb2.EvaluateResponse:
    """The answer to one request.

    Args:
        action_values: float32 [B, A].
        teacher_version: Hash of the parameters that computed them.
        model_version: Number of the model's version that computed them.
    """
    response = teacher_pb2.EvaluateResponse()
    fill_action_values(response, action_values, teacher_version, model_version)
    return response


def fill_action_values(
    response: teacher_pb2.EvaluateResponse,
    action_values: NDArray[np.float32],
    teacher_version: str,
    model_version: int,
) -> None:
    """Write the answer to one request where it belongs, e.g. into a frame, which saves a copy.

    Arguments beside the message are those of `encode_action_values`.
    """
    response.batch_rows, response.num_actions = action_values.shape
    response.action_values = action_values.astype(_ACTION_VALUE, copy=False).tobytes()
    response.teacher_version = teacher_version
    response.model_version = model_version


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


@functools.cache
def _little_endian(dtype: str) -> np.dtype[Any]:
    return np.dtype(dtype).newbyteorder("<")

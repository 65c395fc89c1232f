"""Arrays and messages of the teacher's wire contract (protos/rrl/teacher/v1/teacher.proto).

Both sides use these functions, and trust nothing: what arrives is checked against what was
announced before any array is made of it. B is the rows of one request, A the actions; bytes are
row-major and little-endian.

What callers give as observations and is not an array has no dtype that somebody chose, so it takes
the teacher's: nested lists, tuples, and objects with `__array__` such as Gymnasium's LazyFrames. An
array keeps its own, which must be the teacher's: float frames of a teacher of uint8 were most
likely scaled.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Iterable
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from rrl_client.errors import TeacherRejected
from rrl_client.requests import Priority, Refusal
from rrl_client.row_major import row_major_bytes
from rrl_client.spec import OBSERVATION_DTYPES, PolicySpec, TeacherDescription
from rrl_client.v1 import teacher_pb2

MOST_REASON_CHARS = 500
"""Length of what a refusal may say: it quotes the request, and gRPC drops trailers over 8 KiB."""

_ACTION_VALUE = np.dtype("<f4")
_MOST_QUOTED_CHARS = 32
_INTEGERS = "biu"
_NUMBERS = "biuf"


class InvalidRequest(ValueError):
    """A request does not fit what is served; the message says what would."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class TeacherAnswer:
    """Action values of a batch.

    Attributes:
        action_values: float32 [B, A].
        teacher_version: Content hash of the parameters that computed them.
        model_version: Number of that version on its server, from 1; 0 when the server did not say.
    """

    action_values: NDArray[np.float32]
    teacher_version: str
    model_version: int = 0


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
        card=message.card,
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


def as_observations(given: ArrayLike, about: TeacherDescription | None) -> NDArray[Any]:
    """The array of a query, in the byte order of this machine.

    Args:
        given: [B, *observation_shape]: an array, nested lists of numbers, or an object with
            `__array__`.
        about: The teacher's description; None if it is unknown yet, in which case only an array is
            allowed.

    Raises:
        TeacherRejected: It is not an array of numbers, a single observation, or its numbers do not
            fit the teacher's dtype.
    """
    array = read_array(given)
    if about is not None:
        if array.shape == about.spec.observation_shape:
            raise TeacherRejected(one_observation(about.spec.observation_shape))
        if array is not given:
            array = in_dtype(array, about.spec.observation_dtype)
    return array if array.dtype.isnative else array.astype(array.dtype.newbyteorder("="))


def read_array(given: ArrayLike) -> NDArray[Any]:
    """An array itself, or what numpy makes of nested lists and of objects with `__array__`.

    Raises:
        TeacherRejected: That is not an array of numbers.
    """
    if isinstance(given, np.ndarray):
        return given
    try:
        array: NDArray[Any] = np.asarray(given)
    except Exception as error:
        # `__array__` is the caller's code, or e.g. that of a tensor on another device.
        raise TeacherRejected(
            f"observations are a {type(given).__name__} that is not an array ({error}); give a "
            "numpy array [B, ...], or lists whose rows are alike"
        ) from error
    if array.dtype.kind not in _NUMBERS:
        raise TeacherRejected(
            f"observations are a {type(given).__name__} that numpy reads as {array.dtype.name}; "
            "give a numpy array [B, ...], or lists of numbers"
        )
    return array


def in_dtype(array: NDArray[Any], dtype: str) -> NDArray[Any]:
    """Numbers without a dtype that anybody chose, in the teacher's.

    Decimal fractions are rounded to the nearest float32, as they are wherever they become one.

    Args:
        array: What `numpy.asarray` made of lists or the like.
        dtype: The teacher's, one of `spec.OBSERVATION_DTYPES`.

    Raises:
        TeacherRejected: A number has no counterpart in `dtype`.
    """
    found, wanted = array.dtype, np.dtype(dtype)
    if found == wanted or not array.size:
        return array.astype(wanted)
    if wanted.kind in _INTEGERS:
        if found.kind not in _INTEGERS:
            raise TeacherRejected(
                f"observations hold fractions ({found.name}); this teacher takes {dtype}, whole "
                "numbers from 0 to 255: do not scale observations"
            )
        limits = np.iinfo(wanted)
        _check_holds(array, (array >= limits.min) & (array <= limits.max), dtype)
        return array.astype(wanted)
    with np.errstate(over="ignore"):
        made = array.astype(wanted)
    if found.kind in _INTEGERS:
        # Beyond 2 ** 53 the comparison itself would round.
        is_small = (array >= -(2**53)) & (array <= 2**53)
        _check_holds(array, is_small & (made.astype(np.float64) == array), dtype)
    else:
        _check_holds(array, np.isfinite(made) | ~np.isfinite(array), dtype)
    return made


def _check_holds(array: NDArray[Any], fits: NDArray[np.bool_], dtype: str) -> None:
    if not fits.all():
        raise TeacherRejected(
            f"observations hold {array[~fits].flat[0]}, which {dtype} cannot; this teacher takes "
            f"{dtype}"
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
        TeacherRejected: No rows, no axes beside the batch's, or an element type not on the wire.
    """
    dtype = observations.dtype.name
    if observations.ndim < 2 or observations.shape[0] < 1:
        raise TeacherRejected(
            f"observations have shape {observations.shape}; give [B, ...] with at least one row "
            "(to one observation add a batch axis: observation[None])"
        )
    if dtype not in OBSERVATION_DTYPES:
        raise TeacherRejected(f"observations are {dtype}; give {' or '.join(OBSERVATION_DTYPES)}")
    return teacher_pb2.EvaluateRequest(
        batch_rows=observations.shape[0],
        observation_shape=observations.shape[1:],
        observation_dtype=dtype,
        model=model,
        version=version,
        priority=int(priority),  # type: ignore[arg-type]
    )


def observation_bytes(observations: NDArray[Any]) -> bytes:
    """Observations as a message carries them: row-major, little-endian."""
    if observations.dtype.itemsize > 1:
        observations = observations.astype(observations.dtype.newbyteorder("<"), copy=False)
    return row_major_bytes(observations)


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
        raise InvalidRequest(
            "the request has an offset in shared memory, but none is shared; send the observations "
            "in the message"
        )
    if offset % itemsize or offset + size > len(memory):
        raise InvalidRequest(
            f"the offset is byte {offset} of shared memory; give a multiple of {itemsize} up to "
            f"{max(len(memory) - size, 0)}"
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
    """Write the answer to one request into a message, e.g. part of a frame, which saves a copy.

    The other arguments are those of `encode_action_values`.
    """
    response.batch_rows, response.num_actions = action_values.shape
    response.action_values = action_values.astype(_ACTION_VALUE, copy=False).tobytes()
    response.teacher_version = teacher_version
    response.model_version = model_version


def decode_answer(message: teacher_pb2.EvaluateResponse, rows_asked: int) -> TeacherAnswer:
    """Read an answer, checked against the request and itself.

    Raises:
        ValueError: Other rows than asked, no actions, wrong number of bytes, or not finite.
    """
    rows, actions = message.batch_rows, message.num_actions
    if rows != rows_asked or actions < 1:
        raise ValueError(f"answer has {rows} rows of {actions} actions; {rows_asked} rows asked")
    content = message.action_values
    if len(content) != 4 * rows * actions:
        raise ValueError(
            f"answer has {len(content)} bytes; {rows} rows of {actions} actions are "
            f"{4 * rows * actions}"
        )
    values = np.frombuffer(content, _ACTION_VALUE).reshape(rows, actions).astype(np.float32)
    if not np.isfinite(values).all():
        raise ValueError("answer holds action values that are not finite")
    return TeacherAnswer(
        action_values=values,
        teacher_version=message.teacher_version,
        model_version=message.model_version,
    )


@functools.cache
def _little_endian(dtype: str) -> np.dtype[Any]:
    return np.dtype(dtype).newbyteorder("<")

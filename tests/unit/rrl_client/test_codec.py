from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from rrl_client import PolicySpec, TeacherDescription, codec
from rrl_client.codec import InvalidRequest
from rrl_client.v1 import teacher_pb2

DESCRIPTION = TeacherDescription(
    game="pong",
    name="tiny",
    teacher_version="abc",
    max_batch_rows=4,
    spec=PolicySpec(num_actions=2, observation_shape=(2, 3), action_meanings=("NOOP", "FIRE")),
)


def description(**spec: Any) -> TeacherDescription:
    return dataclasses.replace(DESCRIPTION, spec=dataclasses.replace(DESCRIPTION.spec, **spec))


FLOATS = description(observation_dtype="float32")


def request(**changes: Any) -> teacher_pb2.EvaluateRequest:
    fields: dict[str, Any] = {
        "batch_rows": 2,
        "observation_shape": [2, 3],
        "observation_dtype": "uint8",
        "observations": bytes(12),
    }
    return teacher_pb2.EvaluateRequest(**(fields | changes))


def encoded(observations: np.ndarray) -> teacher_pb2.EvaluateRequest:
    """The whole request, as of the unary call."""
    request = codec.encode_query(observations)
    request.observations = codec.observation_bytes(observations)
    return request


@given(hnp.arrays(np.uint8, st.tuples(st.integers(1, 4), st.just(2), st.just(3))))
def test_observations_arrive_as_they_were_sent(observations: np.ndarray) -> None:
    message = encoded(observations)
    wire = teacher_pb2.EvaluateRequest.FromString(message.SerializeToString())
    np.testing.assert_array_equal(codec.decode_observations(wire, DESCRIPTION), observations)


def test_float_observations_of_a_big_endian_strided_view_arrive_as_they_were_sent() -> None:
    observations = np.arange(24, dtype=">f4").reshape(4, 3, 2).transpose(0, 2, 1)
    message = encoded(observations)
    np.testing.assert_array_equal(codec.decode_observations(message, FLOATS), observations)


def test_bytes_are_row_major_and_little_endian() -> None:
    message = encoded(np.array([[1.0, 2.0]], np.float32))
    # IEEE 754: 1.0 is 0x3f800000, 2.0 is 0x40000000.
    assert message.observations == b"\x00\x00\x80\x3f\x00\x00\x00\x40"


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"batch_rows": 0, "observations": b""}, "0 rows asked; send 1 to 4"),
        ({"batch_rows": 5, "observations": bytes(30)}, "5 rows asked; send 1 to 4"),
        ({"observation_shape": [3, 2]}, r"shape \(3, 2\); this teacher takes \(2, 3\)"),
        ({"observation_shape": []}, r"0 dimensions; this teacher takes the shape \(2, 3\)"),
        ({"observation_dtype": "float32"}, "'float32'; this teacher takes uint8"),
        ({"observation_dtype": "O"}, "'O'"),
        ({"observations": bytes(11)}, "11 bytes of observations; 2 rows are 12"),
        ({"observations": bytes(13)}, "13 bytes"),
    ],
)
def test_a_request_that_does_not_fit_is_refused_with_what_would(
    changes: dict[str, Any], reason: str
) -> None:
    with pytest.raises(InvalidRequest, match=reason):
        codec.decode_observations(request(**changes), DESCRIPTION)


def test_observations_may_lie_in_memory_that_is_shared() -> None:
    memory = np.arange(32, dtype=np.uint8)
    found = codec.decode_observations(request(memory_offset=7), DESCRIPTION, memory)
    np.testing.assert_array_equal(found, np.arange(7, 19).reshape(2, 2, 3))
    assert np.shares_memory(found, memory)


@pytest.mark.parametrize(
    ("offset", "rows_from", "size", "reason"),
    [
        (0, DESCRIPTION, None, "none is shared"),
        (21, DESCRIPTION, 32, "byte 21 of shared memory; give a multiple of 1 up to 20"),
        (2**64 - 1, DESCRIPTION, 32, "byte 18446744073709551615"),
        (2, FLOATS, 100, "multiple of 4"),
    ],
)
def test_observations_outside_the_memory_or_between_elements_are_refused(
    offset: int, rows_from: TeacherDescription, size: int | None, reason: str
) -> None:
    message = request(memory_offset=offset, observation_dtype=rows_from.spec.observation_dtype)
    memory = None if size is None else np.zeros(size, np.uint8)
    with pytest.raises(InvalidRequest, match=reason):
        codec.decode_observations(message, rows_from, memory)


@pytest.mark.parametrize(
    "changes", [{"observation_shape": [1] * 100_000}, {"observation_dtype": "O" * 100_000}]
)
def test_a_refusal_does_not_spell_out_what_is_huge(changes: dict[str, Any]) -> None:
    with pytest.raises(InvalidRequest) as caught:
        codec.decode_observations(request(**changes), DESCRIPTION)
    assert len(str(caught.value)) < codec.MOST_REASON_CHARS


@pytest.mark.parametrize(
    "observations",
    [
        np.zeros((0, 2, 3), np.uint8),
        np.zeros(3, np.uint8),
        np.zeros((1, 2, 3), np.int64),
        np.zeros((1, 1), object),
    ],
)
def test_what_has_no_place_on_the_wire_is_not_sent(observations: np.ndarray) -> None:
    with pytest.raises(ValueError):
        encoded(observations)


@given(hnp.arrays(np.float32, (3, 2), elements=st.floats(-1e6, 1e6, width=32)))
def test_action_values_arrive_as_they_were_sent(values: np.ndarray) -> None:
    message = codec.encode_action_values(values, "abc")
    wire = teacher_pb2.EvaluateResponse.FromString(message.SerializeToString())
    np.testing.assert_array_equal(codec.decode_answer(wire, 3).action_values, values)
    assert wire.teacher_version == "abc"


@pytest.mark.parametrize(
    "changes",
    [
        {"batch_rows": 2},
        {"num_actions": 0, "action_values": b""},
        {"num_actions": 3},
        {"action_values": bytes(23)},
        {"action_values": np.full(6, np.nan, "<f4").tobytes()},
    ],
)
def test_an_answer_that_does_not_fit_the_question_is_refused(changes: dict[str, Any]) -> None:
    fields: dict[str, Any] = {"batch_rows": 3, "num_actions": 2, "action_values": bytes(24)}
    with pytest.raises(ValueError):
        codec.decode_answer(teacher_pb2.EvaluateResponse(**(fields | changes)), 3)


@pytest.mark.parametrize(
    "changes",
    [{}, {"output": "logits"}, {"output": "logits", "temperature": 0.7}],
)
def test_a_description_arrives_as_it_was_sent(changes: dict[str, Any]) -> None:
    sent = description(**changes)
    wire = codec.encode_description(sent).SerializeToString()
    message = teacher_pb2.DescribeResponse.FromString(wire)
    assert message.num_actions == 2
    assert codec.decode_description(message) == sent


# The rest is refused by PolicySpec, wherever it comes from (tests/unit/teacher/test_client_spec).
@pytest.mark.parametrize(
    ("field", "value"),
    [("num_actions", 0), ("max_batch_rows", 0), ("action_meanings", ["NOOP"]), ("output", "")],
)
def test_a_description_that_contradicts_itself_is_refused(field: str, value: Any) -> None:
    message = codec.encode_description(DESCRIPTION)
    message.ClearField(field)  # type: ignore[arg-type]
    message.MergeFrom(teacher_pb2.DescribeResponse(**{field: value}))
    with pytest.raises(ValueError, match=field):
        codec.decode_description(message)

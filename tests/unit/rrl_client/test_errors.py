from __future__ import annotations

from typing import Any

import grpc
import numpy as np
import pytest

from rrl_client import (
    PolicySpec,
    TeacherAnswer,
    TeacherDescription,
    TeacherError,
    TeacherFailed,
    TeacherNotFound,
    TeacherOverloaded,
    TeacherRejected,
    TeacherTimeout,
    TeacherUnauthenticated,
    TeacherUnavailable,
)
from rrl_client import errors as client_errors
from rrl_client.errors import error_of_call, error_of_code, error_of_stream
from rrl_client.pieces import VersionsDiffer, cut, join, piece_rows


class Call(grpc.RpcError):
    """A failed call with a given status."""

    def __init__(self, code: grpc.StatusCode, details: str, metadata: Any = ()) -> None:
        self._status = (code, details, metadata)

    def code(self) -> grpc.StatusCode:
        return self._status[0]

    def details(self) -> str:
        return self._status[1]

    def trailing_metadata(self) -> Any:
        return self._status[2]


KINDS = {
    grpc.StatusCode.INVALID_ARGUMENT: TeacherRejected,
    grpc.StatusCode.NOT_FOUND: TeacherNotFound,
    grpc.StatusCode.FAILED_PRECONDITION: TeacherNotFound,
    grpc.StatusCode.RESOURCE_EXHAUSTED: TeacherOverloaded,
    grpc.StatusCode.DEADLINE_EXCEEDED: TeacherTimeout,
    grpc.StatusCode.UNAVAILABLE: TeacherUnavailable,
    grpc.StatusCode.UNAUTHENTICATED: TeacherUnauthenticated,
    grpc.StatusCode.PERMISSION_DENIED: TeacherUnauthenticated,
    grpc.StatusCode.UNIMPLEMENTED: TeacherFailed,
    grpc.StatusCode.INTERNAL: TeacherFailed,
    grpc.StatusCode.UNKNOWN: TeacherFailed,
    grpc.StatusCode.CANCELLED: TeacherUnavailable,
}


@pytest.mark.parametrize(("code", "kind"), KINDS.items(), ids=lambda it: getattr(it, "name", ""))
def test_every_status_has_its_kind_and_names_the_teacher(
    code: grpc.StatusCode, kind: type[TeacherError]
) -> None:
    error = error_of_call(Call(code, "the reason"), "teacher:1")
    assert type(error) is kind
    assert "teacher:1" in str(error)
    if code not in (grpc.StatusCode.DEADLINE_EXCEEDED, grpc.StatusCode.UNIMPLEMENTED):
        assert "the reason" in str(error)


def test_an_unknown_status_number_is_a_failure() -> None:
    assert type(error_of_code(99, "?", "teacher:1")) is TeacherFailed


@pytest.mark.parametrize(
    ("metadata", "seconds"),
    [
        ((("grpc-retry-pushback-ms", "250"),), 0.25),
        ((("other", "1"), ("grpc-retry-pushback-ms", "-1")), None),
        ((("grpc-retry-pushback-ms", "soon"),), None),
        ((("grpc-retry-pushback-ms", b"1"),), None),
        (None, None),
    ],
)
def test_an_overloaded_teacher_may_say_when_to_come_again(
    metadata: Any, seconds: float | None
) -> None:
    error = error_of_call(Call(grpc.StatusCode.RESOURCE_EXHAUSTED, "full", metadata), "teacher:1")
    assert isinstance(error, TeacherOverloaded)
    assert error.retry_after_seconds == seconds


def test_a_message_that_grpc_refuses_for_its_size_is_a_wrong_request() -> None:
    details = "CLIENT: Received message larger than max (9 vs. 4)"
    error = error_of_call(Call(grpc.StatusCode.RESOURCE_EXHAUSTED, details), "teacher:1")
    assert isinstance(error, TeacherRejected)
    assert "send fewer rows" in str(error)


@pytest.mark.parametrize(
    ("code", "kind"),
    [
        (grpc.StatusCode.UNAVAILABLE, TeacherUnavailable),
        (grpc.StatusCode.UNKNOWN, TeacherUnavailable),
        (grpc.StatusCode.INTERNAL, TeacherUnavailable),
        (grpc.StatusCode.CANCELLED, TeacherUnavailable),
        (grpc.StatusCode.RESOURCE_EXHAUSTED, TeacherUnavailable),
        (grpc.StatusCode.UNAUTHENTICATED, TeacherUnauthenticated),
        (grpc.StatusCode.UNIMPLEMENTED, TeacherFailed),
    ],
)
def test_a_stream_that_breaks_is_opened_again_unless_that_is_pointless(
    code: grpc.StatusCode, kind: type[TeacherError]
) -> None:
    assert type(error_of_stream(Call(code, "Stream removed"), "teacher:1")) is kind


def test_rejections_and_missing_models_are_also_pythons_own_kinds() -> None:
    assert issubclass(TeacherRejected, ValueError)
    assert issubclass(TeacherNotFound, LookupError)


@pytest.mark.parametrize(
    "error",
    [
        client_errors.timed_out("teacher:1"),
        client_errors.closed("teacher:1"),
        client_errors.unavailable("teacher:1", "refused"),
        client_errors.not_ready("teacher:1", 5.0, client_errors.timed_out("teacher:1")),
        client_errors.other_loop("teacher:1"),
        client_errors.overloaded("teacher:1", "32 rows", 0.5),
    ],
)
def test_every_message_names_the_teacher(error: TeacherError) -> None:
    assert "teacher:1" in str(error)


def description(**changes: Any) -> TeacherDescription:
    fields: dict[str, Any] = {
        "game": "pong",
        "name": "pong",
        "spec": PolicySpec(num_actions=6, observation_shape=(84, 84, 4)),
        "teacher_version": "v1",
        "max_batch_rows": 512,
    }
    return TeacherDescription(**(fields | changes))


def test_pieces_keep_to_the_limits_in_rows_and_in_bytes() -> None:
    # 28,224 bytes a row; 1 MiB less 16 KiB for the rest is 36.5 rows.
    assert piece_rows(description(max_message_bytes=2**20)) == 36
    assert piece_rows(description(max_message_bytes=2**30)) == 512
    assert piece_rows(description(max_message_bytes=1)) == 1


def test_a_batch_is_cut_in_order_and_an_empty_one_is_a_piece() -> None:
    pieces = cut(np.arange(7).reshape(7, 1), 3)
    assert [piece.ravel().tolist() for piece in pieces] == [[0, 1, 2], [3, 4, 5], [6]]
    assert [len(piece) for piece in cut(np.zeros((0, 2)), 3)] == [0]


def test_pieces_of_one_version_are_joined() -> None:
    made = [
        TeacherAnswer(
            action_values=np.full((2, 1), i, np.float32), teacher_version="v", model_version=3
        )
        for i in range(2)
    ]
    joined = join(made)
    assert joined.action_values.ravel().tolist() == [0, 0, 1, 1]
    assert (joined.teacher_version, joined.model_version) == ("v", 3)


@pytest.mark.parametrize(
    ("answered_by", "best"),
    [
        # New weights came on one server.
        ([("new", 2), ("old", 1), ("old", 1)], "new"),
        # Replicas number their versions by themselves: the one that most have is soonest found.
        ([("a", 1), ("b", 1), ("b", 1)], "b"),
    ],
)
def test_pieces_of_different_versions_are_not_mixed_and_the_one_to_ask_for_is_known(
    answered_by: list[tuple[str, int]], best: str
) -> None:
    made = [
        TeacherAnswer(
            action_values=np.zeros((1, 1), np.float32), teacher_version=name, model_version=number
        )
        for name, number in answered_by
    ]
    with pytest.raises(VersionsDiffer, match=" and ") as caught:
        join(made)
    assert caught.value.best == best


def test_what_all_replicas_say_is_in_one_error() -> None:
    away = [TeacherUnavailable("teacher at a:1 is away"), TeacherTimeout("teacher at b:2 is late")]
    found = client_errors.of_replicas(away)
    assert isinstance(found, TeacherUnavailable)
    assert str(found) == "teacher at a:1 is away; teacher at b:2 is late"
    assert client_errors.of_replicas(away[1:]) is away[1]
    # What waiting does not mend goes first.
    wrong = TeacherUnauthenticated("teacher at c:3 wants a token")
    assert client_errors.of_replicas([*away, wrong]) is wrong

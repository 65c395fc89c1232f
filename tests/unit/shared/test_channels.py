"""Errors of failed calls; `tests/unit/test_grpc_options` checks the options."""

from __future__ import annotations

import grpc
import pytest

from services.shared.channels import channel_options, failure


class Unavailable(Exception):
    pass


class Refused(Unavailable):
    pass


class Failed(grpc.RpcError):
    """A call's failure, as gRPC's clients raise it."""

    def __init__(self, code: grpc.StatusCode, details: str | None) -> None:
        self._code, self._details = code, details

    def code(self) -> grpc.StatusCode:
        return self._code

    def details(self) -> str | None:
        return self._details


def found(code: grpc.StatusCode, details: str | None) -> Unavailable:
    return failure(Failed(code, details), "replay at h:1", unavailable=Unavailable, refused=Refused)


@pytest.mark.parametrize(
    "code", [grpc.StatusCode.UNAUTHENTICATED, grpc.StatusCode.PERMISSION_DENIED]
)
def test_a_rejected_token_names_the_flag_that_helps(code: grpc.StatusCode) -> None:
    error = found(code, "no token")
    assert isinstance(error, Refused)
    assert str(error).startswith("replay at h:1: no token; give --peers.token-file")


def test_any_other_failure_may_pass() -> None:
    code = grpc.StatusCode.UNAVAILABLE
    error = found(code, "connection refused")
    assert type(error) is Unavailable
    assert str(error) == "replay at h:1 did not answer: UNAVAILABLE, connection refused"
    assert "no details" in str(found(code, None))


def test_a_long_message_is_cut() -> None:
    assert len(str(found(grpc.StatusCode.INTERNAL, "x" * 10_000))) < 400


def test_messages_are_bounded_in_both_directions() -> None:
    options = dict(channel_options(1234))
    assert options["grpc.max_send_message_length"] == 1234
    assert options["grpc.max_receive_message_length"] == 1234

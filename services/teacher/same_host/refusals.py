"""Refusals as records of the wire, and back."""

from __future__ import annotations

from rrl_client.requests import Refusal, RefusalCode
from services.teacher.same_host.wire import Failure

_LONGEST_RETRY_MS = 2**31


def to_failure(tag: int, refusal: Refusal) -> Failure:
    """The record of a query's refusal."""
    retry_after_ms = 0
    if refusal.retry_after_seconds is not None:
        retry_after_ms = round(1000 * min(refusal.retry_after_seconds, _LONGEST_RETRY_MS / 1000))
        # 0 would mean that nobody knows.
        retry_after_ms = max(retry_after_ms, 1)
    return Failure(tag, refusal.code, retry_after_ms, str(refusal))


def from_failure(failure: Failure) -> Refusal:
    """The refusal of a record; a code that is not known is INTERNAL."""
    try:
        code = RefusalCode(failure.code)
    except ValueError:
        code = RefusalCode.INTERNAL
    retry_after = failure.retry_after_ms / 1000 if failure.retry_after_ms else None
    return Refusal(code, failure.reason, retry_after)

"""Priorities and refusals of queries, with the wire contract's numbers, for both sides.

Standard library only.
"""

from __future__ import annotations

import enum


class Priority(enum.IntEnum):
    """The purpose of a query; lower numbers come first. The numbers are the wire contract's.

    An agent waits for ACTING. LABELLING is bulk work (a dataset, replay); EVALUATION can wait.
    """

    ACTING = 0
    LABELLING = 1
    EVALUATION = 2


class RefusalCode(enum.IntEnum):
    """Why a query has no answer, with gRPC's status names and numbers."""

    CANCELLED = 1
    INVALID_ARGUMENT = 3
    DEADLINE_EXCEEDED = 4
    NOT_FOUND = 5
    RESOURCE_EXHAUSTED = 8
    FAILED_PRECONDITION = 9
    INTERNAL = 13
    UNAVAILABLE = 14


class Refusal(Exception):
    """A query is not answered; the message says what the caller can do.

    Attributes:
        code: The reason.
        retry_after_seconds: When to retry; None if retrying is pointless or the time is
            unknown.
    """

    def __init__(
        self, code: RefusalCode, reason: str, retry_after_seconds: float | None = None
    ) -> None:
        super().__init__(reason)
        self.code = code
        self.retry_after_seconds = retry_after_seconds

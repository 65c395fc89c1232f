from __future__ import annotations

import pytest
from urllib3.util import Retry

from services.library.fetch.http_retries import RETRIES, Http, Interrupted


def test_what_fails_is_tried_again_and_each_failure_is_logged(
    caplog: pytest.LogCaptureFixture,
) -> None:
    failures = [Interrupted("lost"), Interrupted("lost again")]

    def attempt() -> int:
        if failures:
            raise failures.pop(0)
        return 7

    assert Http(retries=Retry(total=2)).retrying("ckpt.1", attempt) == 7
    assert caplog.messages == [
        "ckpt.1: lost; attempt 2 follows",
        "ckpt.1: lost again; attempt 3 follows",
    ]


def test_pauses_double_and_the_one_that_is_asked_for_has_a_limit() -> None:
    left, pauses = RETRIES, []
    for _ in range(5):
        left = left.increment(error=Interrupted("lost"))
        pauses.append(left.get_backoff_time())
    # 0, 1, 2, 4, 8 s and up to half a second.
    assert pauses[0] == 0
    assert [int(pause) for pause in pauses[1:]] == [1, 2, 4, 8]
    assert RETRIES.parse_retry_after("7") == 7
    assert RETRIES.parse_retry_after("9999") == 120


@pytest.mark.parametrize(
    ("reason", "words"),
    [
        (OSError(OSError("refused"), "url"), "refused"),
        (ValueError("\x1b]0;evil\x07" + "x" * 500), " ]0;evil " + "x" * 191),
        (ConnectionError(), "ConnectionError"),
    ],
)
def test_a_reason_is_one_line_that_cannot_steer_a_terminal(reason: object, words: str) -> None:
    assert str(Interrupted(reason)) == words.strip()

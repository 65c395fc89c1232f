from __future__ import annotations

import pytest
from urllib3.util import Retry

from services.library.fetch.http import RETRIES, Http, Interrupted
from services.shared.errors import UserError

THREE_ATTEMPTS = Retry(total=2)


class Script:
    """Fails as often as the script says, with a gain or without, then gives 7."""

    def __init__(self, *gains: bool) -> None:
        self.gains = list(gains)

    def __call__(self) -> int:
        if self.gains:
            failure = Interrupted("lost")
            failure.gained = self.gains.pop(0)
            raise failure
        return 7


def test_what_fails_is_tried_again_and_each_failure_is_logged(
    caplog: pytest.LogCaptureFixture,
) -> None:
    assert Http(retries=THREE_ATTEMPTS).retrying("ckpt.1", Script(False, False)) == 7
    assert caplog.messages == [
        "ckpt.1: lost; attempt 2 follows",
        "ckpt.1: lost; attempt 3 follows",
    ]


def test_failures_in_a_row_end_with_what_to_do() -> None:
    with pytest.raises(UserError, match=r"ckpt.1: lost; gave up after 3 .*which resumes from here"):
        Http(retries=THREE_ATTEMPTS).retrying("ckpt.1", Script(False, False, False))


def test_a_gain_lets_earlier_failures_count_no_longer() -> None:
    # Two failures in a row are allowed; here are eight in all, never three without a gain.
    script = Script(False, True, False, True, False, True, False, True)
    assert Http(retries=THREE_ATTEMPTS).retrying("ckpt.1", script) == 7


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

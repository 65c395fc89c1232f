"""The progress of a long pass, where there is no terminal."""

from __future__ import annotations

import io

from services.cli.row_progress import LineProgress, row_progress


def test_lines_tell_rows_rate_and_time_left() -> None:
    stream, now = io.StringIO(), [100.0]
    progress = LineProgress(stream, total=1000, done=200, clock=lambda: now[0])
    now[0] = 105.0
    progress.show(300)
    # 400 rows in 20 s are 20 rows/s; the other 400 take 20 s.
    now[0] = 120.0
    progress.show(600)
    now[0] = 121.0
    progress.show(700)
    now[0] = 140.0
    progress.show(1000)
    assert stream.getvalue().splitlines() == [
        "600 of 1000 rows, 20 rows/s, 20 s left",
        "1000 of 1000 rows, 20 rows/s",
    ]


def test_a_stream_that_is_no_terminal_gets_lines() -> None:
    stream = io.StringIO()
    with row_progress(stream, total=10) as show:
        show(10)
    assert stream.getvalue().startswith("10 of 10 rows, ")


def test_a_pass_without_rows_says_nothing() -> None:
    stream = io.StringIO()
    with row_progress(stream, total=10, done=10):
        pass
    assert stream.getvalue() == ""

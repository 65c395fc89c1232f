from __future__ import annotations

import io
import re

import pytest
from rich.console import Console

from services.library.fetch.progress import WorkProgress, binary_size

MIB = 1 << 20


def test_what_is_no_terminal_gets_log_lines_every_few_seconds_and_at_the_end(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level("INFO")
    stream = io.StringIO()
    rarely = WorkProgress(Console(file=stream))
    often = WorkProgress(Console(file=stream), line_seconds=0.0)
    rows = WorkProgress(Console(file=stream), amount="{:,.0f}".format)
    for progress in (rarely, often, rows):
        with progress.bars:
            at = progress.begin("1/2 ckpt.399", 64 * MIB, 16 * MIB)
            at(32 * MIB)
            at(64 * MIB)
    # Its end is logged once.
    at(64 * MIB)
    assert stream.getvalue().strip() == ""
    assert [re.split(", .*/s", message)[0] for message in caplog.messages] == [
        "1/2 ckpt.399: 64.0 MiB of 64.0 MiB",
        "1/2 ckpt.399: 32.0 MiB of 64.0 MiB",
        "1/2 ckpt.399: 64.0 MiB of 64.0 MiB",
        "1/2 ckpt.399: 67,108,864 of 67,108,864",
    ]


def test_a_log_line_has_the_speed_and_the_time_left(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO")
    now = [100.0]
    progress = WorkProgress(Console(file=io.StringIO()), amount="{:.0f}".format, line_seconds=0.0)
    progress.bars.get_time = lambda: now[0]
    at = progress.begin("rows", 1000, 200)
    for now[0], rows in ((105.0, 300), (115.0, 500), (140.0, 1000)):
        at(rows)
    # From the first to the second 200 rows in 10 s; the other 500 take 25 s.
    assert caplog.messages[1] == "rows: 500 of 1000, 20/s, 25 s left"
    assert caplog.messages[2] == "rows: 1000 of 1000, 20/s"


def test_a_terminal_gets_a_bar_for_each_file(caplog: pytest.LogCaptureFixture) -> None:
    stream = io.StringIO()
    progress = WorkProgress(Console(file=stream, force_terminal=True, width=80))
    with progress.bars:
        progress.begin("1/2 ckpt.399", 64 * MIB, 16 * MIB)(32 * MIB)
        progress.begin("2/2 [red]x", 4, 0)(4)
    assert "32.0 MiB of 64.0 MiB" in (shown := stream.getvalue())
    assert "[red]x" in shown
    assert caplog.messages == []


@pytest.mark.parametrize(
    ("size", "text"),
    [
        (0, "0 B"),
        (1023, "1023 B"),
        (1024, "1.0 KiB"),
        (65_011_712, "62.0 MiB"),
        (7 << 30, "7.0 GiB"),
        (5 << 60, "5242880.0 TiB"),
    ],
)
def test_sizes_are_told_in_the_unit_that_reads_best(size: int, text: str) -> None:
    assert binary_size(size) == text

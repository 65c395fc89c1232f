from __future__ import annotations

import io

import pytest
from rich.console import Console

from services.library.fetch.progress import FetchProgress, binary_size

MIB = 1 << 20


def test_what_is_no_terminal_gets_log_lines_every_few_seconds_and_at_the_end(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level("INFO")
    stream = io.StringIO()
    rarely = FetchProgress(Console(file=stream))
    often = FetchProgress(Console(file=stream), line_seconds=0.0)
    for progress in (rarely, often):
        with progress.bars:
            at = progress.begin("1/2 ckpt.399", 64 * MIB, 16 * MIB)
            at(32 * MIB)
            at(64 * MIB)
    assert stream.getvalue().strip() == ""
    assert [message.split(",")[0] for message in caplog.messages] == [
        "1/2 ckpt.399: 64.0 MiB of 64.0 MiB",
        "1/2 ckpt.399: 32.0 MiB of 64.0 MiB",
        "1/2 ckpt.399: 64.0 MiB of 64.0 MiB",
    ]


def test_a_terminal_gets_a_bar_for_each_file(caplog: pytest.LogCaptureFixture) -> None:
    stream = io.StringIO()
    progress = FetchProgress(Console(file=stream, force_terminal=True, width=80))
    with progress.bars:
        progress.begin("1/2 ckpt.399", 64 * MIB, 16 * MIB)(32 * MIB)
        progress.begin("2/2 [red]x", 4, 0)(4)
    assert "32.0/64.0 MiB" in (shown := stream.getvalue())
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

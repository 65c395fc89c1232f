from __future__ import annotations

import io

import pytest
from rich.progress import Progress

from services.library.fetch.progress import (
    BarProgress,
    FileInHand,
    LineProgress,
    binary_size,
    progress_on,
)

MIB = 1 << 20
FILE = FileInHand(name="ckpt.399", index=1, count=2, size=64 * MIB)


def test_lines_come_every_few_seconds_and_at_the_end() -> None:
    seconds = 0.0
    stream = io.StringIO()
    progress = LineProgress(stream, clock=lambda: seconds)
    progress.begin(FILE)
    # 16 MiB were here before: no part of the speed.
    progress.start(16 * MIB)
    seconds = 4.0
    progress.at(20 * MIB)
    seconds = 8.0
    progress.at(32 * MIB)
    seconds = 12.0
    progress.at(64 * MIB)
    assert stream.getvalue().splitlines() == [
        # 16 MiB in 8 s; then 32 MiB in 4 s.
        "1/2 ckpt.399: 32.0 MiB of 64.0 MiB (50%), 2.0 MiB/s",
        "1/2 ckpt.399: 64.0 MiB of 64.0 MiB (100%), 8.0 MiB/s",
    ]


def test_an_empty_file_is_done_when_it_starts() -> None:
    stream = io.StringIO()
    progress = LineProgress(stream, clock=lambda: 0.0)
    progress.begin(FileInHand(name="empty", index=2, count=2, size=0))
    progress.start(0)
    assert stream.getvalue() == "2/2 empty: 0 B of 0 B (100%), 0 B/s\n"


def test_bars_show_each_file_with_its_bytes() -> None:
    with Progress(disable=True) as bars:
        progress = BarProgress(bars)
        progress.begin(FILE)
        progress.start(16 * MIB)
        progress.at(32 * MIB)
        progress.begin(FileInHand(name="[red]x", index=2, count=2, size=4))
        progress.start(0)
        progress.tell("[bold] is text")
        first, second = bars.tasks
    assert (first.description, first.completed, first.total) == (
        "1/2 ckpt.399",
        32 * MIB,
        64 * MIB,
    )
    assert second.description == r"2/2 \[red]x"


def test_what_is_no_terminal_gets_lines() -> None:
    stream = io.StringIO()
    with progress_on(stream) as progress:
        progress.tell("a line")
    assert stream.getvalue() == "a line\n"


@pytest.mark.parametrize(
    ("size", "text"),
    [
        (0, "0 B"),
        (1023, "1023 B"),
        (1024, "1.0 KiB"),
        (65_011_712, "62.0 MiB"),
        (7 << 30, "7.0 GiB"),
        (5 << 40, "5.0 TiB"),
        (5 << 60, "5242880.0 TiB"),
    ],
)
def test_sizes_are_told_in_the_unit_that_reads_best(size: int, text: str) -> None:
    assert binary_size(size) == text

"""A spinner in the terminal's last line while a command imports what it needs.

Uses only the standard library, because it runs before anything else is imported.
"""

from __future__ import annotations

import contextlib
import sys
import threading
import time
from collections.abc import Iterator
from typing import TextIO

_FRAMES = "|/-\\"
_FRAME_SECONDS = 0.12
_CLEAR_LINE = "\r\x1b[K"


@contextlib.contextmanager
def spinning(text: str, stream: TextIO | None = None) -> Iterator[None]:
    """Show a text and a spinner while the block runs, which prints nothing; then clear the line.

    Args:
        text: What is being done.
        stream: Where to show it; None for stderr. Shows nothing unless it is a terminal.
    """
    stream = sys.stderr if stream is None else stream
    if not stream.isatty():
        yield
        return
    done = threading.Event()
    thread = threading.Thread(target=_spin, args=(stream, text, done), daemon=True)
    thread.start()
    try:
        yield
    finally:
        done.set()
        # No thread may remain when a run forks its processes.
        thread.join()


def _spin(stream: TextIO, text: str, done: threading.Event) -> None:
    began, frame = time.monotonic(), 0
    while not done.wait(_FRAME_SECONDS if frame else 0.0):
        seconds = time.monotonic() - began
        stream.write(f"\r{_FRAMES[frame % len(_FRAMES)]} {text}, {seconds:.0f} s")
        stream.flush()
        frame += 1
    stream.write(_CLEAR_LINE)
    stream.flush()

"""Standard output and standard error of a command that works: news, which may find no reader.

The reader of a pipe leaves, a terminal closes, the disk under a log is full: none of it may end the
work or change its exit code. What cannot be written is dropped.
"""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Iterator
from typing import Any, TextIO, cast


def open_standard_streams() -> None:
    """Open /dev/null in the place of each standard stream that the caller has closed.

    The next file that is opened would take its descriptor, and be written into.
    """
    for descriptor, name in enumerate(("stdin", "stdout", "stderr")):
        if getattr(sys, name) is None:
            # The lowest descriptor that is free: this stream's.
            os.open(os.devnull, os.O_RDWR)
            mode = "w" if descriptor else "r"
            setattr(sys, name, open(descriptor, mode, encoding="utf-8", closefd=False))  # noqa: SIM115


@contextlib.contextmanager
def unfailing_output() -> Iterator[None]:
    """Have nothing that is written to the standard streams fail."""
    out, err = (cast(TextIO, _Unfailing(stream)) for stream in (sys.stdout, sys.stderr))
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        yield


class _Unfailing:
    """A text stream that drops what cannot be written."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def write(self, text: str) -> int:
        with self._dropping():
            self._stream.write(text)
        return len(text)

    def flush(self) -> None:
        with self._dropping():
            self._stream.flush()

    @contextlib.contextmanager
    def _dropping(self) -> Iterator[None]:
        try:
            yield
        except OSError:
            # What is still buffered, and what the interpreter flushes at its end, goes there, too.
            nowhere = os.open(os.devnull, os.O_WRONLY)
            os.dup2(nowhere, self._stream.fileno())
            os.close(nowhere)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)

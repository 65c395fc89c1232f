"""Something moves on a terminal while a command imports, and nothing is left of it."""

from __future__ import annotations

import io
import threading

import pytest

from services.cli.spinner import spinning
from tests.support.patience import PATIENCE_SECONDS


class Terminal(io.StringIO):
    """Says when it has been written to so often."""

    def __init__(self, writes: int) -> None:
        super().__init__()
        self.enough = threading.Event()
        self._left = writes

    def isatty(self) -> bool:
        return True

    def write(self, text: str) -> int:
        self._left -= 1
        if self._left == 0:
            self.enough.set()
        return super().write(text)


def test_it_moves_on_a_terminal_and_clears_its_line() -> None:
    terminal, threads = Terminal(writes=3), threading.active_count()
    with spinning("rrl demo", terminal):
        assert terminal.enough.wait(PATIENCE_SECONDS)
    first, second, third, *_, last = terminal.getvalue().split("\r")[1:]
    assert first == "| rrl demo, 0 s"
    assert second.startswith("/ rrl demo")
    assert third.startswith("- rrl demo")
    assert last == "\x1b[K"
    assert threading.active_count() == threads


def test_elsewhere_nothing_is_shown() -> None:
    stream = io.StringIO()
    with spinning("rrl demo", stream):
        pass
    assert stream.getvalue() == ""


def test_an_error_clears_its_line_too() -> None:
    terminal = Terminal(writes=1)
    with pytest.raises(ValueError, match="no game"), spinning("rrl demo", terminal):
        assert terminal.enough.wait(PATIENCE_SECONDS)
        raise ValueError("no game")
    assert terminal.getvalue().endswith("\r\x1b[K")

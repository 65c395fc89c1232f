"""Log lines as JSON: one object a line, whatever is said and however a process ends."""

from __future__ import annotations

import datetime
import json
import logging
import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.cli.main import run
from services.shared.errors import UserError
from services.shared.logging import (
    JsonFormatter,
    Occasionally,
    announce,
    format_of_environment,
)
from tests.support.patience import PATIENCE_SECONDS

pytestmark = pytest.mark.usefixtures("restored_logging")


def record(message: str, *arguments: object) -> logging.LogRecord:
    return logging.LogRecord("services.x", logging.WARNING, "x.py", 1, message, arguments, None)


@given(st.text(st.characters()), st.text(st.characters()))
def test_every_message_is_one_ascii_line_that_gives_it_back(message: str, run: str) -> None:
    line = JsonFormatter("actor-1", run).format(record("%s", message))
    assert line.isascii() and "\n" not in line
    found = json.loads(line)
    assert found["message"] == message
    assert (found["role"], found["run"], found["level"]) == ("actor-1", run, "WARNING")
    assert found["logger"] == "services.x" and "exception" not in found


@pytest.mark.parametrize("at_once", [True, False])
def test_a_line_is_due_once_in_its_period(at_once: bool) -> None:
    now = 5.0
    is_due = Occasionally(10.0, at_once=at_once, clock=lambda: now)
    assert is_due() is at_once
    assert not is_due()
    now = 14.9
    assert not is_due()
    now = 15.0
    assert is_due()
    assert not is_due()
    # The period counts from the line before, not from a grid.
    now = 29.0
    assert is_due()
    now = 38.9
    assert not is_due()


def test_the_time_is_the_records_in_utc() -> None:
    given_record = record("late")
    given_record.created = 1_000_000_000.25
    found = json.loads(JsonFormatter("learner", None).format(given_record))
    assert found["time"] == "2001-09-09T01:46:40.250Z"
    assert datetime.datetime.fromisoformat(found["time"].replace("Z", "+00:00")).tzinfo
    assert found["run"] is None


@pytest.mark.parametrize("arguments", [("one",), (1, 2, 3)])
def test_a_mistake_in_a_log_call_does_not_cost_the_line(arguments: tuple[object, ...]) -> None:
    found = json.loads(JsonFormatter("learner", None).format(record("%d of %d", *arguments)))
    assert "%d of %d" in found["message"] and "in this log call" in found["message"]


def lines_of(program: str) -> list[dict[str, str | None]]:
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=PATIENCE_SECONDS
    )
    assert done.stdout == ""
    return [json.loads(line) for line in done.stderr.splitlines()]


def test_exceptions_threads_warnings_and_announcements_are_lines_too() -> None:
    program = (
        "import threading, warnings\n"
        "from services.shared.logging import announce, setup_logging\n"
        "setup_logging('replay', run='mine', log_format='json')\n"
        "announce('ready')\n"
        "warnings.warn('old')\n"
        "thread = threading.Thread(target=lambda: 1 / 0, name='worker')\n"
        "thread.start(); thread.join()\n"
        "raise RuntimeError('no\\nmore')\n"
    )
    ready, warned, in_thread, ended = lines_of(program)
    assert all((line["role"], line["run"]) == ("replay", "mine") for line in (ready, ended))
    assert ready["message"] == "ready" and "old" in (warned["message"] or "")
    assert in_thread["level"] == "ERROR" and "worker" in (in_thread["message"] or "")
    assert "ZeroDivisionError" in (in_thread["exception"] or "")
    assert (ended["level"], ended["message"]) == ("CRITICAL", "ended by RuntimeError: no\nmore")
    assert (ended["exception"] or "").startswith("Traceback")


def test_a_roles_bad_input_is_a_line_even_before_its_logging_is_set_up(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("RRL_LOG_FORMAT", "json")
    assert run(["learner", "qdager"]) == 2
    line = json.loads(capsys.readouterr().err)
    assert (line["level"], line["role"], line["run"]) == ("ERROR", "learner", None)
    assert (line["message"] or "").startswith("rrl learner: 'qdager' is not a method")


def test_a_format_that_is_none_is_refused(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("RRL_LOG_FORMAT", "xml")
    with pytest.raises(UserError, match="RRL_LOG_FORMAT is 'xml'; set it to text or json"):
        format_of_environment()
    assert run(["learner", "qdager"]) == 2
    assert "is not a method" in capsys.readouterr().err


def test_what_is_ready_is_told_on_stdout_where_lines_are_text(
    capsys: pytest.CaptureFixture[str],
) -> None:
    announce("ready at 1.2.3.4")
    assert capsys.readouterr().out == "ready at 1.2.3.4\n"

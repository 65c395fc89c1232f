"""Log lines on stderr, each with the time and the role that wrote it.

Plain text for people, one line each: Launchpad's children write into pipes and files, containers
into a log collector. JSON for collectors: one object a line, `--log-format json` or
RRL_LOG_FORMAT=json. stdout is kept for results.
"""

from __future__ import annotations

import datetime
import json
import logging
import os
import sys
import threading
import time
from collections.abc import Callable
from types import TracebackType
from typing import Literal, TypeAlias, cast

from services.shared.errors import UserError

LogFormat: TypeAlias = Literal["text", "json"]
"""What log lines look like."""

FORMAT_VARIABLE = "RRL_LOG_FORMAT"
"""Environment variable that says so where no flag does."""

RUN_NAME_VARIABLE = "RRL_RUN_NAME"
"""Environment variable that names the run where no flag does."""

_FORMATS = ("text", "json")


class Occasionally:
    """Whether it is time to do again what is to be done rarely, as a log line about each failure.

    Args:
        seconds: Least time between two.
        at_once: Whether the first is due at once, or after `seconds`.
        clock: Seconds.
    """

    def __init__(
        self, seconds: float, *, at_once: bool = True, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._seconds = seconds
        self._clock = clock
        self._due_at = clock() + (0.0 if at_once else seconds)

    def __call__(self) -> bool:
        """True at most once in `seconds`."""
        now = self._clock()
        if now < self._due_at:
            return False
        self._due_at = now + self._seconds
        return True


class JsonFormatter(logging.Formatter):
    """Makes each record one line: a JSON object in ASCII, whatever the message holds.

    Fields: time (UTC, ISO 8601), level, role, run (null where there is none), logger, message, and
    exception, a traceback, where there is one.

    Args:
        role: Name of the role, e.g. "actor-1".
        run: Name of its run; None where it serves none.
    """

    def __init__(self, role: str, run: str | None) -> None:
        super().__init__()
        self._role = role
        self._run = run

    def format(self, record: logging.LogRecord) -> str:
        """The record as one line, without its end."""
        created = datetime.datetime.fromtimestamp(record.created, datetime.timezone.utc)
        line = {
            "time": created.isoformat(timespec="milliseconds").replace("+00:00", "Z"),
            "level": record.levelname,
            "role": self._role,
            "run": self._run,
            "logger": record.name,
            "message": _message(record),
        }
        if record.exc_info and record.exc_info[0] is not None:
            line["exception"] = self.formatException(record.exc_info)
        return json.dumps(line)


def _message(record: logging.LogRecord) -> str:
    try:
        return record.getMessage()
    except Exception as error:
        # A library's mistake in a log call is not to cost the line.
        return f"{record.msg!s} {record.args!r} ({type(error).__name__} in this log call)"


def setup_logging(
    role: str,
    *,
    level: int = logging.INFO,
    run: str | None = None,
    log_format: LogFormat | None = None,
) -> logging.Logger:
    """Send this process's log lines to stderr.

    In JSON, warnings and uncaught exceptions become such lines, too.

    Args:
        role: Name of the role, e.g. "teacher" or "actor-1".
        level: Lowest level of our own lines; libraries speak from WARNING on.
        run: Name of the role's run, for JSON; None where it has none.
        log_format: What lines look like; None asks RRL_LOG_FORMAT, and takes text where that is
            not set.

    Returns:
        The logger of our own packages.

    Raises:
        UserError: RRL_LOG_FORMAT is no format.
    """
    is_json = (log_format or format_of_environment()) == "json"
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonFormatter(role, run) if is_json else _text_formatter(role))
    logging.basicConfig(level=max(level, logging.WARNING), handlers=[handler], force=True)
    if is_json:
        logging.captureWarnings(True)
        sys.excepthook = _log_uncaught
        threading.excepthook = _log_uncaught_in_thread
    ours = logging.getLogger("services")
    ours.setLevel(level)
    return ours


def format_of_environment() -> LogFormat:
    """What RRL_LOG_FORMAT says, else text.

    Raises:
        UserError: it says something else.
    """
    value = os.environ.get(FORMAT_VARIABLE) or "text"
    if value not in _FORMATS:
        raise UserError(f"{FORMAT_VARIABLE} is {value!r}; set it to {' or '.join(_FORMATS)}")
    return cast(LogFormat, value)


def logs_json() -> bool:
    """Whether this process's log lines are JSON."""
    return any(isinstance(h.formatter, JsonFormatter) for h in logging.getLogger().handlers)


def announce(text: str) -> None:
    """Say on stdout that a role is ready; where log lines are JSON, as one of them instead."""
    if logs_json():
        logging.getLogger(__name__).info("%s", text)
    else:
        print(text, flush=True)


def complain(text: str, *, role: str | None) -> None:
    """Say on stderr why a command ends; where a role's log lines are JSON, as one of them.

    Args:
        text: One line or a few.
        role: Of this process; None where it is none's.
    """
    if role is not None and not logs_json() and os.environ.get(FORMAT_VARIABLE) == "json":
        # It ends before it came to set logging up.
        setup_logging(role, run=os.environ.get(RUN_NAME_VARIABLE))
    if role is not None and logs_json():
        logging.getLogger(__name__).error("%s", text)
    else:
        print(text, file=sys.stderr)


def _text_formatter(role: str) -> logging.Formatter:
    # A role's name is text, not a format: a percent sign in it must stay one.
    name = role.replace("%", "%%")
    return logging.Formatter(f"%(asctime)s %(levelname)s {name}: %(message)s", "%Y-%m-%d %H:%M:%S")


def _log_uncaught(
    kind: type[BaseException], error: BaseException, traceback: TracebackType | None
) -> None:
    logging.getLogger(__name__).critical(
        "ended by %s: %s", kind.__name__, error, exc_info=(kind, error, traceback)
    )


def _log_uncaught_in_thread(raised: threading.ExceptHookArgs) -> None:
    # The interpreter has freed the exception where it is shutting down.
    error = raised.exc_value if raised.exc_value is not None else raised.exc_type()
    logging.getLogger(__name__).error(
        "a thread (%s) ended by %s: %s",
        raised.thread.name if raised.thread is not None else "unknown",
        raised.exc_type.__name__,
        error,
        exc_info=(raised.exc_type, error, raised.exc_traceback),
    )

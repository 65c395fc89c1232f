"""Log lines on stderr, each with the time and the role that wrote it.

Plain text by default, one line each, for terminals and files. JSON for log collectors, one object
per line, with `--log-format json` or RRL_LOG_FORMAT=json. stdout is reserved for results.
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
"""Format of log lines."""

FORMAT_VARIABLE = "RRL_LOG_FORMAT"
"""Environment variable with the format, if no flag sets it."""

RUN_NAME_VARIABLE = "RRL_RUN_NAME"
"""Environment variable with the run's name, if no flag sets it."""

_FORMATS = ("text", "json")


class Occasionally:
    """Rate limit, e.g. for log lines about repeated failures.

    Args:
        seconds: Least time between two.
        at_once: Whether the first is due at once, or after `seconds`.
        clock: Returns seconds.
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
    """Formats each record as one line, a JSON object in ASCII, whatever the message contains.

    Fields: time (UTC, ISO 8601), level, role, run (null if none), logger, message, and exception, a
        traceback, if there is one.

    Args:
        role: Name of the role, e.g. "actor-1".
        run: Name of its run; None if it has none.
    """

    def __init__(self, role: str, run: str | None) -> None:
        super().__init__()
        self._role = role
        self._run = run

    def format(self, record: logging.LogRecord) -> str:
        """The record as one line, without the newline."""
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
        # A faulty log call of a library must not lose the line.
        return f"{record.msg!s} {record.args!r} ({type(error).__name__} in this log call)"


def setup_logging(
    role: str,
    *,
    level: int = logging.INFO,
    run: str | None = None,
    log_format: LogFormat | None = None,
) -> logging.Logger:
    """Send this process's log lines to stderr.

    With JSON, warnings and uncaught exceptions become JSON lines, too.

    Args:
        role: Name of the role, e.g. "teacher" or "actor-1".
        level: Lowest level of our own lines; libraries log from WARNING on.
        run: Name of the role's run, for JSON; None if it has none.
        log_format: Format of lines; None for $RRL_LOG_FORMAT, else text.

    Returns:
        The logger of our packages.

    Raises:
        UserError: RRL_LOG_FORMAT is invalid.
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
    """The format in RRL_LOG_FORMAT, else text.

    Raises:
        UserError: it is invalid.
    """
    value = os.environ.get(FORMAT_VARIABLE) or "text"
    if value not in _FORMATS:
        raise UserError(f"{FORMAT_VARIABLE} is {value!r}; set it to {' or '.join(_FORMATS)}")
    return cast(LogFormat, value)


def logs_json() -> bool:
    """Whether this process's log lines are JSON."""
    return any(isinstance(h.formatter, JsonFormatter) for h in logging.getLogger().handlers)


def announce(text: str) -> None:
    """Print that a role is ready on stdout, or as a log line if these are JSON."""
    if logs_json():
        logging.getLogger(__name__).info("%s", text)
    else:
        print(text, flush=True)


def complain(text: str, *, role: str | None) -> None:
    """Print why a command fails on stderr; as a log line if a role's are JSON.

    Args:
        text: One line or a few.
        role: Role of this process; None if it is not a role.
    """
    if role is not None and not logs_json() and os.environ.get(FORMAT_VARIABLE) == "json":
        # The process fails before it set up logging.
        setup_logging(role, run=os.environ.get(RUN_NAME_VARIABLE))
    if role is not None and logs_json():
        logging.getLogger(__name__).error("%s", text)
    else:
        print(text, file=sys.stderr)


def _text_formatter(role: str) -> logging.Formatter:
    # Escape percent signs: a role's name is not a format.
    name = role.replace("%", "%%")
    return logging.Formatter(f"%(asctime)s %(levelname)s {name}: %(message)s", "%Y-%m-%d %H:%M:%S")


def _log_uncaught(
    kind: type[BaseException], error: BaseException, traceback: TracebackType | None
) -> None:
    logging.getLogger(__name__).critical(
        "ended by %s: %s", kind.__name__, error, exc_info=(kind, error, traceback)
    )


def _log_uncaught_in_thread(raised: threading.ExceptHookArgs) -> None:
    # At shutdown, the interpreter may have freed the exception.
    error = raised.exc_value if raised.exc_value is not None else raised.exc_type()
    logging.getLogger(__name__).error(
        "a thread (%s) ended by %s: %s",
        raised.thread.name if raised.thread is not None else "unknown",
        raised.exc_type.__name__,
        error,
        exc_info=(raised.exc_type, error, raised.exc_traceback),
    )

"""Log lines on stderr, each with the time and the role that wrote it.

Plain text, one line each: Launchpad's children write into pipes and files, containers into a log
collector. stdout is kept for results.
"""

from __future__ import annotations

import logging
import sys


def setup_logging(role: str, *, level: int = logging.INFO) -> logging.Logger:
    """Send this process's log lines to stderr as "time level role: message".

    Args:
        role: Name of the role, e.g. "teacher" or "actor-1".
        level: Lowest level of our own lines; libraries speak from WARNING on.

    Returns:
        The logger of our own packages.
    """
    handler = logging.StreamHandler(sys.stderr)
    # A role's name is text, not a format: a percent sign in it must stay one.
    name = role.replace("%", "%%")
    handler.setFormatter(
        logging.Formatter(f"%(asctime)s %(levelname)s {name}: %(message)s", "%Y-%m-%d %H:%M:%S")
    )
    logging.basicConfig(level=max(level, logging.WARNING), handlers=[handler], force=True)
    ours = logging.getLogger("services")
    ours.setLevel(level)
    return ours

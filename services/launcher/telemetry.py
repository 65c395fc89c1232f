"""Telemetry of a role's process: log lines and a metrics page.

Both start before the role, so that a process waiting for its peers has them, too.
"""

from __future__ import annotations

import contextlib
import dataclasses
import os
from collections.abc import Iterator
from pathlib import Path

from prometheus_client import CollectorRegistry

from rrl_agents.ranges import check_ranges
from rrl_client.addresses import LARGEST_PORT, bare_host
from services.shared.logging import RUN_NAME_VARIABLE, LogFormat, setup_logging
from services.shared.metrics import make_registry, serving_metrics


@dataclasses.dataclass(frozen=True, kw_only=True)
class Telemetry:
    """Logging and metrics of a role's process.

    Attributes:
        metrics_port: TCP port of the role's Prometheus metrics page; 0 picks a free one, None
            serves no page.
        metrics_host: Address to serve the metrics page on; 0.0.0.0 admits other machines.
        log_format: Format of log lines: text, or json for one object per line; by default
            that of $RRL_LOG_FORMAT, else text.
        run_name: Name of the run in log lines and on the metrics page; by default $RRL_RUN_NAME,
            else the name of the run's folder, if the role has that folder.
    """

    metrics_port: int | None = None
    metrics_host: str = "127.0.0.1"
    log_format: LogFormat | None = None
    run_name: str | None = None

    def __post_init__(self) -> None:
        """Refuse invalid ports."""
        check_ranges(self, "metrics_port", least=0, most=LARGEST_PORT)


@contextlib.contextmanager
def telemetry(
    role: str, options: Telemetry, *, run: Path | None = None, name: str = ""
) -> Iterator[CollectorRegistry]:
    """Set up logging, and serve a metrics page while the block runs.

    Args:
        role: Kind of role, e.g. "actor".
        options: Format of the log, and port of the page.
        run: Folder of the run; None if the role does not have it.
        name: Name of the process in log lines, e.g. "actor-1"; "" for the role's name.

    Yields:
        The registry of the page, to which the role adds its metrics.

    Raises:
        UserError: the page's port is in use, or an environment variable is invalid.
    """
    run_named = run_name(options, run)
    logger = setup_logging(name or role, run=run_named, log_format=options.log_format)
    registry = make_registry(role, run_named)
    with serving_metrics(
        registry, host=bare_host(options.metrics_host), port=options.metrics_port
    ) as address:
        if address is not None:
            logger.info("metrics page at http://%s/metrics", address)
        yield registry


def run_name(options: Telemetry, run: Path | None) -> str | None:
    """Name of a role's run; None if unknown."""
    named = options.run_name or os.environ.get(RUN_NAME_VARIABLE)
    return named or (run.resolve().name if run is not None else None)

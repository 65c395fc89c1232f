"""The replay role of a run, as each launcher starts it: tables, their control and health."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from services.replay.config import ReplayConfig
from services.replay.control_server import control_server
from services.replay.metrics import ReplayMetrics
from services.replay.role import ReplayRole
from services.shared.security.server import SecurityConfig


class ReplayPorts(NamedTuple):
    """Where a replay role listens.

    Attributes:
        data: Reverb's port.
        control: Port of its control and health.
    """

    data: int
    control: int


@contextlib.contextmanager
def serving_replay(
    config: ReplayConfig,
    checkpoints: Path,
    *,
    control_port: int,
    host: str = "127.0.0.1",
    security: SecurityConfig = SecurityConfig(),  # noqa: B008 - frozen
    metrics: ReplayMetrics | None = None,
) -> Iterator[ReplayPorts]:
    """Serve a shard's tables and their control.

    Args:
        config: Tables and Reverb's port.
        checkpoints: Where the shard keeps its part of the run's checkpoints.
        control_port: Port of control and health; 0 picks a free one.
        host: Interface for control and health. Reverb listens on all unless this is loopback.
        security: Encryption and tokens of the control; Reverb has neither.
        metrics: What it shows; None for nobody to see.

    Raises:
        UserError: a port is in use, tokens would travel unencrypted, or a credential is unusable.
    """
    role = ReplayRole(dataclasses.replace(config, host=host), checkpoints)
    if metrics is not None:
        metrics.attach(role)
    control = control_server(role, host=host, port=control_port, security=security)
    try:
        data = role.start()
        yield ReplayPorts(data=data, control=control.start())
    finally:
        control.stop()
        role.stop()

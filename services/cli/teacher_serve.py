"""`rrl teacher serve`: the parameters, and those of the groups, are the flags."""

from __future__ import annotations

import dataclasses
import os
import signal
from typing import Annotated

import tyro

from rrl_agents.escaped_markdown import one_line
from rrl_client.addresses import bare_host
from services.cli.shutdown import install_shutdown_event
from services.shared.allocator import keep_large_buffers
from services.shared.errors import UserError, user_errors
from services.shared.logging import (
    FORMAT_VARIABLE,
    RUN_NAME_VARIABLE,
    LogFormat,
    announce,
    setup_logging,
)
from services.shared.security.server import SecurityConfig
from services.teacher.config import (
    DEFAULT_MAX_BATCH_ROWS,
    BatchingConfig,
    ModelConfig,
    ServiceConfig,
    TeacherConfig,
    buckets_up_to,
)
from services.teacher.server import TeacherServer, build_teacher


@dataclasses.dataclass(frozen=True, kw_only=True)
class Limits:
    """How much is taken at once.

    Attributes:
        max_batch_rows: Most states in one batch, and in one request; clients split larger requests.
        max_queue_rows: Most states in the queue; requests beyond it are refused.
        max_queue_mib: Most memory of queued states, in MiB; requests beyond it are refused.
    """

    max_batch_rows: int = DEFAULT_MAX_BATCH_ROWS
    max_queue_rows: int = 4096
    max_queue_mib: int = 256

    def batching(self) -> BatchingConfig:
        """The service's settings.

        Raises:
            ValueError: one is out of range.
        """
        return BatchingConfig(
            buckets=buckets_up_to(self.max_batch_rows),
            max_queue_rows=self.max_queue_rows,
            max_queue_bytes=self.max_queue_mib * 2**20,
            stream_credit_rows=max(1024, self.max_batch_rows),
        )


@tyro.conf.configure(tyro.conf.OmitArgPrefixes)
def serve(
    checkpoint: str | None = None,
    *,
    model: Annotated[tuple[str, ...], tyro.conf.UseAppendAction] = (),
    service: ServiceConfig = ServiceConfig(),  # noqa: B008 - frozen
    limits: Limits = Limits(),  # noqa: B008
    security: SecurityConfig = SecurityConfig(),  # noqa: B008
    grace_seconds: float = 10.0,
    log_format: LogFormat | None = None,
) -> None:
    """Serve the action values of teachers over gRPC until SIGTERM or Ctrl-C.

    Args:
        checkpoint: The teacher: a name of `rrl teacher list` (Pong/dqn-bundled), a path (teacher
            directory, Dopamine agent or one of its checkpoints, model of Stable-Baselines3, CleanRL
            or PyTorch, ONNX file), a URL of one, a Python policy as module:factory, or several of
            these as ensemble:RULE:A,B (rules mean, values, highest).
        model: Serve a further model, NAME=CHECKPOINT; may be repeated. Of several models with the
            same name the last is the newest version.
        service: Address, backend and weight reloading.
        limits: Batch and queue sizes.
        security: TLS and tokens.
        grace_seconds: Seconds to finish queued requests on shutdown.
        log_format: text, or json for one object per line; by default $RRL_LOG_FORMAT, else text.
    """
    hosts = {name: bare_host(getattr(service, name)) for name in ("host", "metrics_host")}
    with user_errors():
        config = TeacherConfig(
            models=_models(checkpoint, model),
            batching=limits.batching(),
            security=security,
            **vars(service) | hosts,
        )
    shutdown = install_shutdown_event()
    if log_format is not None:
        # Child processes use the same format.
        os.environ[FORMAT_VARIABLE] = log_format
    setup_logging("teacher", run=os.environ.get(RUN_NAME_VARIABLE))
    # Before the threads of the numeric libraries create their own heaps.
    keep_large_buffers()
    # SIGHUP must not end the process before there is something to reload.
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    server = build_teacher(config)
    signal.signal(signal.SIGHUP, lambda *_: server.reload())
    server.start()
    try:
        server.run(shutdown, lambda: _say_ready(server))
    finally:
        server.stop(grace_seconds)


def _models(checkpoint: str | None, more: tuple[str, ...]) -> tuple[ModelConfig, ...]:
    """The model of --checkpoint, and those of --model."""
    models = [] if checkpoint is None else [ModelConfig(reference=checkpoint)]
    for given in more:
        name, _, path = given.partition("=")
        if not path:
            raise UserError(f"--model {given}: give NAME=CHECKPOINT")
        models.append(ModelConfig(name=name, reference=path))
    return tuple(models)


def _say_ready(server: TeacherServer) -> None:
    about = server.description
    others = len(server.descriptions) - 1
    more = f", and {others} more" if others else ""
    # The game comes from a card, which is untrusted.
    announce(
        f"teacher ready at {server.address}: {one_line(about.game)}, "
        f"{about.spec.num_actions} actions, version {about.teacher_version} on {about.backend}"
        f"{more}, metrics port {server.metrics_port}"
    )

"""The teacher that a command asks: a service at an address, or a teacher that is served here."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

from rrl_client import ClientSecurity, TeacherError
from services.cli.peers import Peers
from services.shared.addresses import parse_address
from services.shared.errors import user_errors
from services.teacher.config import BatchingConfig, ModelConfig, TeacherConfig

BATCH_ROWS = 128
"""States of one batch of a teacher that is served here."""


@contextlib.contextmanager
def asked_teacher(
    reference: str | None, address: str | None, peers: Peers, *, backend: str = "auto"
) -> Iterator[tuple[str, ClientSecurity]]:
    """Where to ask, and what to trust and show there; a checkpoint is served here until then.

    Args:
        reference: Which teacher, of any kind; None for the service at `address`.
        address: "host:port" of a service.
        peers: What to trust and show at `address`.
        backend: What computes the teacher of `reference`.

    Raises:
        UserError: there is no such teacher, the address is none, or the service does not answer.
    """
    with contextlib.ExitStack() as ending, user_errors((TeacherError,)):
        if reference is None:
            target = str(parse_address(address or ""))
            yield target, peers.security(target)
            return
        # Here and not above: --help needs none of it.
        from services.teacher.server import build_teacher

        server = build_teacher(
            TeacherConfig(
                models=(ModelConfig(reference=reference),),
                port=0,
                metrics_port=None,
                batching=BatchingConfig(buckets=(BATCH_ROWS,)),
                backend=backend,
            )
        )
        ending.callback(server.stop, 0.0)
        server.start()
        server.wait_until_ready()
        yield server.address, ClientSecurity()

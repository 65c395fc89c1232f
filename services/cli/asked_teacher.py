"""The teacher that a command queries: a service at an address, or one served by the command."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

from rrl_client import ClientSecurity, TeacherError
from services.cli.peers import Peers
from services.shared.addresses import parse_address
from services.shared.errors import user_errors
from services.teacher.config import BatchingConfig, ModelConfig, TeacherConfig

BATCH_ROWS = 128
"""States per batch of a teacher that the command serves."""


@contextlib.contextmanager
def asked_teacher(
    reference: str | None, address: str | None, peers: Peers, *, backend: str = "auto"
) -> Iterator[tuple[str, ClientSecurity]]:
    """Address and credentials of a teacher; serves `reference` until the block ends.

    Args:
        reference: Which teacher, of any kind; None for the service at `address`.
        address: "host:port" of a service.
        peers: TLS and credentials for `address`.
        backend: What runs the teacher of `reference`.

    Raises:
        UserError: the teacher does not exist, the address is invalid, or the service does not
            answer.
    """
    with contextlib.ExitStack() as ending, user_errors((TeacherError,)):
        if reference is None:
            target = str(parse_address(address or ""))
            yield target, peers.security(target)
            return
        # Imported here, since --help does not need it.
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

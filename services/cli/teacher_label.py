"""`rrl teacher label`: the parameters, and those of the group, are the flags."""

from __future__ import annotations

import contextlib
import dataclasses
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Annotated

import tyro
from tyro.conf import Positional

from rrl_agents.checkpoints.dopamine_replay.rows import DopamineReplay, open_dopamine_replay
from rrl_client import ClientSecurity, TeacherError
from services.cli.peers import Peers
from services.cli.row_progress import row_progress
from services.library.catalogue import locate
from services.recorded_data.labelling import label_manifest, labelled_chunks
from services.recorded_data.labels import LabelManifest, Labels
from services.recorded_data.retrying_teacher import RetryingTeacherClient
from services.shared.addresses import parse_address
from services.shared.allocator import keep_large_buffers
from services.shared.errors import UserError, user_errors
from services.teacher.config import ModelConfig, TeacherConfig
from services.teacher.server import build_teacher

_TIMEOUT_SECONDS = 120.0
"""Of one query, and how long one is sent again before the command ends."""


def label(
    data: Annotated[Positional[str], tyro.conf.arg(metavar="DATA")],
    *,
    teacher: str | None = None,
    address: str | None = None,
    out: Path | None = None,
    number: int | None = None,
    backend: str = "auto",
    peers: Peers = Peers(),  # noqa: B008 - frozen
) -> None:
    """Ask a teacher for its scores of every recorded state, once, and keep them.

    DATA is a replay buffer that Dopamine saved: $store$_observation_ckpt.N.gz, ...action, ...reward
    and ...terminal, add_count_ckpt.N.gz, invalid_range_ckpt.N.gz. It is streamed, so a million
    frames need no more memory than a thousand. Give either --teacher (computed here) or --address
    (of a running service). After any stop, the same command resumes where it was.

    Labels are a folder: scores.npy, float32 [rows, actions] in the order of time, beside
    labels.json, which says of what. Rows without a whole frame stack stay zero.

    Args:
        data: An agent's directory, its `checkpoints` or `replay_logs`, or a name of the catalogue.
        teacher: A name of `rrl teacher list`, a path (teacher directory, Dopamine agent or one of
            its checkpoints, ONNX file), a URL of one, or a Python policy as module:factory.
        address: HOST:PORT of a teacher service.
        out: Folder of the labels; by default one in DATA's own, named after teacher and data.
        number: Which saved buffer of DATA, its N; the newest by default.
        backend: jax, onnx (ONNX Runtime, on the CPU), or auto: the faster one, measured at start.
        peers: What to trust and show at --address.

    Raises:
        UserError: The data is damaged, the teacher does not take its states, or the labels there
            are of something else.
    """
    if (teacher is None) == (address is None):
        given = "neither" if teacher is None else "both"
        raise UserError(f"{given} of --teacher and --address given; give exactly one")
    if teacher is None and backend != "auto":
        raise UserError("--backend is about the teacher of --teacher, and there is none")
    keep_large_buffers()
    directory = Path(locate(data))
    with user_errors((ValueError, TeacherError)):
        rows = open_dopamine_replay(directory, number)
        security = peers.security(address) if address is not None else None
        with _asked(teacher, address, backend) as asked:
            labelled = label_rows(
                rows, asked, lambda manifest: out or directory / _name(manifest), security
            )
    print(
        f"labelled {labelled.rows} of {rows.rows} rows by {labelled.teacher}; all of them are in "
        f"{labelled.directory}"
    )


@dataclasses.dataclass(frozen=True, kw_only=True)
class Labelled:
    """What a pass has brought.

    Attributes:
        directory: Folder of the labels.
        teacher: Name of the teacher.
        rows: Rows that were labelled now, not before.
    """

    directory: Path
    teacher: str
    rows: int


def label_rows(
    rows: DopamineReplay,
    address: str,
    directory_of: Callable[[LabelManifest], Path],
    security: ClientSecurity | None = None,
) -> Labelled:
    """Label by a running service what is not labelled yet.

    Args:
        rows: The data.
        address: "host:port" of the teacher service.
        directory_of: Where labels go.
        security: What to trust and show there; None for plaintext without a token.

    Raises:
        UserError: The teacher does not take these states, or the labels there are of something
            else.
        TeacherError: The teacher does not answer.
        ValueError: The data is damaged.
    """
    with RetryingTeacherClient(
        address,
        timeout_seconds=_TIMEOUT_SECONDS,
        security=security,
        give_up_seconds=_TIMEOUT_SECONDS,
    ) as client:
        manifest = label_manifest(rows, client.describe())
        directory = directory_of(manifest)
        with Labels(directory, manifest) as labels:
            begun_at = labels.rows_done
            with row_progress(sys.stderr, total=rows.rows, done=begun_at) as show:
                for labelled in labelled_chunks(rows, labels, client.ask, first_row=begun_at):
                    show(labelled.rows.first_row + len(labelled.rows))
    return Labelled(directory=directory, teacher=manifest.teacher, rows=rows.rows - begun_at)


@contextlib.contextmanager
def _asked(teacher: str | None, address: str | None, backend: str) -> Iterator[str]:
    """Address of the teacher's service: the one given, or one that runs as long as the block."""
    if address is not None:
        yield str(parse_address(address))
        return
    assert teacher is not None
    config = TeacherConfig(
        models=(ModelConfig(reference=teacher),), port=0, metrics_port=None, backend=backend
    )
    server = build_teacher(config)
    try:
        server.start()
        server.wait_until_ready()
        yield server.address
    finally:
        server.stop(grace_seconds=0.0)


def _name(manifest: LabelManifest) -> str:
    return f"labels-{manifest.teacher_version}-{manifest.data_fingerprint[:16]}"

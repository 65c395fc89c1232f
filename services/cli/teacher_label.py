"""`rrl teacher label`: the parameters, and those of the group, are the flags."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from tyro.conf import Positional, arg

from rrl_agents.checkpoints.recorded_rows import RecordedRows
from rrl_client import ClientSecurity
from services.cli.asked_teacher import asked_teacher
from services.cli.flag_types import ASKED
from services.cli.peers import Peers
from services.cli.terminal import showing_progress
from services.library.catalogue import locate
from services.recorded_data.dataset import open_data
from services.recorded_data.labelling import label_manifest, labelled_chunks
from services.recorded_data.labels import Labels
from services.recorded_data.retrying_teacher import RetryingTeacherClient
from services.shared.allocator import keep_large_buffers
from services.shared.errors import UserError, user_errors

_TIMEOUT_SECONDS = 120.0
"""Of one query, and how long one is sent again before the command ends."""


def label(
    data: Annotated[Positional[str], arg(metavar="DATA")],
    *,
    teacher: Annotated[str | None, ASKED] = None,
    address: Annotated[str | None, ASKED] = None,
    out: Path | None = None,
    number: int | None = None,
    backend: str = "auto",
    peers: Peers = Peers(),  # noqa: B008 - frozen
) -> None:
    """Ask a teacher for its scores of every recorded state, once, and keep them.

    DATA is a replay buffer that Dopamine saved: $store$_observation_ckpt.N.gz, ...action, ...reward
    and ...terminal, add_count_ckpt.N.gz, invalid_range_ckpt.N.gz. It is streamed, so a million
    frames need no more memory than a thousand. Give either --teacher (served by this command) or
    --address (of a running service). After any stop, the same command resumes where it was.

    Labels are a folder: scores.npy, float32 [rows, actions] in the order of time, beside
    labels.json, which says of what. Rows without a whole frame stack stay zero.

    Args:
        data: An agent's directory, its `checkpoints` or `replay_logs`, or a name of the catalogue.
        teacher: A name of `rrl teacher list`, a path (teacher directory, Dopamine agent or one of
            its checkpoints, model of Stable-Baselines3, CleanRL or PyTorch, ONNX file), a URL of
            one, a Python policy as module:factory, or several of these as ensemble:RULE:A,B (rules
            mean, values, highest).
        address: HOST:PORT of a teacher service.
        out: Folder of the labels; by default one in DATA's own, named after teacher and data.
        number: Which saved buffer of DATA, its N; the newest by default.
        backend: jax, onnx (ONNX Runtime, on the CPU), or auto: the faster one, measured at start.
        peers: What to trust and show at --address.

    Raises:
        UserError: The data is damaged, the teacher does not take its states, or the labels there
            are of something else.
    """
    if teacher is None and backend != "auto":
        raise UserError("--backend is about the teacher of --teacher, and there is none")
    keep_large_buffers()
    directory = Path(locate(data))
    with user_errors((ValueError,)):
        rows = open_data(directory, number)
        with asked_teacher(teacher, address, peers, backend=backend) as (target, security):
            labels, begun_at = label_rows(rows, target, security, beside=directory, out=out)
    print(
        f"labelled {rows.rows - begun_at} of {rows.rows} rows by {labels.manifest.teacher}; all of "
        f"them are in {labels.directory}"
    )


def label_rows(
    rows: RecordedRows,
    address: str,
    security: ClientSecurity | None = None,
    *,
    beside: Path,
    out: Path | None = None,
) -> tuple[Labels, int]:
    """Label by a running service what is not labelled yet.

    Args:
        rows: The data.
        address: "host:port" of the teacher service.
        security: What to trust and show there; None for plaintext without a token.
        beside: Where a folder of labels is made, named after teacher and data.
        out: The folder instead.

    Returns:
        The labels, closed; and how many rows were labelled before.

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
        name = f"labels-{manifest.teacher_version}-{manifest.data_fingerprint[:16]}"
        with (
            Labels(out or beside / name, manifest) as labels,
            showing_progress("{:,.0f}".format) as progress,
        ):
            begun_at = labels.rows_done
            at = progress.begin("rows labelled", rows.rows, begun_at)
            for labelled in labelled_chunks(rows, labels, client.ask, first_row=begun_at):
                at(labelled.rows.first_row + len(labelled.rows))
    return labels, begun_at

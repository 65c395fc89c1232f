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
"""Timeout of one query, and how long a query is retried before the command fails."""


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
    """Label recorded data: store a teacher's scores for every recorded state.

    DATA is a replay buffer that Dopamine saved: $store$_observation_ckpt.N.gz, ...action, ...reward
    and ...terminal, add_count_ckpt.N.gz, invalid_range_ckpt.N.gz. It is streamed, so a million
    frames need no more memory than a thousand. Give either --teacher, which this command serves, or
    the --address of a running service. Run the same command again to resume after a stop.

    The labels are a folder with scores.npy, float32 [rows, actions] in time order, and labels.json,
    which identifies the data and the teacher. Rows without a full frame stack stay zero.

    Args:
        data: An agent's directory, its `checkpoints` or `replay_logs`, or a name of `rrl teacher
            list`.
        teacher: A name of `rrl teacher list`, a path (teacher directory, Dopamine agent or one of
            its checkpoints, model of Stable-Baselines3, CleanRL or PyTorch, ONNX file), a URL of
            one, a Python policy as module:factory, or several of these as ensemble:RULE:A,B (rules
            mean, values, highest).
        address: HOST:PORT of a running teacher service.
        out: Folder for the labels; by default a folder inside DATA, named after the teacher and the
            data.
        number: Number N of the saved buffer; the newest by default.
        backend: How to run --teacher: jax, onnx (ONNX Runtime, on the CPU), or auto, which measures
            both at the start and takes the faster one.
        peers: TLS and credentials for the service at --address.

    Raises:
        UserError: The data is damaged, the teacher does not accept its states, or the folder has
            labels of other data or another teacher.
    """
    if teacher is None and backend != "auto":
        raise UserError(
            "--backend applies to --teacher only; leave it out, as the service at --address "
            "chooses its own"
        )
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
    """Have a running service label the rows that have no label yet.

    Args:
        rows: The data.
        address: "host:port" of the teacher service.
        security: TLS and credentials for it; None for plaintext without a token.
        beside: Folder in which the labels' folder is made, named after the teacher and the data.
        out: The labels' folder; overrides `beside`.

    Returns:
        The labels, closed; and the number of rows that had labels before.

    Raises:
        UserError: The teacher does not accept these states, or the folder has labels of other data
            or another teacher.
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

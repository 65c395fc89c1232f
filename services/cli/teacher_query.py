"""`rrl teacher query`: the parameters are the flags."""

from __future__ import annotations

import sys
import zipfile
from pathlib import Path
from typing import Annotated, Any

import numpy as np
from numpy.typing import NDArray

from rrl_agents.durable_files import replacing
from rrl_client import TeacherClient
from rrl_client.spec import OBSERVATION_DTYPES
from services.cli.asked_teacher import asked_teacher
from services.cli.flag_types import ASKED
from services.cli.peers import Peers
from services.shared.errors import UserError, user_errors

MAX_STATES_BYTES = 8 * 2**30
"""Largest `states` array read, 300,000 Atari states: a small file may decompress to any size."""

_QUERY_TIMEOUT_SECONDS = 60.0


def query(
    *,
    states: Path,
    out: Path,
    checkpoint: Annotated[str | None, ASKED] = None,
    address: Annotated[str | None, ASKED] = None,
    peers: Peers = Peers(),  # noqa: B008 - frozen
) -> None:
    """Compute a teacher's action values for recorded states.

    Give either --checkpoint (served by this command) or --address (a running service).

    Args:
        states: .npz file with an array `states`, [N, ...], of the teacher's shape and type; for
            Atari uint8 [N, 84, 84, 4], oldest frame first.
        out: .npz file to write, with `q_values`, or `logits` if the teacher gives logits, float32
            [N, A].
        checkpoint: A name of `rrl teacher list`, a path (teacher directory, Dopamine agent or one
            of its checkpoints, model of Stable-Baselines3, CleanRL or PyTorch, ONNX file), a URL of
            one, a Python policy as module:factory, or several of these as ensemble:RULE:A,B (rules
            mean, values, highest).
        address: HOST:PORT of a running teacher service.
        peers: TLS and credentials for the service at --address.
    """
    if not out.resolve().parent.is_dir():
        raise UserError(f"--out: there is no directory {out.resolve().parent}; make it first")
    observations = read_states(states)
    with (
        asked_teacher(checkpoint, address, peers) as (target, security),
        TeacherClient(target, timeout_seconds=_QUERY_TIMEOUT_SECONDS, security=security) as teacher,
    ):
        spec = teacher.describe().spec
        misfit = spec.misfit(
            observation_shape=observations.shape[1:],
            observation_dtype=observations.dtype.name,
            of="a row of `states`",
        )
        if misfit is not None:
            raise UserError(f"this teacher {misfit}; give states of this game and preprocessing")
        scores = teacher.evaluate(observations).action_values
    with user_errors((OSError,), prefix=f"--out: cannot write {out}: "), replacing(out) as file:
        np.savez(file, **{spec.output: scores})
    print(f"wrote {spec.output} {scores.shape} to {out}", file=sys.stderr)


def read_states(path: Path) -> NDArray[Any]:
    """Read the array `states` from an .npz file, without unpickling.

    Returns:
        uint8 or float32 [N, ...], N >= 1.

    Raises:
        UserError: The file is missing or not an .npz file, or `states` is missing, empty or of
            another type.
    """
    wanted = (
        f"{path}: want an .npz file with `states`, [N, ...] of the teacher's shape and type (uint8 "
        "or float32), for Atari uint8 [N, 84, 84, 4]"
    )
    if not path.exists():
        raise UserError(f"there is no file {path}; check --states")
    # zipfile, zlib and NumPy raise errors of many classes on damaged files.
    with user_errors((Exception,), prefix=f"{wanted}; reading it failed: "):
        with zipfile.ZipFile(path) as archive:
            size = archive.getinfo("states.npy").file_size
        if size > MAX_STATES_BYTES:
            raise ValueError(
                f"`states` unpacks to {size} bytes, the limit is {MAX_STATES_BYTES}; split the file"
            )
        with np.load(path, allow_pickle=False) as arrays:
            states: NDArray[Any] = arrays["states"]
    if states.dtype not in map(np.dtype, OBSERVATION_DTYPES) or states.ndim < 2 or len(states) < 1:
        raise UserError(f"{wanted}; its `states` are {states.dtype} {states.shape}")
    return states

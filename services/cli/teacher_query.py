"""`rrl teacher query`: the parameters are the flags."""

from __future__ import annotations

import os
import sys
import zipfile
import zlib
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from services.shared.addresses import parse_address
from services.shared.errors import UserError
from services.teacher.client import TeacherClient, TeacherError
from services.teacher.config import ModelConfig
from services.teacher.policy import evaluate_in_pieces, load_policy

MAX_STATES_BYTES = 8 * 2**30
"""Largest `states` array read: 300,000 Atari states. A small file may unpack to anything."""

_QUERY_TIMEOUT_SECONDS = 60.0

_UNREADABLE = (
    OSError,
    ValueError,
    EOFError,
    zipfile.BadZipFile,
    zlib.error,
    # Encrypted, or of a compression that is not known.
    RuntimeError,
    # A header may announce more rows than follow.
    MemoryError,
)
"""What reading a damaged or foreign .npz file raises."""


def query(
    *,
    states: Path,
    out: Path,
    checkpoint: str | None = None,
    checkpoint_number: int | None = None,
    address: str | None = None,
) -> None:
    """Write a teacher's action values of recorded states.

    Give either --checkpoint (computed here) or --address (asked of a running service).

    Args:
        states: .npz file with `states`, uint8 [N, 84, 84, 4], oldest frame first.
        out: .npz file to write, with `q_values`, float32 [N, A].
        checkpoint: Bundled name, teacher directory, or Dopamine checkpoint directory.
        checkpoint_number: Which checkpoint of a Dopamine directory; the newest by default.
        address: HOST:PORT of a teacher service.
    """
    if (checkpoint is None) == (address is None):
        given = "neither" if checkpoint is None else "both"
        raise UserError(f"{given} of --checkpoint and --address given; give exactly one")
    if checkpoint_number is not None and checkpoint is None:
        raise UserError("--checkpoint-number needs --checkpoint; a service has only one")
    if not out.resolve().parent.is_dir():
        raise UserError(f"--out: there is no directory {out.resolve().parent}; make it first")
    observations = read_states(states)
    if address is not None:
        q_values = _ask(address, observations)
    else:
        assert checkpoint is not None
        q_values = _compute(checkpoint, checkpoint_number, observations)
    _write_atomically(out, q_values)
    print(f"wrote q_values {q_values.shape} to {out}", file=sys.stderr)


def read_states(path: Path) -> NDArray[np.uint8]:
    """Read `states` of an .npz file; nothing in it is unpickled.

    Returns:
        uint8 [N, ...], N >= 1.

    Raises:
        UserError: No such file, no .npz, no `states`, or not uint8 rows; says what to do.
    """
    wanted = f"{path}: want an .npz file with `states`, uint8 [N, 84, 84, 4]"
    try:
        with zipfile.ZipFile(path) as archive:
            size = archive.getinfo("states.npy").file_size
        if size > MAX_STATES_BYTES:
            raise UserError(
                f"{path}: `states` unpacks to {size} bytes, the limit is {MAX_STATES_BYTES}; "
                "split the file"
            )
        with np.load(path, allow_pickle=False) as arrays:
            states: NDArray[np.uint8] = arrays["states"]
    except FileNotFoundError as error:
        raise UserError(f"there is no file {path}; check --states") from error
    except KeyError as error:
        raise UserError(f"{wanted}; it has no `states`") from error
    except _UNREADABLE as error:
        raise UserError(f"{wanted}; reading it failed ({error})") from error
    if states.dtype != np.uint8 or states.ndim < 2 or len(states) < 1:
        raise UserError(f"{wanted}; its `states` are {states.dtype} {states.shape}")
    return states


def _ask(address: str, observations: NDArray[np.uint8]) -> NDArray[np.float32]:
    target = str(parse_address(address))
    try:
        with TeacherClient(target, timeout_seconds=_QUERY_TIMEOUT_SECONDS) as teacher:
            _check_fit(observations, teacher.describe().observation_shape)
            return teacher.evaluate(observations).action_values
    except TeacherError as error:
        raise UserError(str(error)) from error


def _compute(
    checkpoint: str, number: int | None, observations: NDArray[np.uint8]
) -> NDArray[np.float32]:
    model = ModelConfig(name="teacher", checkpoint=checkpoint, checkpoint_number=number)
    policy = load_policy(model, backend="jax")
    _check_fit(observations, policy.info.observation_shape)
    return evaluate_in_pieces(policy, observations)


def _check_fit(observations: NDArray[np.uint8], shape: tuple[int, ...]) -> None:
    if observations.shape[1:] != shape:
        raise UserError(
            f"`states` have shape {observations.shape}; this teacher takes [N, "
            f"{', '.join(map(str, shape))}]"
        )


def _write_atomically(out: Path, q_values: NDArray[np.float32]) -> None:
    """Write under a temporary name, then rename: an older file is replaced whole or not at all."""
    temporary = out.with_name(f".{out.name}.{os.getpid()}.tmp")
    try:
        with open(temporary, "xb") as file:
            np.savez(file, q_values=q_values)
        os.replace(temporary, out)
    except OSError as error:
        raise UserError(f"--out: cannot write {out} ({error.strerror})") from error
    finally:
        temporary.unlink(missing_ok=True)

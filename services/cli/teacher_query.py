"""`rrl teacher query`: the parameters are the flags."""

from __future__ import annotations

import sys
import zipfile
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from rrl_agents.durable_files import replacing
from rrl_client import PolicySpec, TeacherClient, TeacherError
from rrl_client.spec import OBSERVATION_DTYPES
from services.cli.peers import Peers
from services.shared.addresses import parse_address
from services.shared.errors import UserError, user_errors
from services.teacher.policies.interface import Policy
from services.teacher.policies.loading import load_policy

MAX_STATES_BYTES = 8 * 2**30
"""Largest `states` array read: 300,000 Atari states. A small file may unpack to anything."""

_QUERY_TIMEOUT_SECONDS = 60.0

_NamedScores: TypeAlias = Mapping[str, NDArray[np.float32]]
"""float32 [N, A] under what they are: "q_values" or "logits"."""

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
    address: str | None = None,
    peers: Peers = Peers(),  # noqa: B008 - frozen
) -> None:
    """Write a teacher's action values of recorded states.

    Give either --checkpoint (computed here) or --address (asked of a running service).

    Args:
        states: .npz file with `states`, [N, ...] of the teacher's shape and type; for Atari uint8
            [N, 84, 84, 4], oldest frame first.
        out: .npz file to write, with `q_values`, or `logits` of a teacher of those, float32 [N, A].
        checkpoint: A name of `rrl teacher list`, a path (teacher directory, Dopamine agent or one
            of its checkpoints, ONNX file), a URL of one, or a Python policy as module:factory.
        address: HOST:PORT of a teacher service.
        peers: What to trust and show there.
    """
    if (checkpoint is None) == (address is None):
        given = "neither" if checkpoint is None else "both"
        raise UserError(f"{given} of --checkpoint and --address given; give exactly one")
    if not out.resolve().parent.is_dir():
        raise UserError(f"--out: there is no directory {out.resolve().parent}; make it first")
    observations = read_states(states)
    if address is not None:
        named = _ask(address, peers, observations)
    else:
        assert checkpoint is not None
        named = _compute(checkpoint, observations)
    _write_atomically(out, named)
    for name, scores in named.items():
        print(f"wrote {name} {scores.shape} to {out}", file=sys.stderr)


def read_states(path: Path) -> NDArray[Any]:
    """Read `states` of an .npz file; nothing in it is unpickled.

    Returns:
        uint8 or float32 [N, ...], N >= 1.

    Raises:
        UserError: No such file, no .npz, no `states`, or no rows of those types; says what to do.
    """
    wanted = (
        f"{path}: want an .npz file with `states`, [N, ...] of the teacher's shape and type (uint8 "
        "or float32), for Atari uint8 [N, 84, 84, 4]"
    )
    try:
        with zipfile.ZipFile(path) as archive:
            size = archive.getinfo("states.npy").file_size
        if size > MAX_STATES_BYTES:
            raise UserError(
                f"{path}: `states` unpacks to {size} bytes, the limit is {MAX_STATES_BYTES}; "
                "split the file"
            )
        with np.load(path, allow_pickle=False) as arrays:
            states: NDArray[Any] = arrays["states"]
    except FileNotFoundError as error:
        raise UserError(f"there is no file {path}; check --states") from error
    except KeyError as error:
        raise UserError(f"{wanted}; it has no `states`") from error
    except _UNREADABLE as error:
        raise UserError(f"{wanted}; reading it failed ({error})") from error
    if states.dtype not in map(np.dtype, OBSERVATION_DTYPES) or states.ndim < 2 or len(states) < 1:
        raise UserError(f"{wanted}; its `states` are {states.dtype} {states.shape}")
    return states


def _ask(address: str, peers: Peers, observations: NDArray[Any]) -> _NamedScores:
    target = str(parse_address(address))
    security = peers.security(target)
    with (
        user_errors((TeacherError,)),
        TeacherClient(target, timeout_seconds=_QUERY_TIMEOUT_SECONDS, security=security) as teacher,
    ):
        spec = teacher.describe().spec
        _check_fit(observations, spec)
        return {spec.output: teacher.evaluate(observations).action_values}


def _compute(checkpoint: str, observations: NDArray[Any]) -> _NamedScores:
    policy = load_policy(checkpoint, backend="jax")
    spec = policy.info.spec
    _check_fit(observations, spec)
    try:
        return {spec.output: evaluate_in_batches(policy, observations)}
    # A Python policy may raise anything.
    except Exception as error:
        raise UserError(
            f"{checkpoint} failed on these states ({type(error).__name__}: {error})"
        ) from error


def evaluate_in_batches(
    policy: Policy, observations: NDArray[Any], *, rows_per_call: int = 128
) -> NDArray[np.float32]:
    """Scores of any number of states; where sizes are compiled, of one size only.

    Args:
        policy: What answers.
        observations: [N, *observation_shape], N >= 1.
        rows_per_call: Rows of one batch.

    Returns:
        float32 [N, A].
    """
    scores = []
    for start in range(0, len(observations), rows_per_call):
        batch = observations[start : start + rows_per_call]
        padding = 0 if policy.dynamic_batch_size else rows_per_call - len(batch)
        if padding:
            batch = np.concatenate([batch, policy.info.spec.zeros(padding)])
        scores.append(policy.evaluate(batch))
    return np.concatenate(scores)[: len(observations)]


def _check_fit(observations: NDArray[Any], spec: PolicySpec) -> None:
    misfit = spec.misfit(
        observation_shape=observations.shape[1:],
        observation_dtype=observations.dtype.name,
        of="a row of `states`",
    )
    if misfit is not None:
        raise UserError(f"this teacher {misfit}; give states of this game and preprocessing")


def _write_atomically(out: Path, named: _NamedScores) -> None:
    """Write under a temporary name, then rename: an older file is replaced whole or not at all."""
    try:
        with replacing(out) as file:
            np.savez(file, **named)
    except OSError as error:
        raise UserError(f"--out: cannot write {out} ({error.strerror})") from error

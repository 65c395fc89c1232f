"""`rrl teacher query`: the parameters are the flags."""

from __future__ import annotations

import sys
import zipfile
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, TypeAlias

import numpy as np
import tyro
from numpy.typing import NDArray

from rrl_agents.checkpoints.dopamine_agents.hints import Hints
from rrl_agents.durable_files import replacing
from rrl_client import TeacherClient, TeacherError
from rrl_client.codec import OBSERVATION_DTYPES
from services.cli.peers import Peers
from services.shared.addresses import parse_address
from services.shared.errors import UserError
from services.teacher.config import ModelConfig
from services.teacher.policy import evaluate_in_pieces, load_policy

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
    checkpoint_number: int | None = None,
    game: str | None = None,
    output: Literal["q_values", "logits"] | None = None,
    hints: Annotated[Hints, tyro.conf.arg(name="")] = Hints(),  # noqa: B008 - frozen
    address: str | None = None,
    peers: Peers = Peers(),  # noqa: B008 - frozen
) -> None:
    """Write a teacher's action values of recorded states.

    Give either --checkpoint (computed here) or --address (asked of a running service).

    Args:
        states: .npz file with `states`, [N, ...] of the teacher's shape and type; for Atari uint8
            [N, 84, 84, 4], oldest frame first.
        out: .npz file to write, with `q_values`, or `logits` of a teacher of those, float32 [N, A].
        checkpoint: Name of the catalogue, teacher directory, Dopamine checkpoint directory, ONNX
            file, or a Python policy as module:factory.
        checkpoint_number: Which checkpoint of a Dopamine directory; the newest by default.
        game: Game of a teacher that does not say it itself.
        output: What its scores are, where it does not say so.
        hints: What else a Dopamine checkpoint does not say, where its shapes leave doubt.
        address: HOST:PORT of a teacher service.
        peers: What to trust and show there.
    """
    if (checkpoint is None) == (address is None):
        given = "neither" if checkpoint is None else "both"
        raise UserError(f"{given} of --checkpoint and --address given; give exactly one")
    if checkpoint_number is not None and checkpoint is None:
        raise UserError("--checkpoint-number needs --checkpoint; a service has only one")
    if (game is not None or output is not None) and checkpoint is None:
        raise UserError("--game and --output need --checkpoint; a service says them itself")
    if not out.resolve().parent.is_dir():
        raise UserError(f"--out: there is no directory {out.resolve().parent}; make it first")
    observations = read_states(states)
    if address is not None:
        named = _ask(address, peers, observations)
    else:
        assert checkpoint is not None
        model = ModelConfig(
            name="teacher",
            checkpoint=checkpoint,
            checkpoint_number=checkpoint_number,
            game=game,
            output=output,
            hints=hints,
        )
        named = _compute(model, observations)
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
    known = [np.dtype(name) for name in OBSERVATION_DTYPES]
    if states.dtype not in known or states.ndim < 2 or len(states) < 1:
        raise UserError(f"{wanted}; its `states` are {states.dtype} {states.shape}")
    return states


def _ask(address: str, peers: Peers, observations: NDArray[Any]) -> _NamedScores:
    target = str(parse_address(address))
    security = peers.security(target)
    try:
        with TeacherClient(
            target, timeout_seconds=_QUERY_TIMEOUT_SECONDS, security=security
        ) as teacher:
            about = teacher.describe()
            _check_fit(observations, about.observation_dtype, about.observation_shape)
            return {about.output: teacher.evaluate(observations).action_values}
    except TeacherError as error:
        raise UserError(str(error)) from error


def _compute(model: ModelConfig, observations: NDArray[Any]) -> _NamedScores:
    policy = load_policy(model, backend="jax")
    info = policy.info
    _check_fit(observations, info.observation_dtype, info.observation_shape)
    try:
        return {info.output: evaluate_in_pieces(policy, observations)}
    # Somebody else's policy may raise anything; ours do not.
    except Exception as error:
        raise UserError(
            f"{model.checkpoint} failed on these states ({type(error).__name__}: {error})"
        ) from error


def _check_fit(observations: NDArray[Any], dtype: str, shape: tuple[int, ...]) -> None:
    if observations.dtype.name != dtype or observations.shape[1:] != shape:
        raise UserError(
            f"`states` are {observations.dtype} {observations.shape}; this teacher takes {dtype} "
            f"[N, {', '.join(map(str, shape))}]"
        )


def _write_atomically(out: Path, named: _NamedScores) -> None:
    """Write under a temporary name, then rename: an older file is replaced whole or not at all."""
    try:
        with replacing(out) as file:
            np.savez(file, **named)
    except OSError as error:
        raise UserError(f"--out: cannot write {out} ({error.strerror})") from error

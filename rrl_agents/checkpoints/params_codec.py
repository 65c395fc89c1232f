"""Encodes trees of parameters as safetensors bytes, for teachers' directories and the wire.

Flat names join the tree's keys with a slash and leave out the leading `params` of flax: the leaf
`{"params": {"Conv_0": {"kernel": x}}}` is called `Conv_0/kernel`. All leaves are float32. Equal
trees give equal bytes, so a hash of the bytes names the parameters.
"""

from __future__ import annotations

import hashlib
import itertools
from collections.abc import Mapping
from typing import Any

import numpy as np
import safetensors
import safetensors.numpy
from numpy.typing import NDArray

from rrl_agents.types import Params

MAX_PARAMS_BYTES = 1 << 30
"""Default bound of encoded parameters, 1 GiB: 60 times the Nature DQN, far below a server's RAM."""

MAX_TREE_DEPTH = 16
"""Bound of the keys in one flat name, because trees are traversed recursively."""

ROOT = "params"
"""The single top-level collection of a flax tree of parameters."""


def flatten_params(params: Params) -> dict[str, NDArray[np.float32]]:
    """Name every leaf of a tree.

    Args:
        params: `{"params": {...}}`, nested dicts with float32 arrays (numpy or JAX) as leaves.

    Returns:
        Flat name -> float32 array in C order, names sorted.

    Raises:
        ValueError: When the tree has another root, or a leaf that is not float32; names it.
    """
    # Imported here and below, so that code that only forwards bytes needs no flax.
    from flax.traverse_util import flatten_dict

    if set(params) != {ROOT}:
        raise ValueError(f"parameters have the top-level keys {sorted(params)}; need only '{ROOT}'")
    named: dict[str, Any] = flatten_dict(params[ROOT], sep="/")  # type: ignore[no-untyped-call]
    flat = {name: np.asarray(leaf) for name, leaf in named.items()}
    _check_float32(flat)
    return {name: np.asarray(flat[name], order="C") for name in sorted(flat)}


def unflatten_params(flat: Mapping[str, NDArray[np.float32]]) -> dict[str, Any]:
    """Rebuild the tree of `flatten_params`.

    Args:
        flat: Flat name -> float32 array.

    Returns:
        `{"params": {...}}`, nested dicts.

    Raises:
        ValueError: When a name has an empty part or too many, or is both a leaf and a branch.
    """
    from flax.traverse_util import unflatten_dict

    for name in flat:
        parts = name.split("/")
        branches = itertools.accumulate(parts[:-1], "{}/{}".format)
        if not all(parts) or len(parts) > MAX_TREE_DEPTH or any(one in flat for one in branches):
            raise ValueError(
                f"parameter name {name!r} must be 1 to {MAX_TREE_DEPTH} non-empty parts joined by "
                "'/', of which no other array has the first ones"
            )
    return {ROOT: unflatten_dict(dict(flat), sep="/")}  # type: ignore[no-untyped-call]


def params_to_bytes(params: Params) -> bytes:
    """Encode a tree of parameters.

    Args:
        params: `{"params": {...}}` with float32 leaves.

    Returns:
        A safetensors file's content.

    Raises:
        ValueError: As `flatten_params`.
    """
    return safetensors.numpy.save(dict(flatten_params(params)))


def params_from_bytes(data: bytes, max_bytes: int = MAX_PARAMS_BYTES) -> dict[str, Any]:
    """Decode the bytes of `params_to_bytes`; `data` is untrusted.

    Args:
        data: Content of a safetensors file.
        max_bytes: Most bytes accepted.

    Returns:
        `{"params": {...}}`, nested dicts with float32 numpy arrays as leaves.

    Raises:
        ValueError: When `data` is too large, not complete safetensors content, has another type
            than float32, or its names do not form a tree.
    """
    if len(data) > max_bytes:
        raise ValueError(f"encoded parameters have {len(data)} bytes; at most {max_bytes} are read")
    try:
        flat = safetensors.numpy.load(data)
    except safetensors.SafetensorError as error:
        raise ValueError(
            f"not whole safetensors content ({error}); copy the parameters again from their source"
        ) from error
    except KeyError as error:
        raise ValueError(f"parameters hold the type {error}; only F32 is accepted") from error
    _check_float32(flat)
    return unflatten_params(flat)


def params_hash(encoded: bytes) -> str:
    """Name encoded parameters by their content.

    Args:
        encoded: Bytes from `params_to_bytes`.

    Returns:
        SHA-256 in lower-case hex, 64 characters.
    """
    return hashlib.sha256(encoded).hexdigest()


def _check_float32(flat: Mapping[str, NDArray[Any]]) -> None:
    for name, leaf in flat.items():
        if leaf.dtype != np.float32:
            raise ValueError(f"parameter {name!r} is {leaf.dtype}; only float32 is accepted")

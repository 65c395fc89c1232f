"""Which generation of Python, jax and flax wrote a Dopamine agent's pickle."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

_ARRAYS = (
    (b"jax._src.array", "arrays of jax 0.4 and later"),
    (b"jax._src.device_array", "device arrays of jax 0.3.14 to 0.3.25"),
    (b"jax.interpreters.xla", "device arrays of jax before 0.3"),
)
_NUMBERED = re.compile(r"[A-Za-z]+_([0-9]{1,4})")


def pickle_generation(data: bytes, params: Any) -> list[str]:
    """Tell the generation by the names that a pickle writes out.

    Args:
        data: The pickle.
        params: The parameters found in it, None for an agent of TensorFlow.

    Returns:
        A few words on each: the pickle's protocol, its arrays, its containers, its layers' names.
    """
    # Protocols from 2 on begin with the opcode PROTO and their number.
    found = [f"pickle protocol {data[1]}"] if data[:1] == b"\x80" and len(data) > 1 else []
    if not isinstance(params, Mapping):
        return found
    found.append(next((words for name, words in _ARRAYS if name in data), "arrays of numpy"))
    is_frozen = b"flax.core.frozen_dict" in data
    has_root = set(params) == {"params"}
    found.append(
        f"{'FrozenDict' if is_frozen else 'dict'} {'with' if has_root else 'without'} the level "
        "`params`"
    )
    layers = params["params"] if has_root else params
    if isinstance(layers, Mapping):
        found.append(_naming(layers))
    return found


def _naming(layers: Mapping[Any, Any]) -> str:
    """Linen counts the layers of each kind from 0, its predecessor all layers together."""
    matches = [_NUMBERED.fullmatch(name) for name in layers if isinstance(name, str)]
    numbers = [int(match[1]) for match in matches if match is not None]
    is_older = len(numbers) > 1 and len(set(numbers)) == len(numbers)
    return "layers named as before flax linen" if is_older else "layers named by flax linen"

"""Layers of a foreign network as ours are: named as flax linen does, checked, float32.

Names come in two styles. Flax linen counts the layers of each kind from 0 (Conv_0, Conv_1, Conv_2,
Dense_0, Dense_1); its predecessor counted layers of all kinds together (Dense_3, Dense_4). Layers
lie in the level `params`, or without it.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

Layers = dict[str, dict[str, NDArray[np.float32]]]
"""Linen name -> leaf -> array, in the order Conv_0, Conv_1, .., Dense_0, .., or NoisyNetwork_0."""

LEAVES: Mapping[str, tuple[str, ...]] = {
    "Conv": ("kernel", "bias"),
    "Dense": ("kernel", "bias"),
    "NoisyNetwork": ("kernel_mu", "kernel_sigma", "bias_mu", "bias_sigma"),
}
"""What a layer of each kind holds."""

MAX_LAYERS = 64
"""Bound of the layers that are looked at; Dopamine's networks have six at most."""


def read_layers(tree: Any, where: str, notes: list[str]) -> Layers:
    """Rename and check the layers of one network.

    Args:
        tree: What the checkpoint holds, nothing of which is trusted.
        where: Name of the tree, the start of every message.
        notes: What was changed on the way is added here.

    Returns:
        The layers, each with all its leaves: finite float32 numpy arrays of at least one number.

    Raises:
        ValueError: When something else is there, or a leaf is missing or no array of finite
            floating-point numbers; the message names it.
    """
    if not isinstance(tree, Mapping):
        raise ValueError(f"{where} is a {type(tree).__name__}; expected a tree of layers")
    layers = tree["params"] if set(tree) == {"params"} else tree
    if not isinstance(layers, Mapping):
        raise ValueError(f"{where}/params is a {type(layers).__name__}; expected layers")
    names = _linen_names(layers, where)
    if any(old != new for old, new in names.items()):
        notes.append("layers renamed from the names of flax before linen")
    return {new: _read_layer(layers[old], new, where, notes) for old, new in names.items()}


def listed_keys(keys: Iterable[Any]) -> list[str]:
    """The first dozen keys of a foreign mapping for a message, cut to a readable length."""
    # Only text is printed: a whole number may have millions of digits.
    shown = (key[:40] if isinstance(key, str) else f"a {type(key).__name__}" for key in keys)
    return sorted(shown)[:12]


def _linen_names(layers: Mapping[Any, Any], where: str) -> dict[str, str]:
    """Old name -> new name, sorted by kind and number."""
    if not 1 <= len(layers) <= MAX_LAYERS:
        raise ValueError(f"{where} holds {len(layers)} layers; Dopamine's networks have 5 or 6")
    numbers = _numbers_by_kind(layers, where)
    each = [sorted(found) for found in numbers.values()]
    together = sorted(itertools.chain(*each))
    if not (all(map(_are_counted, each)) or _are_counted(together)):
        raise ValueError(
            f"{where} has the layers {sorted(layers)}, some of which are missing: layers are "
            "counted from 0, each kind by itself or all together"
        )
    return {
        f"{kind}_{old}": f"{kind}_{new}"
        for kind in LEAVES
        for new, old in enumerate(sorted(numbers.get(kind, ())))
    }


def _are_counted(numbers: list[int]) -> bool:
    return numbers == list(range(len(numbers)))


def _numbers_by_kind(layers: Mapping[Any, Any], where: str) -> dict[str, list[int]]:
    numbers: dict[str, list[int]] = {}
    for name in layers:
        match = (
            re.fullmatch(r"([A-Za-z]+)_(0|[1-9][0-9]?)", name) if isinstance(name, str) else None
        )
        if match is None or match[1] not in LEAVES:
            raise ValueError(
                f"{where} holds {listed_keys([name])[0]!r}; expected layers like Conv_0, Dense_0 "
                "or NoisyNetwork_0, as Dopamine's networks with Nature DQN's convolutions have"
            )
        numbers.setdefault(match[1], []).append(int(match[2]))
    return numbers


def _read_layer(
    layer: Any, name: str, where: str, notes: list[str]
) -> dict[str, NDArray[np.float32]]:
    leaves = LEAVES[name.partition("_")[0]]
    if not isinstance(layer, Mapping):
        raise ValueError(f"{where}/{name} is a {type(layer).__name__}; expected {_and(leaves)}")
    superfluous = listed_keys(set(layer) - set(leaves))
    if superfluous:
        raise ValueError(f"{where}/{name} holds {superfluous} beside {_and(leaves)}")
    return {leaf: _read_leaf(layer, leaf, f"{where}/{name}", notes) for leaf in leaves}


def _and(leaves: tuple[str, ...]) -> str:
    return f"{', '.join(leaves[:-1])} and {leaves[-1]}"


def _read_leaf(
    layer: Mapping[Any, Any], leaf: str, where: str, notes: list[str]
) -> NDArray[np.float32]:
    if leaf not in layer:
        raise ValueError(f"{where}/{leaf} is missing")
    array = layer[leaf]
    if not isinstance(array, np.ndarray) or array.dtype.kind != "f":
        raise ValueError(f"{where}/{leaf} is no array of floating-point numbers")
    if array.size == 0:
        raise ValueError(f"{where}/{leaf} has shape {array.shape}, which holds no number")
    if array.dtype.itemsize != 4:
        notes.append(f"parameters converted from {array.dtype.name} to float32")
    with np.errstate(over="ignore"):  # What is too large becomes infinite, and is refused so.
        converted = np.array(array, dtype=np.float32, order="C")
    if not np.isfinite(converted).all():
        raise ValueError(f"{where}/{leaf} holds numbers that are not finite")
    return converted

"""Layers of Dopamine's TensorFlow agents, under the names that flax linen gives them.

Every TensorFlow agent of Dopamine (DQN, C51 and Rainbow, IQN) keeps its networks in the variable
scopes `Online` and `Target`, layer by layer in the order of the computation:

- Dopamine 1 (tf.slim): `Online/Conv/{weights,biases}`, `Conv_1`, `Conv_2`, `fully_connected`,
  `fully_connected_1`, and for IQN `fully_connected_2`, the first of the three being the embedding
  of the quantiles.
- Dopamine 2 on (Keras): the same with `{kernel,bias}`, but the embedding of IQN is `dense` (in
  `Target`, whose layers are counted on, `dense_1`).
- Forks with Keras' own names: `Online/conv2d`, `Online/dense`, `Online/dense_1`; with a scope
  around (`agent/Online/...`); or one network without `Online`.

JAX agents compute in the same order, the embedding being `Dense_0`: both kinds end in one tree.
Slots of optimisers (`Online/Conv/weights/RMSProp`) are not read.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from numpy.typing import NDArray

from rrl_agents.checkpoints.tensorflow_files.variables import open_variables, read_variables

_LEAVES = {"weights": "kernel", "kernel": "kernel", "biases": "bias", "bias": "bias"}
_VARIABLE = re.compile(
    r"(?:(?P<scope>.*)/)?(?P<kind>conv2d|conv|fully_connected|dense)(?:_(?P<number>[0-9]{1,4}))?"
    r"/(?P<leaf>weights|kernel|biases|bias)",
    re.IGNORECASE,
)
# Sorted by this, then by number, layers stand in the order of the computation.
_CONVOLUTION, _DENSE, _FULLY_CONNECTED = range(3)
_ORDER = {
    "conv": _CONVOLUTION,
    "conv2d": _CONVOLUTION,
    "dense": _DENSE,
    "fully_connected": _FULLY_CONNECTED,
}
_SHOWN = 12


class _Layer(NamedTuple):
    """A layer's place in its network: sorts as it is computed."""

    order: int
    number: int
    name: str


_Network = dict[_Layer, dict[str, str]]
"""Layer -> the variable's name -> "kernel" or "bias"."""


def tensorflow_layers(prefix: Path) -> dict[str, Any]:
    """Read the networks of a TensorFlow agent.

    Args:
        prefix: Path of the checkpoint without its endings, e.g. `.../tf_ckpt-199`.

    Returns:
        `{"online": layers, "target": layers or None}`; layers are `{"Conv_0": {"kernel": array,
        "bias": array}, ..., "Dense_0": ...}` with arrays as they are stored.

    Raises:
        ValueError: When TensorFlow is not installed, the files are missing, cut off or damaged,
            hold no network or several, or a layer lacks a variable.
    """
    reader, variables = open_variables(prefix)
    online, target = _online_and_target(prefix, variables)
    names = {name for network in (online, target) for leaves in network.values() for name in leaves}
    arrays = read_variables(prefix, reader, names)
    return {
        "online": _linen_tree(online, arrays),
        "target": _linen_tree(target, arrays) if target else None,
    }


def _online_and_target(prefix: Path, names: Iterable[str]) -> tuple[_Network, _Network]:
    """The two networks among the variables; the target's may be empty."""
    scopes = _networks_by_scope(names)
    found: dict[str, list[str]] = {"online": [], "target": [], "other": []}
    for scope in scopes:
        parts = scope.lower().split("/")
        role = next((role for role in ("online", "target") if role in parts), "other")
        found[role].append(scope)
    # Without a scope of that name, a lone network is the one.
    online, target = found["online"] or found["other"], found["target"]
    if len(online) != 1 or len(target) > 1:
        listed = sorted(scope or "(none)" for scope in scopes)[:_SHOWN]
        raise ValueError(
            f"{prefix}: holds networks in the scopes {listed}; expected one in Online and at most "
            f"one in Target. Its first variables: {sorted(names)[:_SHOWN]}"
        )
    for scope in (*online, *target):
        _check_leaves(prefix, scopes[scope])
    return scopes[online[0]], scopes[target[0]] if target else {}


def _networks_by_scope(names: Iterable[str]) -> dict[str, _Network]:
    scopes: dict[str, _Network] = {}
    for name in names:
        match = _VARIABLE.fullmatch(name)
        if match is not None:
            kind, number = match["kind"].lower(), int(match["number"] or 0)
            layer = _Layer(_ORDER[kind], number, name.rpartition("/")[0])
            leaves = scopes.setdefault(match["scope"] or "", {}).setdefault(layer, {})
            leaves[name] = _LEAVES[match["leaf"].lower()]
    return scopes


def _check_leaves(prefix: Path, network: _Network) -> None:
    for layer, leaves in network.items():
        if sorted(leaves.values()) != ["bias", "kernel"]:
            raise ValueError(
                f"{prefix}: layer {layer.name!r} has the variables {sorted(leaves)}; expected a "
                "kernel (weights) and a bias (biases)"
            )


def _linen_tree(
    network: _Network, arrays: Mapping[str, NDArray[Any]]
) -> dict[str, dict[str, NDArray[Any]]]:
    tree: dict[str, dict[str, NDArray[Any]]] = {}
    counts = {"Conv": 0, "Dense": 0}
    for layer in sorted(network):
        kind = "Conv" if layer.order == _CONVOLUTION else "Dense"
        tree[f"{kind}_{counts[kind]}"] = {
            leaf: arrays[name] for name, leaf in network[layer].items()
        }
        counts[kind] += 1
    return tree

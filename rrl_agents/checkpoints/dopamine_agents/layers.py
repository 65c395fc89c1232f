"""Maps the leaves of Dopamine's networks, in all naming styles, to the names of flax linen.

Layers are in the order of the computation, and are called Conv_0, Conv_1, Conv_2, Dense_0 and so
on, or NoisyNetwork_0. Names come in these styles, all in the scope `params` or `Online`, or none:

- Flax linen counts the layers of each kind from 0; its predecessor counted layers of all kinds
  together (Dense_3, Dense_4).
- Dopamine 1 (tf.slim): `Online/Conv/{weights,biases}`, `Conv_1`, `Conv_2`, `fully_connected`,
  `fully_connected_1`, and for IQN `fully_connected_2`, the first of the three being the embedding
  of the quantiles.
- Dopamine 2 on (Keras): the same with `{kernel,bias}`, but the embedding of IQN is `dense`.
- Forks with Keras' own names: `Online/conv2d`, `Online/dense`, `Online/dense_1`; with a scope
  around (`agent/Online/...`); or one network without `Online`.

Optimiser slots (`Online/Conv/weights/RMSProp`) and target networks are ignored.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

# In the order of the computation.
_KINDS = {
    "conv": "Conv",
    "conv2d": "Conv",
    "dense": "Dense",
    "fully_connected": "Dense",
    "noisynetwork": "NoisyNetwork",
}
_LEAVES = {"weights": "kernel", "biases": "bias"}
_LEAF = re.compile(
    rf"(?:(?P<scope>.*)/)?(?P<kind>{'|'.join(_KINDS)})(?:_(?P<number>0|[1-9][0-9]{{0,3}}))?"
    r"/(?P<leaf>weights|biases|(?:kernel|bias)(?:_mu|_sigma)?)",
    re.IGNORECASE,
)
_SHOWN = 12


def online_leaves(names: Collection[str]) -> dict[str, str]:
    """Find the acting network in a checkpoint.

    Args:
        names: Names of everything in it, parts joined by a slash; names that are not leaves are
            ignored.

    Returns:
        Linen name -> name, e.g. "Dense_0/bias" -> "Online/fully_connected/biases", layers in
        order.

    Raises:
        ValueError: There is none, or several.
    """
    scopes: dict[str, dict[tuple[int, int], dict[str, str]]] = {}
    for name in names:
        if match := _LEAF.fullmatch(name):
            place = (list(_KINDS).index(match["kind"].lower()), int(match["number"] or 0))
            layer = scopes.setdefault(match["scope"] or "", {}).setdefault(place, {})
            leaf = match["leaf"].lower()
            layer[_LEAVES.get(leaf, leaf)] = name
    parts = {scope: scope.lower().split("/") for scope in scopes}
    # Without a scope of that name, accept a single network.
    found = [scope for scope in scopes if "online" in parts[scope]]
    found = found or [scope for scope in scopes if "target" not in parts[scope]]
    if len(found) != 1:
        raise ValueError(
            f"holds networks in the scopes {sorted(scopes)[:_SHOWN]}; expected one, or one in "
            f"Online. It begins with {sorted(names)[:_SHOWN]}"
        )
    return _renamed(scopes[found[0]])


def _renamed(network: Mapping[tuple[int, int], Mapping[str, str]]) -> dict[str, str]:
    renamed: dict[str, str] = {}
    counts = dict.fromkeys(_KINDS.values(), 0)
    for order, number in sorted(network):
        kind = list(_KINDS.values())[order]
        for leaf, name in network[order, number].items():
            renamed[f"{kind}_{counts[kind]}/{leaf}"] = name
        counts[kind] += 1
    return renamed


def leaves_of_pickle(tree: Any) -> dict[str, Any]:
    """The leaves of a JAX agent's network.

    Args:
        tree: The untrusted content of its pickle.

    Returns:
        Linen name -> leaf.

    Raises:
        ValueError: It contains something else, or a layer is missing.
    """
    flat = _flat("online_params", tree)
    found = online_leaves(flat)
    others = sorted(set(flat).difference(found.values()))
    if others:
        raise ValueError(f"{others[0]!r} is in no network of Dopamine's")
    renamed = {new.rpartition("/")[0]: old.split("/")[-2] for new, old in found.items()}
    together = [f"{name.partition('_')[0]}_{index}" for index, name in enumerate(renamed)]
    if list(renamed.values()) not in (list(renamed), together):
        raise ValueError(
            f"of the layers some are missing, there are {list(renamed.values())}: they are counted "
            "from 0, each kind by itself or all together"
        )
    return {new: flat[old] for new, old in found.items()}


def _flat(name: str, tree: Any) -> dict[str, Any]:
    if not isinstance(tree, dict):
        return {name: tree}
    # Shortened for a message.
    parts = [_flat(f"{name}/{str(key)[:40]}", part) for key, part in tree.items()]
    return {name: leaf for flat in parts for name, leaf in flat.items()}


def as_float32(name: str, leaf: Any) -> NDArray[np.float32]:
    """Convert a leaf of a network to float32, like ours.

    Raises:
        ValueError: It is not an array of floating-point numbers.
    """
    if not isinstance(leaf, np.ndarray) or leaf.dtype.kind != "f" or leaf.size == 0:
        raise ValueError(f"{name} is not an array of floating-point numbers")
    with np.errstate(over="ignore"):  # Too large numbers become infinite, which is refused later.
        return np.array(leaf, dtype=np.float32, order="C")

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
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from numpy.typing import NDArray

from rrl_agents.checkpoints.tensor_bundle import list_tensor_bundle, read_tensor_bundle

_LEAVES = {"weights": "kernel", "kernel": "kernel", "biases": "bias", "bias": "bias"}
_VARIABLE = re.compile(
    r"(?:(?P<scope>.*)/)?(?P<kind>conv2d|conv|fully_connected|dense)(?:_(?P<number>[0-9]{1,4}))?"
    r"/(?P<leaf>weights|kernel|biases|bias)",
    re.IGNORECASE,
)
# Sorted by this, then by number, layers stand in the order of the computation.
_ORDER = {"conv": 0, "conv2d": 0, "dense": 1, "fully_connected": 2}
_SHOWN = 12


class _Layer(NamedTuple):
    """A layer's place in its network: sorts as it is computed."""

    order: int
    number: int
    name: str


_Network = dict[_Layer, dict[str, str]]
"""Layer -> "kernel" or "bias" -> the variable's name."""


def tensorflow_layers(prefix: Path) -> dict[str, Any]:
    """Read the networks of a TensorFlow agent.

    Args:
        prefix: Path of the checkpoint without its endings, e.g. `.../tf_ckpt-199`.

    Returns:
        `{"online": layers, "target": layers or None}`; layers are `{"Conv_0": {"kernel": array,
        "bias": array}, ..., "Dense_0": ...}` with arrays as they are stored, read-only.

    Raises:
        ValueError: When the files are missing, cut off or damaged, hold no network or several, or a
            layer lacks a variable.
    """
    online, target = _networks(prefix, list_tensor_bundle(prefix))
    names = {name for network in (online, target) for leaves in network.values() for name in leaves}
    arrays = read_tensor_bundle(prefix, names.__contains__)
    return {
        "online": _linen_tree(online, arrays),
        "target": _linen_tree(target, arrays) if target else None,
    }

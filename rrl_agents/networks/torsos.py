"""The networks by name: where to find each, and which settings it reads.

Each is a torso, from observations to features; all share the hidden layers and heads behind it.
Other packages declare theirs, each a `Torso`, in the entry point group `rrl.networks`. This module
imports none of them, so that names and settings can be checked without building a network.
"""

from __future__ import annotations

import dataclasses

from rrl_agents.plugins import Registry


@dataclasses.dataclass(frozen=True, kw_only=True)
class Torso:
    """One entry of the table.

    Attributes:
        function: "module:name" of its function `(observation, config, dtype) -> features`. It is
            called in a compact method of flax and creates layers there, which flax names Conv_0 and
            so on. The observation is [B, ...] as the environment gives it, features are [B, ...] of
            any shape. Layers must use `dtype` (`QNetwork.dtype`).
        summary: One line for lists.
        num_features: Required length of the config's `features`; None for one or more.
        has_width: Whether it reads the config's `width`.
        takes_vectors: Whether it accepts observations without height and width.
        is_perceptron: Whether it is an MLP: `features` are the units of the hidden layers, and the
            input bounds are read.
    """

    function: str
    summary: str = ""
    num_features: int | None = None
    has_width: bool = False
    takes_vectors: bool = True
    is_perceptron: bool = False


_HERE = "rrl_agents.networks"

NETWORKS: Registry[Torso] = Registry(
    "rrl.networks",
    Torso,
    {
        "nature_cnn": Torso(
            function=f"{_HERE}.convolutional:nature_cnn",
            summary="three convolutions for large images (Mnih et al., 2015)",
            num_features=3,
            takes_vectors=False,
        ),
        "impala_cnn": Torso(
            function=f"{_HERE}.impala_cnn:impala_cnn",
            summary="stacks of residual convolutions for large images (Espeholt et al., 2018)",
            has_width=True,
            takes_vectors=False,
        ),
        "small_cnn": Torso(
            function=f"{_HERE}.convolutional:small_cnn",
            summary="3x3 convolutions for small grids (Young and Tian, 2019)",
            takes_vectors=False,
        ),
        "mlp": Torso(
            function=f"{_HERE}.mlp:mlp",
            summary="a perceptron for vectors of numbers",
            is_perceptron=True,
        ),
    },
)
"""Name -> torso."""

"""The networks by name: where each is found, and which settings are its own.

Packages declare theirs, each a `Torso`, in the group `rrl.networks` of entry points.

Each is a torso, from observations to features; hidden layers and head behind it are the same for
all. Nothing is imported here, as names and settings are checked where no network is built.
"""

from __future__ import annotations

import dataclasses

from rrl_agents.plugins import Registry


@dataclasses.dataclass(frozen=True, kw_only=True)
class Torso:
    """One entry of the table.

    Attributes:
        function: "module:name" of its function `(observation, config, dtype) -> features`. It is
            called in a compact method of flax and makes layers there, which flax names Conv_0 and
            so on; observation is [B, ...] as the environment gives it, features are [B, ...] of any
            shape. Layers are made with `dtype` (`QNetwork.dtype`).
        summary: What it is, in one line.
        num_features: How many numbers the config's `features` must have; None for one or more.
        has_width: Whether it reads the config's `width`.
        takes_vectors: Whether it takes observations without height and width.
        is_perceptron: Whether `features` are units of the hidden layers behind it, if any, and the
            config's bounds of inputs are read.
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

"""The networks by name: where each is found, and which settings are its own.

Each is a torso, from observations to features; hidden layers and head behind it are the same for
all. Nothing is imported here, as names and settings are checked where no network is built.
"""

from __future__ import annotations

import dataclasses


@dataclasses.dataclass(frozen=True, kw_only=True)
class Torso:
    """One entry of the table.

    Attributes:
        function: "module:name" of its function `(observation, config, dtype) -> features`. It is
            called in a compact method of flax and makes layers there, which flax names Conv_0 and
            so on; observation is [B, ...] as the environment gives it, features are [B, ...] of any
            shape. Layers are made with `dtype` (`QNetwork.dtype`).
        num_features: How many numbers the config's `features` must have; None for one or more.
        has_width: Whether it reads the config's `width`.
        takes_vectors: Whether it takes observations without height and width.
        is_perceptron: Whether `features` are units of the hidden layers behind it, if any, and the
            config's bounds of inputs are read.
    """

    function: str
    num_features: int | None = None
    has_width: bool = False
    takes_vectors: bool = True
    is_perceptron: bool = False


_HERE = "rrl_agents.networks"

NETWORKS: dict[str, Torso] = {
    "nature_cnn": Torso(
        function=f"{_HERE}.convolutional:nature_cnn", num_features=3, takes_vectors=False
    ),
    "impala_cnn": Torso(
        function=f"{_HERE}.impala_cnn:impala_cnn", has_width=True, takes_vectors=False
    ),
    "small_cnn": Torso(function=f"{_HERE}.convolutional:small_cnn", takes_vectors=False),
    "mlp": Torso(function=f"{_HERE}.mlp:mlp", is_perceptron=True),
}
"""Name -> torso."""

"""The sizes of one of Dopamine's networks, every array of it held against the others.

All have three convolutions, then two or three linear layers, plain or noisy, after F features:

| network of Dopamine | linear layers |
|---|---|
| NatureDQNNetwork, RainbowNetwork, QuantileNetwork | [F, H], [H, outputs] |
| ImplicitQuantileNetwork | [E, F], [F, H], [H, outputs] |
| FullRainbowNetwork, dueling | [F, H], [H, outputs], [H, value's outputs] |
| FullRainbowNetwork, not dueling | noisy [F, H], [H, outputs] |
"""

from __future__ import annotations

import dataclasses

from rrl_agents.checkpoints.dopamine_agents.layers import Layers
from rrl_agents.networks.config import Padding
from rrl_agents.networks.convolutional import KERNEL_SIZES

OBSERVATION_SHAPE = (84, 84, 4)
"""What Dopamine's Atari agents see: height, width, stack with the oldest frame first."""

# 84 pixels after strides 4, 2, 1: 21, 11, 11 padded SAME; 20, 9, 7 padded VALID.
_CELLS_BY_PADDING = {"SAME": 11 * 11, "VALID": 7 * 7}


@dataclasses.dataclass(frozen=True, kw_only=True)
class Shapes:
    """Sizes of a network.

    Attributes:
        features: Channels of the convolutions.
        padding: "SAME" or "VALID".
        hidden_units: Units H of the hidden layer.
        last: Name of the layer whose outputs belong to actions.
        outputs: Its outputs.
        value_outputs: Outputs of a dueling network's value, None without one.
        quantile_embedding_dim: Cosine features E of IQN, None of other networks.
        noisy: Whether the linear layers are noisy.
    """

    features: tuple[int, ...]
    padding: Padding
    hidden_units: int
    last: str
    outputs: int
    value_outputs: int | None
    quantile_embedding_dim: int | None
    noisy: bool


def read_shapes(layers: Layers) -> Shapes:
    """Measure a network.

    Args:
        layers: From `read_layers`.

    Returns:
        Its sizes.

    Raises:
        ValueError: When the layers are not those of one of Dopamine's networks, or one is
            misshapen; the message begins with the layer's path below the network's name.
    """
    linear = _linear_names(layers)
    features = tuple(_outputs(layers, f"Conv_{index}") for index in range(len(KERNEL_SIZES)))
    channels = (OBSERVATION_SHAPE[-1], *features)
    for index, side in enumerate(KERNEL_SIZES):
        _check(layers, f"Conv_{index}", (side, side, channels[index], features[index]))
    is_implicit = len(linear) == 3 and _is_embedding(layers, linear[0], features[-1])
    embedding, (hidden, last, *value) = (linear[0], linear[1:]) if is_implicit else (None, linear)
    padding = _padding(layers, hidden, features[-1])
    flat, units = _CELLS_BY_PADDING[padding] * features[-1], _outputs(layers, hidden)
    if embedding is not None:
        _check(layers, embedding, (_inputs(layers, embedding), flat))
    _check(layers, hidden, (flat, units))
    for name in (last, *value):
        _check(layers, name, (units, _outputs(layers, name)))
    return Shapes(
        features=features,
        padding=padding,
        hidden_units=units,
        last=last,
        outputs=_outputs(layers, last),
        value_outputs=_outputs(layers, value[0]) if value else None,
        quantile_embedding_dim=None if embedding is None else _inputs(layers, embedding),
        noisy=last.startswith("NoisyNetwork"),
    )


def _linear_names(layers: Layers) -> list[str]:
    """Names of the layers after the convolutions, in order."""
    convolutions = [name for name in layers if name.startswith("Conv_")]
    linear = [name for name in layers if name not in convolutions]
    kinds = {name.partition("_")[0] for name in linear}
    if len(convolutions) != len(KERNEL_SIZES) or len(linear) not in (2, 3) or len(kinds) != 1:
        raise ValueError(
            f" has the layers {sorted(layers)}; Dopamine's networks have Conv_0 to Conv_2, and two "
            "or three layers of the kind Dense_0 or of the kind NoisyNetwork_0"
        )
    return linear


def _is_embedding(layers: Layers, name: str, channels: int) -> bool:
    """Whether a layer gives as many numbers as the convolutions, instead of taking them."""
    flat = [cells * channels for cells in _CELLS_BY_PADDING.values()]
    is_plain = name.startswith("Dense_")
    return is_plain and _inputs(layers, name) not in flat and _outputs(layers, name) in flat


def _padding(layers: Layers, hidden: str, channels: int) -> Padding:
    valid = _CELLS_BY_PADDING["VALID"] * channels
    return "VALID" if _inputs(layers, hidden) == valid else "SAME"


def _inputs(layers: Layers, name: str) -> int:
    """First size of a layer's weights, 0 when they are a mere number."""
    kernel = next(layers[name][leaf] for leaf in layers[name] if leaf.startswith("kernel"))
    return int(kernel.shape[0]) if kernel.shape else 0


def _outputs(layers: Layers, name: str) -> int:
    leaf = next(leaf for leaf in layers[name] if leaf.startswith("bias"))
    shape = layers[name][leaf].shape
    if len(shape) != 1:
        raise ValueError(f"/{name}/{leaf} has shape {shape}; expected one dimension")
    return int(shape[0])


def _check(layers: Layers, name: str, kernel_shape: tuple[int, ...]) -> None:
    for leaf, array in layers[name].items():
        wanted = kernel_shape if leaf.startswith("kernel") else kernel_shape[-1:]
        if array.shape != wanted:
            raise ValueError(f"/{name}/{leaf} has shape {array.shape}; its network needs {wanted}")

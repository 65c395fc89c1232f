"""Converts sequential layers of PyTorch and flax to our networks.

The shapes of layers identify two kinds of network: the Nature CNN without padding (three
convolutions of 8, 4 and 3 pixels, one hidden layer, the outputs) and MLPs. PyTorch transposes its
kernels, and flattens the channels of a convolution before its rows and columns, where ours come
last: the weights are reordered.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Literal, NamedTuple, TypeAlias

import numpy as np

from rrl_agents.checkpoints.other_agents.agent import Network, Numbers
from rrl_agents.networks.config import Head, NetworkConfig
from rrl_agents.networks.convolutional import KERNEL_SIZES, STRIDES

ATARI_SIDE = 84
"""Side of Atari observations, pixels."""

_SHOWN = 12

Activation: TypeAlias = Literal["relu", "tanh"]


class Layer(NamedTuple):
    """One layer in our layout.

    Attributes:
        name: Its name in the file, for messages.
        kernel: [height, width, I, O] of a convolution, [I, O] of a linear layer.
        bias: [O].
    """

    name: str
    kernel: Numbers
    bias: Numbers


@dataclasses.dataclass(frozen=True, kw_only=True)
class LastLayer:
    """Describes the outputs of the last layer.

    Attributes:
        num_actions: Actions A.
        head: As in `NetworkConfig`.
        num_atoms: Outputs N of each action.
        value_bound: Largest return on the support of "categorical".
        has_actions_last: Whether the outputs are [N, A], as in sb3-contrib, and not [A, N].
    """

    num_actions: int
    head: Head = "values"
    num_atoms: int = 1
    value_bound: float = NetworkConfig.value_bound
    has_actions_last: bool = False

    def of(self, config: NetworkConfig) -> NetworkConfig:
        """A config with this head; fields that the head does not read keep their defaults."""
        is_mean = self.head == "values"
        return dataclasses.replace(
            config,
            head=self.head,
            num_atoms=NetworkConfig.num_atoms if is_mean else self.num_atoms,
            value_bound=self.value_bound,
        )


def torch_layers(leaves: Mapping[str, Any]) -> list[Layer]:
    """The layers of a `state_dict`, in the order of their definition.

    Args:
        leaves: Name -> array; "X.weight" and "X.bias" belong together.

    Raises:
        ValueError: It contains anything but linear layers and convolutions.
    """
    layers = []
    scopes = dict.fromkeys(name.rpartition(".")[0] for name in leaves)
    for scope in scopes:
        prefix = f"{scope}." if scope else ""
        own = {
            name.removeprefix(prefix): name for name in leaves if name.rpartition(".")[0] == scope
        }
        if not {"weight"} <= set(own) <= {"weight", "bias"}:
            raise ValueError(
                f"{next(iter(own.values()))[:80]!r} is not a weight or bias of a linear layer or a "
                "convolution; other layers are not read"
            )
        weight = _numbers(own["weight"], leaves, dimensions=(2, 4))
        kernel = weight.T if weight.ndim == 2 else weight.transpose(2, 3, 1, 0)
        layers.append(Layer(scope, kernel, _bias(own.get("bias"), leaves, kernel)))
    return layers


def flax_layers(tree: Any) -> list[Layer]:
    """The layers of a flax network, convolutions first, each kind in numeric order.

    Args:
        tree: `{"Conv_0": {"kernel": ..., "bias": ...}, "Dense_0": ...}`.

    Raises:
        ValueError: It holds something else.
    """
    if not isinstance(tree, dict) or not tree:
        raise ValueError("there are no layers where the network's should be")
    layers = []
    for name in sorted(tree, key=_kind_and_number):
        layer = tree[name]
        if not isinstance(layer, dict) or not {"kernel"} <= set(layer) <= {"kernel", "bias"}:
            raise ValueError(f"{str(name)[:80]!r} is not a layer with a kernel and a bias")
        kernel = _numbers("kernel", layer, dimensions=(2, 4), of=str(name))
        bias = _bias("bias" if "bias" in layer else None, layer, kernel)
        layers.append(Layer(str(name), kernel, bias))
    return layers


def chained(
    layers: Sequence[Layer],
    last: LastLayer,
    *,
    has_channels_first: bool,
    activation: Activation,
    observation_shape: tuple[int, ...] | None = None,
) -> Network:
    """The network of consecutive layers.

    Args:
        layers: In the order of the computation.
        last: Describes the outputs of the last layer.
        has_channels_first: Whether the first linear layer flattens [C, H, W] instead of [H, W, C].
        activation: Activation of an MLP's hidden layers.
        observation_shape: Shape of one observation, images as [H, W, C]; None for 84x84 images, or
            vectors with the size of the first layer's input.

    Raises:
        ValueError: They do not fit together, or are not one of our networks; names the layers.
    """
    num_maps = sum(layer.kernel.ndim == 4 for layer in layers)
    maps, dense = list(layers[:num_maps]), list(layers[num_maps:])
    is_in_order = dense and all(layer.kernel.ndim == 2 for layer in dense)
    if not is_in_order:
        raise ValueError(f"there are {shown(layers)}; convolutions must come before linear layers")
    if maps:
        shape = observation_shape or (ATARI_SIDE, ATARI_SIDE, maps[0].kernel.shape[2])
        dense = _behind_maps(maps, dense, shape, has_channels_first)
        name, features, hidden = "nature_cnn", [layer.kernel.shape[-1] for layer in maps], dense[0]
    else:
        shape = observation_shape or dense[0].kernel.shape[:1]
        if math.prod(shape) != dense[0].kernel.shape[0]:
            raise ValueError(f"there are {shown(layers)}, and observations of shape {shape}")
        name, features, hidden = "mlp", [layer.kernel.shape[1] for layer in dense[:-1]], None
    dense = with_our_outputs(dense, last)
    config = NetworkConfig(
        name=name,
        features=tuple(features),
        hidden_units=NetworkConfig.hidden_units if hidden is None else hidden.kernel.shape[1],
        padding="VALID" if maps else "SAME",
        activation="relu" if maps else activation,
    )
    return Network(
        config=last.of(config),
        leaves={
            f"{kind}_{index}/{leaf}": array
            for kind, found in (("Conv", maps), ("Dense", dense))
            for index, layer in enumerate(found)
            for leaf, array in (("kernel", layer.kernel), ("bias", layer.bias))
        },
        num_actions=last.num_actions,
        observation_shape=shape,
    )


def shown(layers: Iterable[Layer]) -> str:
    """Layers with the shapes of their kernels, for a message."""
    words = [f"{layer.name[:60]} {layer.kernel.shape}" for layer in layers]
    more = f" and {len(words) - _SHOWN} more" if len(words) > _SHOWN else ""
    return ", ".join(words[:_SHOWN]) + more


def _behind_maps(
    maps: Sequence[Layer],
    dense: Sequence[Layer],
    shape: tuple[int, ...],
    has_channels_first: bool,
) -> list[Layer]:
    """The linear layers after a Nature CNN, with the inputs of the first in our order."""
    found = f"there are {shown([*maps, *dense])}"
    sides = tuple(layer.kernel.shape[:2] for layer in maps)
    if sides != tuple((side, side) for side in KERNEL_SIZES) or len(dense) != 2:
        raise ValueError(
            f"{found}; of networks with convolutions the Nature CNN is read: kernels of 8x8, 4x4 "
            "and 3x3, then two linear layers"
        )
    height, width, channels = shape
    for layer, side, stride in zip(maps, KERNEL_SIZES, STRIDES, strict=True):
        if layer.kernel.shape[2] != channels:
            raise ValueError(f"{found}, and {channels} channels before {layer.name[:60]}")
        height, width = ((size - side) // stride + 1 for size in (height, width))
        channels = layer.kernel.shape[3]
    if min(height, width) < 1:
        raise ValueError(f"{found}; images of shape {shape} are too small for these convolutions")
    first = with_inputs_last(dense[0], (height, width, channels), has_channels_first)
    return [first, *dense[1:]]


def with_inputs_last(layer: Layer, cells: tuple[int, int, int], has_channels_first: bool) -> Layer:
    """A linear layer after convolutions, with its inputs in our order: channels last.

    Args:
        layer: The layer.
        cells: Height, width and channels of the maps.
        has_channels_first: Whether its inputs are in the order [C, H, W].

    Raises:
        ValueError: Its number of inputs differs.
    """
    kernel, (height, width, channels) = layer.kernel, cells
    if kernel.shape[0] != math.prod(cells):
        raise ValueError(
            f"{layer.name[:60]} takes {kernel.shape[0]} numbers; the convolutions before it give "
            f"{height}x{width} cells of {channels} channels"
        )
    if not has_channels_first:
        return layer
    ours = kernel.reshape(channels, height, width, -1).transpose(1, 2, 0, 3)
    return layer._replace(kernel=ours.reshape(kernel.shape))


def with_our_outputs(dense: Sequence[Layer], last: LastLayer) -> list[Layer]:
    """Consecutive linear layers, with the outputs of the last one in our order.

    Args:
        dense: The layers, at least one.
        last: Describes the outputs of the last layer.

    Raises:
        ValueError: Two layers do not fit together, or the number of outputs differs.
    """
    for before, layer in zip(dense, dense[1:], strict=False):
        if before.kernel.shape[1] != layer.kernel.shape[0]:
            raise ValueError(
                f"there are {shown(dense)}, where {layer.name[:60]} does not take what "
                f"{before.name[:60]} gives"
            )
    layer = dense[-1]
    outputs, wanted = layer.kernel.shape[1], last.num_actions * last.num_atoms
    if outputs != wanted:
        raise ValueError(
            f"the last layer {layer.name[:60]} has {outputs} outputs, not {wanted}: "
            f"{last.num_actions} actions with {last.num_atoms} each"
        )
    if last.has_actions_last:
        order = np.arange(outputs).reshape(last.num_atoms, last.num_actions).T.reshape(-1)
        layer = layer._replace(kernel=layer.kernel[:, order], bias=layer.bias[order])
    return [*dense[:-1], layer]


def _numbers(
    name: str, leaves: Mapping[str, Any], *, dimensions: tuple[int, ...], of: str = ""
) -> Numbers:
    leaf = leaves[name]
    is_array = isinstance(leaf, np.ndarray) and leaf.dtype.kind == "f" and leaf.size > 0
    if not is_array or leaf.ndim not in dimensions:
        what = f"{of} {name}".strip()[:80]
        raise ValueError(
            f"{what!r} has shape {getattr(leaf, 'shape', None)}, type "
            f"{getattr(leaf, 'dtype', type(leaf).__name__)}; linear layers and convolutions have "
            f"floating-point numbers in {' or '.join(map(str, dimensions))} dimensions"
        )
    found: Numbers = leaf
    return found


def _bias(name: str | None, leaves: Mapping[str, Any], kernel: Numbers) -> Numbers:
    outputs = kernel.shape[-1]
    if name is None:
        return np.zeros(outputs, np.float32)
    bias = _numbers(name, leaves, dimensions=(1,))
    if len(bias) != outputs:
        raise ValueError(f"{name[:80]!r} has {len(bias)} numbers, its layer {outputs} outputs")
    return bias


def _kind_and_number(name: Any) -> tuple[str, int]:
    kind, _, number = str(name).partition("_")
    if kind not in ("Conv", "Dense") or not number.isdecimal() or len(number) > 4:
        raise ValueError(f"{str(name)[:80]!r} is not a supported flax layer: Conv_N or Dense_N")
    return kind, int(number)

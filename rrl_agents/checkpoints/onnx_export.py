"""Networks as ONNX files: the same answers without JAX, to within the order of float32 additions.

The graphs are written node by node, as ONNX Runtime's CPU kernels like them best: observations are
transposed while they are bytes, the division by 255 is folded into the first layer's weights, and
the layer after the convolutions has its rows reordered, so that nothing is transposed back.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np
import onnx
from onnx import TensorProto, checker, helper

from rrl_agents.checkpoints.onnx_convolutions import (
    write_impala_cnn,
    write_nature_cnn,
    write_small_cnn,
)
from rrl_agents.checkpoints.onnx_graph import INPUT_NAME, Graph
from rrl_agents.checkpoints.onnx_heads import Features, write_read_out
from rrl_agents.checkpoints.params_codec import flatten_params
from rrl_agents.networks.registry import NetworkConfig
from rrl_agents.types import Params

OUTPUT_NAME = "action_values"

# The oldest that has all operators here as they are today, and the file format of its time: what
# reads newer files reads these, too.
_OPSET = 13
_IR_VERSION = 7

_ELEMENT_TYPES = {"uint8": TensorProto.UINT8, "float32": TensorProto.FLOAT}


def export_onnx(
    network: NetworkConfig,
    params: Params,
    *,
    num_actions: int,
    observation_shape: tuple[int, ...],
    observation_dtype: str = "uint8",
) -> bytes:
    """Write a network with its parameters as an ONNX model.

    Its input "observations" is `observation_dtype` [B, *observation_shape], raw, with any B; its
    output "action_values" is float32 [B, A].

    Args:
        network: The architecture.
        params: Its parameters, float32, flax names.
        num_actions: Actions A.
        observation_shape: (H, W, stack) or (H, W, C, stack); of "mlp" any.
        observation_dtype: "uint8" or "float32".

    Returns:
        The encoded `ModelProto`, approved by ONNX's checker.

    Raises:
        ValueError: When a parameter is missing, superfluous or misshapen, or the observations are
            of a kind that the network cannot take; the message names it.
    """
    if observation_dtype not in _ELEMENT_TYPES:
        raise ValueError(
            f"observation_dtype is {observation_dtype!r}; choose one of {sorted(_ELEMENT_TYPES)}"
        )
    graph = Graph(flatten_params(params), is_float=observation_dtype == "float32")
    features = _WRITERS[network.name](graph, network, observation_shape)
    write_read_out(graph, network, features, num_actions, OUTPUT_NAME)
    graph.check_all_used()
    model = helper.make_model(
        helper.make_graph(
            graph.nodes,
            network.name,
            [_value(INPUT_NAME, _ELEMENT_TYPES[observation_dtype], observation_shape)],
            [_value(OUTPUT_NAME, TensorProto.FLOAT, (num_actions,))],
            graph.initializers,
        ),
        producer_name="rrl",
        opset_imports=[helper.make_opsetid("", _OPSET)],
    )
    model.ir_version = _IR_VERSION
    checker.check_model(model)
    return model.SerializeToString()


def _write_mlp(graph: Graph, network: NetworkConfig, shape: tuple[int, ...]) -> Features:
    size = int(np.prod(shape))
    flat = graph.as_float(graph.reshape(INPUT_NAME, (-1, size), "flat"))
    scale = float(graph.input_scale)
    if network.input_low:
        flat, scale = _rescaled(graph, network, flat, shape), 1.0
    return Features(name=flat, size=size, order=lambda rows: rows, scale=scale)


def _rescaled(graph: Graph, network: NetworkConfig, flat: str, shape: tuple[int, ...]) -> str:
    """Vectors in [-1, 1], the counterpart of `networks.inputs.rescaled_vector`."""
    if len(shape) != 2 or shape[0] != len(network.input_low):
        raise ValueError(
            f"observations have shape {shape}, input_low has {len(network.input_low)} numbers; "
            "give one for each element of a vector"
        )
    # Flattened, the frames of a stack stand beside each other.
    low, high = (
        np.repeat(np.asarray(bound, np.float64), shape[1])
        for bound in (network.input_low, network.input_high)
    )
    factors, shifts = 2.0 * graph.input_scale / (high - low), -(high + low) / (high - low)
    factor = graph.constant("input_factor", factors.astype(np.float32))
    shift = graph.constant("input_shift", shifts.astype(np.float32))
    return graph.add("Add", [graph.add("Mul", [flat, factor], "stretched"), shift], "rescaled")


_WRITERS: Mapping[str, Callable[[Graph, NetworkConfig, tuple[int, ...]], Features]] = {
    "nature_cnn": write_nature_cnn,
    "impala_cnn": write_impala_cnn,
    "small_cnn": write_small_cnn,
    "mlp": _write_mlp,
}


def _value(name: str, element_type: int, shape: tuple[int, ...]) -> onnx.ValueInfoProto:
    return helper.make_tensor_value_info(name, element_type, ["batch", *shape])

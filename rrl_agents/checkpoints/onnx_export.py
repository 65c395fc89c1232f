"""Exports networks as ONNX files, with the same outputs up to the order of float32 additions.

Any network from `make_network` works: JAX traces it for a batch of unknown size, and
`onnx_primitives` writes the traced operations as nodes.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import numpy as np
import onnx
from jax import export
from onnx import checker, helper

from rrl_agents.checkpoints.onnx_primitives import BATCH, Graph, Tensor, write_traced
from rrl_agents.networks.config import NetworkConfig
from rrl_agents.networks.registry import action_values, make_network
from rrl_agents.types import Params
from rrl_client.spec import PolicySpec

INPUT_NAME = "observations"
OUTPUT_NAME = "action_values"
"""Name of every graph's output."""

# The oldest opset with the present form of all operators used here, and the file format of its
# time: whatever reads newer files reads these, too.
_OPSET = 13
_IR_VERSION = 7


def export_onnx(network: NetworkConfig, params: Params, spec: PolicySpec) -> bytes:
    """Write a network with its parameters as an ONNX model.

    Its input "observations" is `observation_dtype` [B, *observation_shape], raw, with any B; its
    output "action_values" is float32 [B, A].

    Args:
        network: The architecture.
        params: Its parameters, float32 with flax names, valid for `check_params`.
        spec: Its input, (H, W, stack) or (H, W, C, stack), any shape for "mlp"; and its actions A.

    Returns:
        The encoded `ModelProto`, validated by ONNX's checker.

    Raises:
        ValueError: When the network does not accept such observations, or uses an operation that
            the export does not support; the message names it.
    """
    module: Any = make_network(network, spec.num_actions)
    return export_function(lambda tree, states: action_values(module, tree, states), params, spec)


def export_function(
    function: Callable[[Params, Any], Any], params: Params, spec: PolicySpec
) -> bytes:
    """Write any function of parameters and observations; see `export_onnx`.

    Args:
        function: Computes float32 [B, A] from parameters and observations.
        params: Its parameters.
        spec: Its inputs and outputs.

    Raises:
        ValueError: It uses an operation that the export does not support; the message names it.
    """
    (batch,) = export.symbolic_shape("batch")
    struct: Any = jax.ShapeDtypeStruct
    states = struct((batch, *spec.observation_shape), np.dtype(spec.observation_dtype))
    graph = Graph()
    observations = Tensor(INPUT_NAME, (BATCH, *spec.observation_shape))
    leaves = [np.asarray(leaf) for leaf in jax.tree.leaves(params)]
    with jax.default_matmul_precision("float32"):
        traced = jax.make_jaxpr(function)(params, states)
        (values,) = write_traced(graph, traced, [*leaves, observations])
    assert isinstance(values, Tensor), "action values depend on the observations"
    answer = helper.make_node("Identity", [graph.name(values)], [OUTPUT_NAME])
    model = helper.make_model(
        helper.make_graph(
            [*graph.nodes, answer],
            "policy",
            [_value(INPUT_NAME, states.dtype, spec.observation_shape)],
            [_value(OUTPUT_NAME, np.dtype(np.float32), (spec.num_actions,))],
            graph.initializers,
        ),
        producer_name="rrl",
        opset_imports=[helper.make_opsetid("", _OPSET)],
    )
    model.ir_version = _IR_VERSION
    checker.check_model(model)
    return model.SerializeToString()


def _value(name: str, dtype: np.dtype[Any], shape: tuple[int, ...]) -> onnx.ValueInfoProto:
    element_type = helper.np_dtype_to_tensor_dtype(dtype)
    return helper.make_tensor_value_info(name, element_type, ["batch", *shape])

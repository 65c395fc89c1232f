"""Networks as ONNX files: the same answers without JAX, to within the order of float32 additions.

Any network that `make_network` builds: JAX traces it for a batch of unknown size, and what it
traced is written as nodes by `onnx_primitives`.
"""

from __future__ import annotations

from typing import Any

import jax
import numpy as np
import onnx
from jax import export
from onnx import TensorProto, checker, helper

from rrl_agents.checkpoints.onnx_graph import BATCH, INPUT_NAME, Graph, Tensor
from rrl_agents.checkpoints.onnx_primitives import write_traced
from rrl_agents.networks.config import NetworkConfig
from rrl_agents.networks.registry import action_values, make_network
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
        ValueError: When a parameter is missing, superfluous or misshapen, the observations are of a
            kind that the network cannot take, or it computes what the export does not know; the
            message names it.
    """
    if observation_dtype not in _ELEMENT_TYPES:
        raise ValueError(
            f"observation_dtype is {observation_dtype!r}; choose one of {sorted(_ELEMENT_TYPES)}"
        )
    module: Any = make_network(network, num_actions)
    (batch,) = export.symbolic_shape("batch")
    struct: Any = jax.ShapeDtypeStruct
    states = struct((batch, *observation_shape), np.dtype(observation_dtype))
    needed, given = _shapes(jax.eval_shape(module.init, jax.random.key(0), states)), _shapes(params)
    if needed != given:
        raise ValueError(
            f"the network needs parameters {sorted(needed - given)}, and is given "
            f"{sorted(given - needed)} instead"
        )
    graph = Graph()
    shape = (BATCH, *observation_shape)
    observations = Tensor(name=INPUT_NAME, shape=shape, stored=tuple(range(len(shape))))
    leaves = [np.asarray(leaf) for leaf in jax.tree.leaves(params)]
    with jax.default_matmul_precision("float32"):
        traced = jax.make_jaxpr(lambda p, x: action_values(module, p, x))(params, states)
        (values,) = write_traced(graph, traced, [*leaves, observations])
    assert isinstance(values, Tensor), "action values depend on the observations"
    answer = helper.make_node("Identity", [graph.floats(values)], [OUTPUT_NAME])
    model = helper.make_model(
        helper.make_graph(
            [*graph.nodes, answer],
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


def _shapes(params: Any) -> set[tuple[str, tuple[int, ...]]]:
    """Names and shapes of all parameters."""
    leaves = jax.tree_util.tree_leaves_with_path(params)
    return {
        (jax.tree_util.keystr(path[1:], simple=True, separator="/"), leaf.shape)
        for path, leaf in leaves
    }


def _value(name: str, element_type: int, shape: tuple[int, ...]) -> onnx.ValueInfoProto:
    return helper.make_tensor_value_info(name, element_type, ["batch", *shape])

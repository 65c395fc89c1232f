"""A teacher as one ONNX file that says what it is, checked against the network it was made from."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import onnx
import onnxruntime
from numpy.typing import NDArray

from rrl_agents.checkpoints.onnx_export import INPUT_NAME, OUTPUT_NAME, export_onnx
from rrl_agents.checkpoints.teacher_card import Teacher, TeacherCard
from rrl_agents.networks.config import NetworkConfig
from rrl_agents.networks.registry import action_values, make_network

TOLERANCE = 1e-4
"""Largest difference of two values, as a part of the largest value, or of 1 where all are smaller:
sums of some thousand float32 products in another order differ by about 1e-6 of their terms."""

_ONLY_ERRORS = 3


def onnx_model(teacher: Teacher) -> bytes:
    """Write a teacher's network as an ONNX model that names its game and itself.

    Args:
        teacher: The teacher.

    Returns:
        The encoded model, with the metadata "rrl.game", "rrl.name" and "rrl.output".

    Raises:
        ValueError: ONNX cannot hold this network.
    """
    card = teacher.card
    encoded = export_onnx(_network_of(card), teacher.params, card.spec)
    model = onnx.load_model_from_string(encoded)
    about = {"rrl.game": card.game, "rrl.name": card.name, "rrl.output": card.output}
    onnx.helper.set_model_props(model, about)
    return model.SerializeToString()


def check_same_values(model: bytes, teacher: Teacher, states: NDArray[Any]) -> None:
    """Compare a model's answers with those of the network it was made from.

    Args:
        model: From `onnx_model`.
        teacher: The same teacher.
        states: [N, *observation_shape], real ones.

    Raises:
        ValueError: They differ by more than the order of additions explains.
    """
    card = teacher.card
    network = make_network(_network_of(card), card.num_actions)
    answer = jax.jit(lambda params, batch: action_values(network, params, batch))
    expected = np.asarray(answer(teacher.params, jnp.asarray(states)))
    options = onnxruntime.SessionOptions()
    options.log_severity_level = _ONLY_ERRORS
    session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    (found,) = session.run((OUTPUT_NAME,), {INPUT_NAME: states})
    # Written so that a value that is not a number fails, too.
    difference = float(np.abs(found - expected).max())
    if not difference <= TOLERANCE * max(1.0, float(np.abs(expected).max())):
        raise ValueError(
            f"the ONNX model of {card.name!r} answers up to {difference:g} differently from the "
            "network it was made from, and is not written; this is a fault of the export"
        )


def _network_of(card: TeacherCard) -> NetworkConfig:
    if card.network is None:
        raise ValueError(f"{card.name!r} has no network of ours that ONNX could hold")
    return card.network

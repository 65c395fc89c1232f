"""One of our networks computed by ONNX Runtime on the CPU."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from rrl_agents.checkpoints.onnx_export import OUTPUT_NAME, export_onnx
from rrl_agents.checkpoints.onnx_graph import INPUT_NAME
from rrl_agents.checkpoints.teacher_card import Teacher
from services.teacher.backends.onnx_sessions import OnnxModel, OnnxSessions
from services.teacher.policy import PolicyInfo, info_of_card, network_of_card


class OnnxPolicy:
    """A teacher's network in ONNX Runtime sessions.

    `evaluate` may be called from several threads; they compute side by side.
    """

    any_batch_size = True
    backend = "onnxruntime cpu"

    def __init__(
        self, teacher: Teacher, *, threads: int | None = None, callers: int | None = None
    ) -> None:
        """Export the network and prepare the sessions.

        Args:
            teacher: Parameters and card of the teacher.
            threads: Cores to use, at least 1; those this process may use when None.
            callers: Calls side by side to expect, at least 1; None for what gets the most done.

        Raises:
            ValueError: When threads or callers are not positive, or the parameters do not fit.
        """
        card = teacher.card
        self._info = info_of_card(card)
        encoded = export_onnx(
            network_of_card(card),
            teacher.params,
            num_actions=card.num_actions,
            observation_shape=card.observation_shape,
            observation_dtype=card.observation_dtype,
        )
        self._sessions = OnnxSessions(
            OnnxModel(encoded=encoded, input_name=INPUT_NAME, output_name=OUTPUT_NAME),
            threads=threads,
            callers=callers,
        )

    @property
    def info(self) -> PolicyInfo:
        """What it takes and gives."""
        return self._info

    @property
    def callers(self) -> int:
        """Calls of `evaluate` side by side that get the most done."""
        return self._sessions.callers

    def evaluate(self, observations: NDArray[Any]) -> NDArray[np.float32]:
        """Action values float32 [B, A] of [B, *observation_shape]."""
        return self._sessions.run(observations)

"""A policy computed by ONNX Runtime on the CPU: an ONNX file, or one of our networks exported."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from rrl_agents.checkpoints.onnx_export import export_onnx
from rrl_agents.checkpoints.onnx_policy_file import OnnxFile
from rrl_agents.checkpoints.teacher_card import Teacher
from services.teacher.policies.cards import info_of_card
from services.teacher.policies.onnx_sessions import OnnxSessions
from services.teacher.policies.output_checks import checked_scores


class OnnxPolicy:
    """An ONNX file in ONNX Runtime sessions; fixed-size batches are padded with zeros.

    `evaluate` may be called from several threads, which compute in parallel.
    """

    # Fixed-size batches are padded here.
    dynamic_batch_size = True
    backend = "onnxruntime cpu"

    def __init__(
        self, file: OnnxFile, *, threads: int | None = None, max_concurrency: int | None = None
    ) -> None:
        """Prepare the sessions.

        Args:
            file: A checked file, or the result of `exported`.
            threads: Cores to use, at least 1; None for all that this process may use.
            max_concurrency: Parallel calls to expect, at least 1; None for the highest throughput.

        Raises:
            ValueError: ONNX Runtime cannot compute the file.
        """
        self.info = info_of_card(file.card)
        self._sessions = OnnxSessions(
            file.encoded, threads=threads, max_concurrency=max_concurrency
        )
        self.max_concurrency = self._sessions.max_concurrency

    def evaluate(self, observations: NDArray[Any]) -> NDArray[np.float32]:
        """Scores float32 [B, A] of [B, *observation_shape].

        Raises:
            InvalidPolicyOutput: The model's output is invalid.
        """
        rows = self._sessions.fixed_rows
        if rows is None:
            return self._scores(observations)
        padding = self.info.spec.zeros(-len(observations) % rows)
        filled_up = np.concatenate([observations, padding])
        batches = np.split(filled_up, len(filled_up) // rows)
        return np.concatenate([self._scores(batch) for batch in batches])[: len(observations)]

    def _scores(self, observations: NDArray[Any]) -> NDArray[np.float32]:
        return checked_scores(
            self._sessions.run(observations),
            rows=len(observations),
            num_actions=self.info.spec.num_actions,
            name=self.info.name,
        )


def exported(teacher: Teacher) -> OnnxFile:
    """A teacher's network as an ONNX file.

    Raises:
        ValueError: ONNX does not support this network, or the parameters do not fit it.
    """
    card = teacher.card
    assert card.network is not None, "parameters are those of a network"
    return OnnxFile(encoded=export_onnx(card.network, teacher.params, card.spec), card=card)

"""A policy from somebody else's ONNX file, computed by ONNX Runtime on the CPU."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from services.teacher.backends.onnx_file import OnnxFile
from services.teacher.backends.onnx_sessions import OnnxSessions
from services.teacher.backends.scores import checked_scores
from services.teacher.policy import PolicyInfo, info_of_card


class OnnxFilePolicy:
    """An ONNX file in ONNX Runtime sessions; a batch of a fixed size is filled up with zeros.

    `evaluate` may be called from several threads; they compute side by side.
    """

    backend = "onnxruntime cpu"

    def __init__(self, file: OnnxFile, *, callers: int | None = None) -> None:
        """Prepare the sessions.

        Args:
            file: A file that was checked.
            callers: Calls side by side to expect, at least 1; None for what gets the most done.

        Raises:
            ValueError: When ONNX Runtime cannot compute it.
        """
        self._file = file
        self._info = info_of_card(file.card)
        self._sessions = OnnxSessions(file.model, callers=callers)

    @property
    def info(self) -> PolicyInfo:
        """What it takes and gives."""
        return self._info

    @property
    def any_batch_size(self) -> bool:
        """Whether padding is no use; with a fixed size it is done here."""
        return True

    @property
    def callers(self) -> int:
        """Calls of `evaluate` side by side that get the most done."""
        return self._sessions.callers

    def evaluate(self, observations: NDArray[Any]) -> NDArray[np.float32]:
        """Scores float32 [B, A] of [B, *observation_shape].

        Raises:
            WrongScores: The model gave something else.
        """
        rows = self._file.fixed_rows
        if rows is None:
            return self._scores(observations)
        pieces = [
            self._scores(_filled_up(observations[start : start + rows], rows))
            for start in range(0, len(observations), rows)
        ]
        return np.concatenate(pieces)[: len(observations)]

    def _scores(self, observations: NDArray[Any]) -> NDArray[np.float32]:
        return checked_scores(
            self._sessions.run(observations),
            rows=len(observations),
            num_actions=self._info.num_actions,
            name=self._info.name,
        )


def _filled_up(observations: NDArray[Any], rows: int) -> NDArray[Any]:
    if len(observations) == rows:
        return observations
    padding = np.zeros((rows - len(observations), *observations.shape[1:]), observations.dtype)
    return np.concatenate([observations, padding])

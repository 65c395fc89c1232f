"""A policy of the user's own package, asked in this process."""

from __future__ import annotations

import threading
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rrl_agents.checkpoints.teacher_card import TeacherCard
from rrl_agents.teacher_policy_interface import ScoringPolicy
from services.teacher.backends.scores import WrongScores, checked_scores
from services.teacher.policy import PolicyInfo, info_of_card


class PythonPolicy:
    """Somebody else's policy, called by one thread at a time and never taken at its word."""

    any_batch_size = True
    backend = "python"
    callers = 1

    def __init__(self, policy: ScoringPolicy, card: TeacherCard) -> None:
        """Take a policy.

        Args:
            policy: What a factory made.
            card: What it says it is, checked.
        """
        self._policy = policy
        self._info = info_of_card(card)
        # Other models of the server may have brought more device threads.
        self._lock = threading.Lock()

    @property
    def info(self) -> PolicyInfo:
        """What it takes and gives."""
        return self._info

    def evaluate(self, observations: NDArray[Any]) -> NDArray[np.float32]:
        """Scores float32 [B, A] of [B, *observation_shape].

        Raises:
            WrongScores: The policy gave something else, or wanted to end the process.
            Exception: Whatever it raised.
        """
        # It may keep or change what it gets; the original is used again.
        batch = np.array(observations)
        with self._lock:
            try:
                scores = self._policy.evaluate(batch)
            except SystemExit as error:
                raise WrongScores(f"{self._info.name} called sys.exit({error.code})") from error
        # A copy, for the same reason.
        return checked_scores(
            scores,
            rows=len(observations),
            num_actions=self._info.num_actions,
            name=self._info.name,
        ).copy()

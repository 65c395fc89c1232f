"""A policy from the user's own package, evaluated in this process."""

from __future__ import annotations

import threading
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rrl_agents.checkpoints.teacher_card import TeacherCard
from rrl_agents.teacher_policy_interface import ScoringPolicy
from services.teacher.policies.cards import info_of_card
from services.teacher.policies.output_checks import InvalidPolicyOutput, checked_scores


class PythonPolicy:
    """A user's policy, called by one thread at a time; every output is checked."""

    dynamic_batch_size = True
    backend = "python"
    max_concurrency = 1

    def __init__(self, policy: ScoringPolicy, card: TeacherCard) -> None:
        """Wrap a policy.

        Args:
            policy: The result of a factory.
            card: Its checked card.
        """
        self._policy = policy
        self.info = info_of_card(card)
        # Other models of the server may need more device threads.
        self._lock = threading.Lock()

    def evaluate(self, observations: NDArray[Any]) -> NDArray[np.float32]:
        """Scores float32 [B, A] of [B, *observation_shape].

        Raises:
            InvalidPolicyOutput: The policy's output is invalid, or the policy tried to exit the
                process.
            Exception: Whatever it raised.
        """
        # A copy, because the policy may keep or change it and the original is reused.
        batch = np.array(observations)
        with self._lock:
            try:
                scores = self._policy.evaluate(batch)
            except SystemExit as error:
                raise InvalidPolicyOutput(
                    f"{self.info.name} called sys.exit({error.code})"
                ) from error
        # A copy, for the same reason.
        return checked_scores(
            scores,
            rows=len(observations),
            num_actions=self.info.spec.num_actions,
            name=self.info.name,
        ).copy()

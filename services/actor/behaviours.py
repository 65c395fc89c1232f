"""Who acts in a stage, the teacher or the student, and what the teacher says of the states.

Each is the policy of one stretch of play: actions of N states, and the teacher's labels of them.
A query about the student's states never delays it and never loses a state: the environments step
while it is under way, it has a deadline, and a state without an answer is stored without a label,
which the distillation loss masks out.
"""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from rrl_agents.behaviour import epsilon_greedy
from rrl_agents.behaviour.guide import GuideTurns
from rrl_agents.reincarnation.recipe import Recipe
from rrl_agents.types import EnvironmentSpec
from rrl_client import (
    TeacherAnswer,
    TeacherDescription,
    TeacherError,
    TeacherRejected,
)
from rrl_client.actions import teacher_actions
from services.actor.weight_poller import ActorSnapshot
from services.shared.errors import UserError
from services.shared.logging import Occasionally

Labels = NDArray[np.float32] | Future[TeacherAnswer] | None
"""Scores of N states: float32 [N, A], an answer under way, or None without a query."""

_LOG_PERIOD_SECONDS = 10.0


class AskedTeacher(Protocol):
    """Answers with the teacher's scores, as `TeacherClient` does."""

    def evaluate(self, observations: NDArray[Any], /) -> TeacherAnswer:
        """Scores of N states [N, *frame, stack], waited for."""

    def evaluate_future(self, observations: NDArray[Any], /) -> Future[TeacherAnswer]:
        """The same, under way."""


def is_settled(labels: Labels) -> bool:
    """Whether the labels can be read without a wait."""
    return not isinstance(labels, Future) or labels.done()


class Annotator:
    """Reads the teacher's answers, and counts those that are missing.

    Attributes:
        answered_queries: Queries that brought an answer.
        unanswered_queries: Queries that brought none.
    """

    def __init__(self) -> None:
        self.answered_queries = self.unanswered_queries = 0
        # A teacher that is unavailable fails every query: one line says as much as a thousand.
        self._should_log = Occasionally(_LOG_PERIOD_SECONDS)

    def scores(self, labels: Labels) -> NDArray[np.float32] | None:
        """The labels as float32 [N, A], waiting at most until their query's deadline.

        Returns:
            None where there is no answer.

        Raises:
            TeacherRejected: the teacher does not take this game's states: retrying is pointless.
        """
        if not isinstance(labels, Future):
            return labels
        try:
            answer = labels.result()
        except TeacherRejected:
            raise
        except TeacherError as error:
            self.note_unanswered(error)
            return None
        self.answered_queries += 1
        return answer.action_values

    def note_unanswered(self, error: TeacherError) -> None:
        """Count a query that was not, and log it every few seconds."""
        self.unanswered_queries += 1
        if self._should_log():
            logging.getLogger(__name__).warning(
                "%d queries without the teacher's answer so far: %s",
                self.unanswered_queries,
                error,
            )


@dataclasses.dataclass(frozen=True, kw_only=True)
class TeacherActs:
    """The teacher's actions, but for a few random ones; its answer is the label.

    Attributes:
        teacher: Chooses; `TeacherError` where it does not answer.
        described: What its scores are.
        annotator: Counts its answers.
        epsilon: Probability of a random action.
        random: Where draws come from.
    """

    teacher: AskedTeacher
    described: TeacherDescription
    annotator: Annotator
    epsilon: float
    random: np.random.Generator

    def __call__(
        self, observations: NDArray[np.uint8], episode_start: NDArray[np.bool_]
    ) -> tuple[NDArray[np.int64], Labels]:
        """`rollout.Policy`."""
        del episode_start
        scores = self.teacher.evaluate(observations).action_values
        self.annotator.answered_queries += 1
        actions = _chosen(scores, self.described, self.random)
        explores = self.random.random(len(actions)) < self.epsilon
        drawn = self.random.integers(0, scores.shape[1], len(actions))
        return np.where(explores, drawn, actions), scores


@dataclasses.dataclass(frozen=True, kw_only=True)
class StudentActs:
    """The student's epsilon-greedy actions; the query about its states is sent first.

    A guide's step that the teacher does not answer is the student's.

    Attributes:
        recipe: Says when the teacher is asked.
        policy: Of the student's network.
        epsilon: `actor_steps -> exploration rate`.
        latest: The newest weights and progress.
        teacher: Asked about the states; None for a method without one.
        described: What its scores are; None leaves all steps to the student.
        turns: Which steps the method's guide, its teacher, takes; None for a method without one.
        annotator: Reads the answers that a guide waits for.
        random: Where draws come from.
    """

    recipe: Recipe
    policy: epsilon_greedy.Policy
    epsilon: Callable[[int], float]
    latest: Callable[[], ActorSnapshot]
    teacher: AskedTeacher | None
    described: TeacherDescription | None
    turns: GuideTurns | None
    annotator: Annotator
    random: np.random.Generator

    def __call__(
        self, observations: NDArray[np.uint8], episode_start: NDArray[np.bool_]
    ) -> tuple[NDArray[np.int64], Labels]:
        """`rollout.Policy`."""
        snapshot = self.latest()
        guided = self._guided(episode_start, snapshot.progress.actor_steps)
        labels: Labels = None
        if self.teacher is not None and (
            guided.any() or self.recipe.needs_teacher(snapshot.progress)
        ):
            labels = self.teacher.evaluate_future(observations)
        drawn, _ = self.policy(
            snapshot.params,
            observations,
            int(self.random.integers(2**32)),
            self.epsilon(snapshot.progress.actor_steps),
        )
        actions = np.asarray(drawn, np.int64)
        if guided.any():
            labels = self.annotator.scores(labels)
            if labels is not None and self.described is not None:
                actions = np.where(guided, _chosen(labels, self.described, self.random), actions)
        return actions, labels

    def _guided(self, episode_start: NDArray[np.bool_], actor_steps: int) -> NDArray[np.bool_]:
        """Bool [N], which steps the method's guide takes."""
        if self.turns is None or self.described is None:
            return np.zeros(len(episode_start), bool)
        return self.turns.next(episode_start, actor_steps, self.random)


def _chosen(
    scores: NDArray[np.float32], teacher: TeacherDescription, random: np.random.Generator
) -> NDArray[np.int64]:
    return teacher_actions(
        scores, output=teacher.spec.output, temperature=teacher.spec.temperature, random=random
    )


def check_game(described: TeacherDescription, spec: EnvironmentSpec) -> None:
    """Check that a teacher plays an environment.

    Raises:
        UserError: it plays another game.
    """
    misfit = described.spec.misfit(
        observation_shape=spec.observation_shape,
        observation_dtype=spec.frame_dtype,
        num_actions=spec.num_actions,
        of=spec.name,
    )
    if misfit is not None:
        raise UserError(f"the teacher ({described.name}) {misfit}; choose a teacher of this game")

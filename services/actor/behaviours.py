"""The policies of actors: the teacher acts, or the student; either way the teacher labels states.

A policy returns the actions for N states, and the teacher's labels of these states. A query for
labels never delays the student and never loses a state: the environments step while the teacher
computes, the query has a deadline, and a state without an answer is stored without a label, which
the distillation loss masks out.
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
"""Scores of N states: float32 [N, A], a pending answer, or None without a query."""

_LOG_PERIOD_SECONDS = 10.0


class AskedTeacher(Protocol):
    """A teacher that can be queried, such as `TeacherClient`."""

    def evaluate(self, observations: NDArray[Any], /) -> TeacherAnswer:
        """Scores of N states [N, *frame, stack]; waits for the answer."""

    def evaluate_future(self, observations: NDArray[Any], /) -> Future[TeacherAnswer]:
        """The same without waiting: a future of the answer."""


def is_settled(labels: Labels) -> bool:
    """Whether the labels can be read without waiting."""
    return not isinstance(labels, Future) or labels.done()


class Annotator:
    """Reads the teacher's answers, and counts queries with and without an answer.

    Attributes:
        answered_queries: Queries that were answered.
        unanswered_queries: Queries that were not.
    """

    def __init__(self) -> None:
        self.answered_queries = self.unanswered_queries = 0
        # If the teacher is unavailable, every query fails; one log line is enough.
        self._should_log = Occasionally(_LOG_PERIOD_SECONDS)

    def scores(self, labels: Labels) -> NDArray[np.float32] | None:
        """The labels as float32 [N, A]; waits at most until the query's deadline.

        Returns:
            The labels, or None without an answer.

        Raises:
            TeacherRejected: the teacher does not accept this game's states; a retry would fail,
                too.
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
        """Count an unanswered query, and log the count every few seconds."""
        self.unanswered_queries += 1
        if self._should_log():
            logging.getLogger(__name__).warning(
                "%d queries without an answer of the teacher so far: %s",
                self.unanswered_queries,
                error,
            )


@dataclasses.dataclass(frozen=True, kw_only=True)
class TeacherActs:
    """The teacher acts, with a few random actions; its answers are the labels.

    Attributes:
        teacher: Chooses the actions; raises `TeacherError` if it does not answer.
        described: Says whether its scores are action values or logits.
        annotator: Counts its answers.
        epsilon: Probability of a random action.
        random: Random generator of all draws.
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
    """The student acts, epsilon-greedily; the query for the states' labels is sent first.

    If the method has a guide, the teacher takes some of the steps; the student takes those that the
    teacher does not answer.

    Attributes:
        recipe: Determines when to query the teacher.
        policy: Policy of the student's network.
        epsilon: `actor_steps -> exploration rate`.
        latest: Returns the newest weights and progress.
        teacher: Labels the states; None for a method without a teacher.
        described: Says whether the teacher's scores are action values or logits; if None, the
            student takes all steps.
        turns: Determines which steps the guide takes; None for a method without a guide.
        annotator: Reads the answers for the guide's steps.
        random: Random generator of all draws.
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
        """Bool [N], in which environments the guide takes the next step."""
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
    """Check that a teacher accepts an environment's states and has its actions.

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

"""A stretch of play: N environments fill one replay table; the teacher's labels arrive later.

    observations ─▶ policy ─▶ actions ─▶ environment.step ─┐
         └──▶ query to the teacher (future) ───────────────┴▶ pending ─▶ rows into replay, in order

A row is written when its query is answered or has timed out. So writing is at most `max_pending`
steps behind acting, and at least one step, since rows are written while the environments step.
"""

from __future__ import annotations

import collections
import dataclasses
from collections.abc import Callable
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from rrl_agents.environments.vector_environment import Step, VectorEnvironment
from rrl_agents.types import Progress
from services.actor.behaviours import Annotator, Labels, is_settled
from services.replay.item_layout import StepRow


class TransitionWriter(Protocol):
    """Writes the episodes of N environments, step by step, as `ReplayWriter` does."""

    def append(self, env: int, row: StepRow) -> None:
        """Write one real step; the first one after `end_episode` starts a new episode."""

    def end_episode(self, env: int, final_frame: NDArray[Any] | None) -> None:
        """End the episode; `final_frame` is None if its last step terminated it."""


# Emulator seeds are int32, and the environments of one actor take consecutive ones.
_LARGEST_ENVIRONMENT_SEED = 2**31 - 2**16


class Policy(Protocol):
    """Chooses actions for N states."""

    def __call__(
        self, observations: NDArray[np.uint8], episode_start: NDArray[np.bool_]
    ) -> tuple[NDArray[np.int64], Labels]:
        """Choose actions, int64 [N]; also returns the teacher's labels of the states.

        Args:
            observations: [N, *observation_shape].
            episode_start: bool [N], whether the observation is the first of an episode.
        """


@dataclasses.dataclass(frozen=True, kw_only=True)
class _PlayedStep:
    """One step of N environments, to be written once its labels have arrived."""

    frames: NDArray[np.uint8]
    actions: NDArray[np.int64]
    step: Step
    labels: Labels


class Rollout:
    """Plays into one table, step by step.

    Args:
        environment: N environments, which are reset here.
        writer: Writes the transitions.
        annotator: Waits for pending labels.
        seed: Seed of the environments' first episodes.
        max_pending: Most steps whose labels may be pending at the same time.
        on_steps: Called in each `step` with the number of agent steps. An environment whose episode
            has just ended is only reset, which does not count.
        on_episode: Called with the raw return of each episode that was played to its end.
    """

    def __init__(
        self,
        environment: VectorEnvironment,
        writer: TransitionWriter,
        annotator: Annotator,
        *,
        seed: int,
        max_pending: int,
        on_steps: Callable[[int], None] = lambda steps: None,
        on_episode: Callable[[float], None] = lambda episode_return: None,
    ) -> None:
        self._environment = environment
        self._newest_frames = environment.spec.newest_frames
        self._writer = writer
        self._annotator = annotator
        self._max_pending = max_pending
        self._on_steps, self._on_episode = on_steps, on_episode
        self._returns = np.zeros(environment.num_envs)
        self._pending: collections.deque[_PlayedStep] = collections.deque()
        self._observations = environment.reset(seed)
        self._episode_start = np.ones(environment.num_envs, bool)
        self._mid_episode = np.zeros(environment.num_envs, bool)

    def step(self, policy: Policy) -> None:
        """Act once in every environment; during the steps, write rows whose labels are there."""
        actions, labels = policy(self._observations, self._episode_start)
        self._environment.begin_step(actions)
        try:
            self._write_settled()
        finally:
            step = self._environment.finish_step()
        self._count(step)
        self._pending.append(
            _PlayedStep(
                frames=self._newest_frames(self._observations),
                actions=actions,
                step=step,
                labels=labels,
            )
        )
        self._observations = step.observation
        self._episode_start = step.episode_start

    def finish(self) -> None:
        """Write the pending rows, and end the open episodes.

        An interrupted episode is stored like one that reached the step limit: its last transitions
        bootstrap from the newest observation.
        """
        while self._pending:
            self._write(self._pending.popleft())
        for env in np.flatnonzero(self._mid_episode):
            self._writer.end_episode(int(env), self._newest_frames(self._observations[env]))
        self._mid_episode[:] = False

    def _count(self, step: Step) -> None:
        acted = ~step.episode_start
        self._returns += step.reward * acted
        self._on_steps(int(np.count_nonzero(acted)))
        for env in np.flatnonzero(step.terminated | step.truncated):
            self._on_episode(float(self._returns[env]))
            self._returns[env] = 0.0

    def _write_settled(self) -> None:
        while self._pending and (
            len(self._pending) >= self._max_pending or is_settled(self._pending[0].labels)
        ):
            self._write(self._pending.popleft())

    def _write(self, played: _PlayedStep) -> None:
        teacher_outputs = self._annotator.scores(played.labels)
        step = played.step
        # Lists, since reading single elements of arrays would cost more than everything else here.
        actions, rewards = played.actions.tolist(), step.reward.tolist()
        terminated, truncated = step.terminated.tolist(), step.truncated.tolist()
        for env in np.flatnonzero(~step.episode_start).tolist():
            self._writer.append(
                env,
                StepRow(
                    frame=played.frames[env],
                    action=actions[env],
                    reward=rewards[env],
                    terminated=terminated[env],
                    teacher_outputs=teacher_outputs[env] if teacher_outputs is not None else None,
                ),
            )
            if terminated[env]:
                self._writer.end_episode(env, None)
            elif truncated[env]:
                self._writer.end_episode(env, self._newest_frames(step.observation[env]))
            self._mid_episode[env] = not (terminated[env] or truncated[env])


def stretch_seeds(seed: int, index: int, progress: Progress) -> tuple[int, int]:
    """Seeds of a stretch's actions and of its environments.

    They depend on the run's clock, so that a resumed actor does not repeat the same episodes.

    Args:
        seed: Seed of the run.
        index: Number of the actor.
        progress: Progress of the run at the start of the stretch.
    """
    clock = progress.teacher_steps + progress.actor_steps
    actions, environments = np.random.SeedSequence([seed, index, clock]).generate_state(2)
    return int(actions), int(environments) % _LARGEST_ENVIRONMENT_SEED

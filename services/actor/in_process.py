"""Plays all environments of a run in the learner's own thread, one step at a time.

    weights, progress ──▶ policy ─▶ Rollout ─▶ LocalWriter ─▶ table in this process

Rollouts and policies are those of an actor process, but weights and steps need no network and no
wait. The caller decides when to step.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from rrl_agents.behaviour.epsilon_greedy import make_policy
from rrl_agents.environments.registry import make_environment
from rrl_agents.networks.registry import make_network
from rrl_agents.reincarnation.registry import make_recipe
from rrl_agents.types import Progress, Stage
from rrl_client import TeacherDescription
from services.actor.behaviours import Annotator, AskedTeacher, check_game
from services.actor.config import ActorConfig
from services.actor.metrics import ActorMetrics
from services.actor.rollout import Policy, Rollout, stretch_seeds
from services.actor.stage_policies import stage_policy
from services.actor.weight_poller import ActorSnapshot
from services.replay.item_layout import ItemLayout
from services.replay.local_tables import LocalTables
from services.replay.local_writer import LocalWriter
from services.replay.table_names import STUDENT_TABLE, TEACHER_TABLE


class PlayerInProcess:
    """Plays the stages of one run into its tables.

    Args:
        config: Environments, method and network; its addresses are not used.
        tables: Tables to write to.
        layout: Shapes of their items.
        latest: Returns the newest weights and the present progress.
        teacher: Acts and labels states; None for a method without a teacher.
        described: Description of the teacher; None without a teacher.
        metrics: Counts steps and episodes.

    Raises:
        UserError: the teacher plays another game.
    """

    def __init__(
        self,
        config: ActorConfig,
        tables: LocalTables,
        layout: ItemLayout,
        latest: Callable[[], ActorSnapshot],
        teacher: AskedTeacher | None,
        described: TeacherDescription | None,
        metrics: ActorMetrics,
    ) -> None:
        self._config = config
        self._tables = tables
        self._layout = layout
        self._latest = latest
        self._teacher, self._described = teacher, described
        self._metrics = metrics
        self._recipe = make_recipe(config.method)
        self._environment = make_environment(config.environment, config.num_envs)
        spec = self._environment.spec
        if described is not None:
            check_game(described, spec)
        self._student = make_policy(make_network(config.network, spec.num_actions))
        self._annotator = Annotator()
        metrics.attach(self._annotator, frames_per_step=spec.frames_per_step)
        self._stretch: tuple[Stage, Rollout, Policy] | None = None
        # Priority of new items; it changes between steps only.
        self._priority = 1.0

    def step(self, stage: Stage) -> None:
        """Act once in every environment: the teacher acts in COLLECT, else the student."""
        if self._stretch is None or self._stretch[0] is not stage:
            self.finish()
            self._stretch = self._begin(stage)
        _, rollout, policy = self._stretch
        self._priority = self._progress().max_priority
        rollout.step(policy)

    def finish(self) -> None:
        """End the open episodes, as far as their table accepts items."""
        if self._stretch is not None:
            self._stretch[1].finish()
            self._stretch = None

    def close(self) -> None:
        """Free the environments."""
        self._environment.close()

    def _begin(self, stage: Stage) -> tuple[Stage, Rollout, Policy]:
        actions_seed, environments_seed = stretch_seeds(
            self._config.seed, self._config.index, self._progress()
        )
        name = TEACHER_TABLE if stage is Stage.COLLECT else STUDENT_TABLE
        writer = LocalWriter(
            self._tables.tables[name],
            self._layout,
            self._config.num_envs,
            priority=lambda: self._priority,
        )
        rollout = Rollout(
            self._environment,
            writer,
            self._annotator,
            seed=environments_seed,
            max_pending=0,
            on_steps=self._metrics.stepped,
            on_episode=self._metrics.finished_episode,
        )
        return stage, rollout, self._policy(stage, np.random.default_rng(actions_seed))

    def _policy(self, stage: Stage, random: np.random.Generator) -> Policy:
        return stage_policy(
            stage,
            self._config,
            self._recipe,
            self._student,
            latest=self._latest,
            teacher=self._teacher,
            described=self._described,
            annotator=self._annotator,
            random=random,
        )

    def _progress(self) -> Progress:
        return self._latest().progress

"""A resolved experiment: the user's config and everything it refers to.

Each role's settings derive from it. `resolution.resolve` makes one; starters only add addresses.
"""

from __future__ import annotations

import dataclasses
import json

from rrl_agents.checkpoints.teacher_card import TeacherCard
from rrl_agents.reincarnation.recipe import Recipe
from rrl_agents.reincarnation.registry import make_recipe
from rrl_agents.typed_json import encode
from rrl_agents.types import EnvironmentSpec
from rrl_client import ClientSecurity
from services.launcher.experiment_config import ExperimentConfig
from services.learner.stage_transitions import StageTargets
from services.recorded_data.dataset import RecordedData
from services.replay.item_layout import ItemLayout
from services.run_report.score_protocol import ScoreProtocol

VIDEO_FILE = "metrics/student.gif"


@dataclasses.dataclass(frozen=True, kw_only=True)
class Experiment:
    """A config, and what the names in it refer to.

    Attributes:
        config: The user's config.
        spec: Shapes and types of its environment.
        card: The teacher's card; None without a teacher.
        random_return: Mean return of the random policy.
        data: Recorded data to fill the teacher's table; None has the teacher play.
        teacher_peers: TLS and credentials for the teacher's address; None for plaintext without a
            token.
    """

    config: ExperimentConfig
    spec: EnvironmentSpec
    card: TeacherCard | None
    random_return: float
    data: RecordedData | None = None
    teacher_peers: ClientSecurity | None = None

    @property
    def recipe(self) -> Recipe:
        """The recipe of the method."""
        return make_recipe(self.config.method)

    @property
    def teacher_return(self) -> float | None:
        """The teacher's known mean return; None has the evaluator measure it."""
        if self.config.teacher.mean_return is not None:
            return self.config.teacher.mean_return
        score = self.card.score if self.card is not None else None
        return score.mean_return if score is not None else None

    @property
    def episode_steps(self) -> int | None:
        """Steps of a whole episode, if so few are played that progress counts episodes."""
        environment = self.config.environment
        return environment.episode_steps if environment.environment.episodes_are_counted else None

    @property
    def asks_teacher(self) -> bool:
        """Whether actors query the teacher for scores or actions."""
        return self.recipe.asks_teacher(self.random_return)

    @property
    def uses_teacher(self) -> bool:
        """Whether a teacher is needed at all."""
        has_steps = self.targets.teacher_steps > 0
        return self.teacher_return is None or has_steps or self.asks_teacher

    @property
    def serves_teacher(self) -> bool:
        """Whether the run has a teacher service of its own."""
        return self.uses_teacher and self.config.teacher.address is None

    @property
    def needs_card(self) -> bool:
        """Whether the method uses more of a teacher than its score."""
        recipe = self.recipe
        starts_as_teacher = recipe.initial_weights == "teacher"
        return recipe.needs_teacher_data or starts_as_teacher or self.asks_teacher

    @property
    def teacher_plays(self) -> bool:
        """Whether the teacher plays into its table; otherwise it holds recorded data or nothing."""
        return self.data is None and self.targets.teacher_steps > 0

    @property
    def targets(self) -> StageTargets:
        """The target of each stage; the replay ratio converts agent steps into updates."""
        q_learning, recipe = self.recipe.q_learning, self.recipe
        learned_from = max(0, self.config.online_steps - q_learning.min_replay_size)
        return StageTargets(
            teacher_steps=self._teacher_steps,
            offline_updates=recipe.offline_updates,
            online_updates=learned_from // q_learning.update_period,
        )

    @property
    def _teacher_steps(self) -> int:
        """Agent steps that the teacher plays before the student begins."""
        recipe = self.recipe
        if self.data is None:
            # Do not play data that no stage learns from.
            return self.config.teacher_steps if recipe.needs_teacher_data else 0
        capacity = self.config.replay_capacity
        if recipe.warm_starts_replay:
            # Learning begins that much later: leave out what would be overwritten until then.
            capacity -= recipe.q_learning.min_replay_size
        return min(self.config.teacher_steps, self.data.transitions, capacity)

    def to_json(self) -> str:
        """The resolved experiment as written to a run's config.json."""
        config = dataclasses.asdict(self.config)
        settings = config.pop("method")
        config["environment"]["frames_per_step"] = self.spec.frames_per_step
        config["teacher"] |= {
            "name": getattr(self.card, "name", None),
            "parameters_sha256": getattr(self.card, "parameters_sha256", None),
            "data_fingerprint": getattr(self.data, "fingerprint", None),
        }
        content = {
            "method": self.recipe.name,
            "settings": settings,
            **config,
            "teacher_return": self.teacher_return,
            "random_return": self.random_return,
            "score_protocols": encode(self.score_protocols),
            "budgets": encode(self.targets) | {"online_steps": self.config.online_steps},
        }
        return json.dumps(content, indent=1)

    @property
    def score_protocols(self) -> dict[str, ScoreProtocol]:
        """The protocols of the returns that a report compares."""
        student = ScoreProtocol(
            epsilon=self.config.evaluation.epsilon,
            sticky_actions=self.config.environment.sticky_actions,
            max_episode_steps=self.spec.max_episode_steps,
        )
        protocols = {"student": student}
        if self.teacher_return is None:
            # The evaluator plays it under the student's protocol.
            protocols["teacher"] = student
        elif self.config.teacher.mean_return is None and self.card is not None:
            score, played = self.card.score, self.card.protocol
            protocols["teacher"] = ScoreProtocol(
                epsilon=score.epsilon if score is not None else None,
                sticky_actions=score.sticky_actions if score is not None else None,
                max_episode_steps=played.max_episode_steps if played is not None else None,
            )
        return protocols

    @property
    def layout(self) -> ItemLayout:
        """Shapes of the items in replay."""
        return ItemLayout(
            frame_shape=self.spec.frame_shape,
            stack_size=self.spec.stack_size,
            n_step=self.recipe.q_learning.n_step,
            num_actions=self.spec.num_actions,
            frame_dtype=self.spec.frame_dtype,
            clips_rewards=self.config.environment.clips_rewards,
        )

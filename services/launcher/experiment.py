"""An experiment: a config with everything looked up, from which each role's settings are taken.

`resolution.resolve` makes one. Only addresses are added where processes are started.
"""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

from rrl_agents.checkpoints.teacher_card import TeacherCard
from rrl_agents.reincarnation.recipe import Recipe
from rrl_agents.reincarnation.registry import make_recipe
from rrl_agents.types import EnvironmentSpec, Progress, Stage
from services.actor.config import ActorConfig
from services.evaluator.config import EvaluatorConfig
from services.launcher.experiment_config import ExperimentConfig
from services.learner.config import LearnerConfig, ShardAddress
from services.learner.stages import StageTargets
from services.library.door import open_reference
from services.recorded_data.config import ImporterConfig
from services.recorded_data.dataset import RecordedData
from services.replay.config import ReplayConfig
from services.replay.item_layout import ItemLayout
from services.replay.table_names import STUDENT_TABLE, TEACHER_TABLE
from services.run_report.score_protocol import ScoreProtocol
from services.shared.errors import UserError
from services.teacher.config import ModelConfig, TeacherConfig

VIDEO_FILE = "metrics/student.gif"


def shard_folder(run: Path, shard: int) -> Path:
    """Where a replay shard keeps its files, on its own machine."""
    return run / "replay" / f"{shard:02d}"


@dataclasses.dataclass(frozen=True, kw_only=True)
class Experiment:
    """A config with everything looked up that it only names.

    Attributes:
        config: What the user chose.
        spec: Shapes of its environment.
        card: Of the teacher; None where there is none.
        random_return: Mean return of the random policy.
        data: What the teacher's table is filled from; None has the teacher play.
    """

    config: ExperimentConfig
    spec: EnvironmentSpec
    card: TeacherCard | None
    random_return: float
    data: RecordedData | None = None

    @property
    def recipe(self) -> Recipe:
        """The method's parts."""
        return make_recipe(self.config.method)

    @property
    def teacher_return(self) -> float | None:
        """The teacher's known mean return; None has the evaluator play it."""
        if self.config.teacher.mean_return is not None:
            return self.config.teacher.mean_return
        score = self.card.score if self.card is not None else None
        return score.mean_return if score is not None else None

    @property
    def uses_teacher(self) -> bool:
        """Whether a teacher service is needed at all."""
        return (
            self.teacher_return is None
            or self.targets.teacher_steps > 0
            or self.recipe.asks_teacher(self.random_return)
        )

    @property
    def needs_card(self) -> bool:
        """Whether the method takes anything from a teacher but its score."""
        recipe = self.recipe
        return (
            recipe.needs_teacher_data
            or recipe.initial_weights == "teacher"
            or recipe.asks_teacher(self.random_return)
        )

    @property
    def targets(self) -> StageTargets:
        """How far each stage goes; the replay ratio turns agent steps into updates."""
        q_learning, recipe = self.recipe.q_learning, self.recipe
        learned_from = max(0, self.config.online_steps - q_learning.min_replay_size)
        return StageTargets(
            teacher_steps=self._teacher_steps,
            offline_updates=recipe.offline_updates,
            online_updates=learned_from // q_learning.update_period,
        )

    @property
    def _teacher_steps(self) -> int:
        """How much of the teacher's play there is to be before the student begins."""
        recipe = self.recipe
        if self.data is None:
            # Data nobody would learn from is not played.
            return self.config.teacher_steps if recipe.needs_teacher_data else 0
        capacity = self.config.replay_capacity
        if recipe.reloads_data:
            # Learning begins that much later: what play pushes out until then need not go in.
            capacity -= recipe.q_learning.min_replay_size
        return min(self.config.teacher_steps, self.data.transitions, capacity)

    def to_json(self) -> str:
        """The resolved experiment, as it stands in a run's config.json."""
        config = dataclasses.asdict(self.config)
        settings = config.pop("method")
        content = {
            "method": self.recipe.name,
            "settings": settings,
            **config,
            "environment": {
                **config["environment"],
                "frames_per_step": self.spec.frames_per_step,
            },
            "teacher": {
                **config["teacher"],
                "name": self.card.name if self.card is not None else None,
                "parameters_sha256": self.card.parameters_sha256 if self.card is not None else None,
                "data_fingerprint": self.data.fingerprint if self.data is not None else None,
            },
            "teacher_return": self.teacher_return,
            "random_return": self.random_return,
            "score_protocols": self._score_protocols(),
            "budgets": dataclasses.asdict(self.targets)
            | {"online_steps": self.config.online_steps},
        }
        return json.dumps(content, indent=1)

    def _score_protocols(self) -> dict[str, dict[str, float | None]]:
        """How the returns are measured that a report puts beside each other."""
        student = ScoreProtocol(
            epsilon=self.config.evaluation.epsilon,
            sticky_actions=self.config.environment.sticky_actions,
            max_episode_steps=self.spec.max_episode_steps,
        )
        protocols = {"student": student}
        if self.teacher_return is None:
            # The evaluator plays it as it plays the student.
            protocols["teacher"] = student
        elif self.config.teacher.mean_return is None and self.card is not None:
            score, played = self.card.score, self.card.protocol
            protocols["teacher"] = ScoreProtocol(
                epsilon=score.epsilon if score is not None else None,
                sticky_actions=score.sticky_actions if score is not None else None,
                max_episode_steps=played.max_episode_steps if played is not None else None,
            )
        return {player: dataclasses.asdict(one) for player, one in protocols.items()}

    def teacher_config(
        self, *, port: int, metrics_port: int | None, backend: str = "auto"
    ) -> TeacherConfig:
        """Settings of the teacher service.

        Raises:
            UserError: this run has no teacher.
        """
        return TeacherConfig(
            models=(ModelConfig(reference=self.config.teacher.reference),),
            port=port,
            metrics_port=metrics_port,
            backend=backend,
        )

    @property
    def _reloaded_steps(self) -> int:
        """Recorded transitions that the student's own table begins with."""
        return self.targets.teacher_steps if self.recipe.reloads_data else 0

    @property
    def layout(self) -> ItemLayout:
        """Shapes of what replay holds."""
        return ItemLayout(
            frame_shape=self.spec.frame_shape,
            stack_size=self.spec.stack_size,
            n_step=self.recipe.q_learning.n_step,
            num_actions=self.spec.num_actions,
            frame_dtype=self.spec.frame_dtype,
            clips_rewards=self.config.environment.clips_rewards,
        )

    def replay_config(self, run: Path, *, port: int, shard: int = 0) -> ReplayConfig:
        """Settings of one replay shard; which checkpoint it serves, its role decides.

        Raises:
            UserError: there is no such shard.
        """
        q_learning, shards = self.recipe.q_learning, self.config.replay_shards
        if not 0 <= shard < shards:
            raise UserError(
                f"there is no replay shard {shard}: the run has {shards}, counted from 0 "
                "(--replay-shards)"
            )
        # Each shard has its share of the actors, so of everything they play.
        capacity = -(-self.config.replay_capacity // shards)
        min_size = -(-(self._reloaded_steps + q_learning.min_replay_size) // shards)
        online = Progress(random_return=self.random_return, stage=Stage.ONLINE)
        own_share = 1.0 - self.recipe.teacher_share(online)
        return ReplayConfig(
            layout=self.layout,
            checkpoint_root=shard_folder(run, shard) / "working",
            teacher_capacity=capacity,
            # Recorded data goes into one shard, the teacher's play into all.
            teacher_steps=-(-self.targets.teacher_steps // shards) or None,
            student_capacity=capacity,
            min_student_size=min_size,
            samples_per_insert=own_share * q_learning.batch_size / q_learning.update_period,
            student_priority_exponent=self.config.student.priority_exponent,
            # Sixteen batches: enough for what is fetched ahead, small beside any run.
            error_buffer=16.0 * q_learning.batch_size,
            port=port,
        )

    def importer_config(
        self, run: Path, *, replay_address: str, teacher_address: str
    ) -> ImporterConfig:
        """Settings of the importer.

        Raises:
            UserError: this run has no recorded data to import.
        """
        if self.data is None or self.card is None or self.targets.teacher_steps == 0:
            raise UserError(
                "there is nothing to import: give --teacher.data, with a method that has offline "
                "updates"
            )
        labels = self.config.teacher.labels
        return ImporterConfig(
            data=self.data,
            transitions=self.targets.teacher_steps,
            layout=self.layout,
            run=run,
            labels=Path(labels) if labels is not None else None,
            teacher=self.card,
            replay_address=replay_address,
            teacher_address=teacher_address,
            table=STUDENT_TABLE if self.recipe.reloads_data else TEACHER_TABLE,
        )

    def check_shards(self, addresses: int) -> None:
        """See that as many replay shards are named as the run has.

        Raises:
            UserError: there are more or fewer.
        """
        if addresses != self.config.replay_shards:
            raise UserError(
                f"{addresses} replay addresses are given, the run has "
                f"{self.config.replay_shards} replay shards (--replay-shards)"
            )

    def _initial_teacher(self) -> Path | None:
        """The directory of the teacher whose weights the student begins with."""
        if self.recipe.initial_weights != "teacher":
            return None
        opened = open_reference(self.config.teacher.reference)
        assert isinstance(opened, Path), "a Python policy has no network, and was refused"
        return opened

    def learner_config(
        self, run: Path, *, replay: tuple[ShardAddress, ...], port: int
    ) -> LearnerConfig:
        """Settings of the learner.

        Raises:
            UserError: the run has another number of replay shards.
        """
        self.check_shards(len(replay))
        config = self.config
        return LearnerConfig(
            run=run,
            method=config.method,
            network=config.network,
            student=config.student,
            initial_teacher=self._initial_teacher(),
            spec=self.spec,
            targets=self.targets,
            random_return=self.random_return,
            teacher_return=self.teacher_return,
            seed=config.seed,
            replay=replay,
            port=port,
            publish_period_updates=config.publish_period_updates,
            offline_evaluation_period=config.offline_evaluation_period,
            online_evaluation_period=config.online_evaluation_period,
            checkpoint_period_seconds=config.checkpoint_period_seconds,
            pause_for_evaluation=config.pause_for_evaluation,
        )

    def evaluator_config(
        self, run: Path, *, learner_address: str, teacher_address: str | None
    ) -> EvaluatorConfig:
        """Settings of the evaluator."""
        return EvaluatorConfig(
            environment=self.config.environment,
            network=self.config.network,
            protocol=self.config.evaluation,
            seed=self.config.seed,
            learner_address=learner_address,
            teacher_address=teacher_address,
            video=run / VIDEO_FILE,
            # An evaluation that is waited for had better begin at once.
            poll_seconds=0.05 if self.config.pause_for_evaluation else 1.0,
        )

    def actor_config(
        self,
        index: int,
        *,
        learner_address: str,
        replay_address: str,
        teacher_address: str | None,
    ) -> ActorConfig:
        """Settings of one actor."""
        return ActorConfig(
            environment=self.config.environment,
            method=self.config.method,
            network=self.config.network,
            num_envs=self.config.envs_per_actor,
            index=index,
            seed=self.config.seed,
            learner_address=learner_address,
            replay_address=replay_address,
            teacher_address=teacher_address,
            teacher_plays=self.data is None and self.targets.teacher_steps > 0,
            weights_period_seconds=self.config.weights_period_seconds,
        )


def process_environment(role: str) -> dict[str, str]:
    """Environment variables of a role's process when all share one machine.

    Actors and the evaluator run small batches, which threads only slow down; they and the importer
    stay off the GPU, which learner and teacher share.
    """
    variables = {"TF_CPP_MIN_LOG_LEVEL": "2", "XLA_PYTHON_CLIENT_MEM_FRACTION": "0.4"}
    if role in ("actor", "evaluator", "importer"):
        variables |= {
            "JAX_PLATFORMS": "cpu",
            "XLA_FLAGS": "--xla_cpu_multi_thread_eigen=false",
        }
    return variables

"""An experiment: what a user chooses, resolved into the settings of every role.

`ExperimentConfig` is what the command line fills in. `resolve` looks at the teacher and the
environment, checks that they fit, and gives an `Experiment`, from which each role's own config is
taken; only the addresses are added where processes are started.
"""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

from rrl_agents.checkpoints.dopamine_agents.hints import Hints
from rrl_agents.checkpoints.load_teacher import UNKNOWN_GAME
from rrl_agents.checkpoints.teacher_card import TeacherCard
from rrl_agents.environments.game_names import name_key
from rrl_agents.environments.registry import EnvironmentConfig, make_environment, random_return
from rrl_agents.networks.registry import NetworkConfig
from rrl_agents.reincarnation.qdagger import QDaggerConfig
from rrl_agents.reincarnation.recipe import Recipe
from rrl_agents.reincarnation.registry import MethodConfig, make_recipe
from rrl_agents.types import EnvironmentSpec, Progress
from services.actor.config import ActorConfig
from services.evaluator.config import EvaluationProtocol, EvaluatorConfig
from services.learner.checkpointing import newest_commit
from services.learner.config import LearnerConfig
from services.learner.stages import StageTargets
from services.library.catalogue import locate
from services.replay.config import PreloadConfig, ReplayConfig, samples_per_insert
from services.replay.item_layout import ItemLayout
from services.replay.labels import check_labels
from services.replay.recorded_data import RecordedData, look_at
from services.shared.errors import UserError
from services.teacher.cards import load_card
from services.teacher.config import TeacherConfig, one_model

VIDEO_FILE = "metrics/student.gif"

_PERIODS = (
    "offline_evaluation_period",
    "online_evaluation_period",
    "checkpoint_period_seconds",
    "publish_period_updates",
)


@dataclasses.dataclass(frozen=True, kw_only=True)
class TeacherChoice:
    """Whom the student learns from, and is measured against.

    Attributes:
        checkpoint: Name of the catalogue, teacher directory, Dopamine checkpoint directory, ONNX
            file, or a Python policy as `module:factory`.
        checkpoint_number: Which checkpoint of a Dopamine directory; the newest when None.
        game: Game of a teacher that does not say it.
        output: What its scores are, "q_values" or "logits", where it does not say so.
        temperature: Divides its logits before the softmax; None for what it says itself.
        hints: What else a Dopamine checkpoint does not say, where its shapes leave doubt.
        mean_return: Its mean return; None takes the card's score, and has the evaluator play the
            teacher where the card has none.
        data: Directory of a Dopamine agent's replay data, or a fetched agent's name, to fill the
            teacher's table from; None has the teacher play.
        data_number: Which checkpoint of the data; the newest when None.
        labels: Folder that `rrl teacher label` made of the data by this teacher, to share between
            runs; None labels what this run takes, in the run's own folder.
    """

    checkpoint: str = "pong_dqn"
    checkpoint_number: int | None = None
    game: str | None = None
    output: str | None = None
    temperature: float | None = None
    hints: Hints = Hints()
    mean_return: float | None = None
    data: str | None = None
    data_number: int | None = None
    labels: str | None = None


@dataclasses.dataclass(frozen=True, kw_only=True)
class ExperimentConfig:
    """One run: a method, a student, a teacher and budgets.

    Attributes:
        method: How the teacher is used.
        environment: What is played.
        network: The student's architecture.
        teacher: Whom it learns from.
        teacher_steps: Agent steps the teacher plays into its table first; not played where there
            are no offline updates. With recorded data, the most that are taken of it, the newest;
            all of it goes in where this and `replay_capacity` allow.
        online_steps: Agent steps the students play, all actors together.
        evaluation: How students are scored.
        offline_evaluation_period: Updates between two evaluations in the offline phase.
        online_evaluation_period: Updates between two evaluations in the online phase.
        num_actors: Actor processes.
        envs_per_actor: Environments that one actor steps together.
        replay_capacity: Transitions that each table holds.
        checkpoint_period_seconds: Time between two commits; what a kill can cost.
        publish_period_updates: Updates between two publications of weights to the actors.
        seed: Of weights, behaviour and evaluation.
    """

    method: MethodConfig
    environment: EnvironmentConfig = EnvironmentConfig()
    network: NetworkConfig = NetworkConfig()
    teacher: TeacherChoice = TeacherChoice()
    teacher_steps: int = 1_000_000
    online_steps: int = 2_500_000
    evaluation: EvaluationProtocol = EvaluationProtocol()
    offline_evaluation_period: int = 100_000
    online_evaluation_period: int = 62_500
    num_actors: int = 2
    envs_per_actor: int = 8
    replay_capacity: int = 1_000_000
    checkpoint_period_seconds: float = 300.0
    publish_period_updates: int = 100
    seed: int = 0

    def __post_init__(self) -> None:
        """Refuse counts without a meaning; the parts refuse the rest."""
        for field in ("teacher_steps", "seed"):
            if getattr(self, field) < 0:
                raise ValueError(f"{field} must not be negative, got {getattr(self, field)}")
        for field in ("num_actors", "envs_per_actor", "online_steps", "replay_capacity"):
            if getattr(self, field) < 1:
                raise ValueError(f"{field} must be at least 1, got {getattr(self, field)}")
        for field in _PERIODS:
            if not getattr(self, field) > 0:
                raise ValueError(f"{field} must be above 0, got {getattr(self, field)}")
        if self.network.head != "values" or self.network.noisy:
            raise ValueError(
                f"the student's network has head {self.network.head!r} and noisy "
                f"{self.network.noisy}; students learn plain action values so far: leave both out"
            )


@dataclasses.dataclass(frozen=True, kw_only=True)
class Experiment:
    """A config with everything looked up that it only names.

    Attributes:
        config: What the user chose.
        spec: Shapes of its environment.
        card: Of the teacher.
        random_return: Mean return of the random policy.
        data: What the teacher's table is filled from; None has the teacher play.
    """

    config: ExperimentConfig
    spec: EnvironmentSpec
    card: TeacherCard
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
        return self.card.score.mean_return if self.card.score is not None else None

    @property
    def uses_teacher(self) -> bool:
        """Whether a teacher service is needed at all."""
        beginning = Progress(random_return=self.random_return)
        return (
            self.teacher_return is None
            or self.targets.teacher_steps > 0
            or self.recipe.needs_teacher(beginning)
        )

    @property
    def targets(self) -> StageTargets:
        """How far each phase goes; the replay ratio turns agent steps into updates."""
        q_learning, recipe = self.recipe.q_learning, self.recipe
        learned_from = max(0, self.config.online_steps - q_learning.min_replay_size)
        return StageTargets(
            teacher_steps=self._teacher_steps,
            offline_updates=recipe.offline_updates,
            online_updates=learned_from // q_learning.update_period,
        )

    @property
    def _teacher_steps(self) -> int:
        """What the teacher's table is to hold."""
        if self.recipe.offline_updates == 0:
            # Data nobody would learn from is neither played nor read.
            return 0
        if self.data is None:
            return self.config.teacher_steps
        return min(self.config.teacher_steps, self.data.transitions, self.config.replay_capacity)

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
                "name": self.card.name,
                "mean_return": self.teacher_return,
                "parameters_sha256": self.card.parameters_sha256,
                "data_fingerprint": self.data.fingerprint if self.data is not None else None,
            },
            "random_return": self.random_return,
            "budgets": dataclasses.asdict(self.targets)
            | {"online_steps": self.config.online_steps},
        }
        return json.dumps(content, indent=1)

    def teacher_config(self, *, port: int, metrics_port: int) -> TeacherConfig:
        """Settings of the teacher service."""
        teacher = self.config.teacher
        return TeacherConfig(
            models=one_model(
                teacher.checkpoint,
                checkpoint_number=teacher.checkpoint_number,
                game=teacher.game,
                output=teacher.output,
                temperature=teacher.temperature,
                hints=teacher.hints,
            ),
            port=port,
            metrics_port=metrics_port,
        )

    @property
    def layout(self) -> ItemLayout:
        """Shapes of what replay holds."""
        return ItemLayout(
            frame_shape=self.spec.frame_shape,
            stack_size=self.spec.stack_size,
            n_step=self.recipe.q_learning.n_step,
            num_actions=self.spec.num_actions,
        )

    def replay_config(self, run: Path, *, port: int) -> ReplayConfig:
        """Settings of the replay server; restores the run's newest commit."""
        q_learning = self.recipe.q_learning
        commit = newest_commit(run)
        return ReplayConfig(
            layout=self.layout,
            checkpoint_root=run / "replay",
            teacher_capacity=self.config.replay_capacity,
            student_capacity=self.config.replay_capacity,
            min_student_size=q_learning.min_replay_size,
            samples_per_insert=samples_per_insert(
                batch_size=q_learning.batch_size, update_period=q_learning.update_period
            ),
            # Sixteen batches: enough for what is fetched ahead, small beside any run.
            error_buffer=16.0 * q_learning.batch_size,
            port=port,
            restore_from=commit.replay if commit is not None else None,
        )

    def importer_config(
        self, run: Path, *, replay_address: str, teacher_address: str
    ) -> PreloadConfig:
        """Settings of the importer.

        Raises:
            UserError: this run has no recorded data to import.
        """
        if self.data is None or self.targets.teacher_steps == 0:
            raise UserError(
                "there is nothing to import: give --teacher.data, with a method that has offline "
                "updates"
            )
        labels = self.config.teacher.labels
        return PreloadConfig(
            data=self.data,
            transitions=self.targets.teacher_steps,
            layout=self.layout,
            run=run,
            labels=Path(labels) if labels is not None else None,
            teacher=self.card,
            replay_address=replay_address,
            teacher_address=teacher_address,
        )

    def learner_config(self, run: Path, *, replay_address: str, port: int) -> LearnerConfig:
        """Settings of the learner."""
        config = self.config
        return LearnerConfig(
            run=run,
            method=config.method,
            network=config.network,
            spec=self.spec,
            targets=self.targets,
            random_return=self.random_return,
            teacher_return=self.teacher_return,
            seed=config.seed,
            replay_address=replay_address,
            port=port,
            publish_period_updates=config.publish_period_updates,
            offline_evaluation_period=config.offline_evaluation_period,
            online_evaluation_period=config.online_evaluation_period,
            checkpoint_period_seconds=config.checkpoint_period_seconds,
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
            teacher_plays=self.data is None,
        )

    def process_environment(self, role: str) -> dict[str, str]:
        """Environment variables of a role's process when all share one machine.

        Actors and the evaluator run small batches, which threads only slow down; they and the
        importer stay off the GPU, which learner and teacher share.
        """
        variables = {"TF_CPP_MIN_LOG_LEVEL": "2", "XLA_PYTHON_CLIENT_MEM_FRACTION": "0.4"}
        if role in ("actor", "evaluator", "importer"):
            variables |= {
                "JAX_PLATFORMS": "cpu",
                "XLA_FLAGS": "--xla_cpu_multi_thread_eigen=false",
            }
        return variables


def resolve(config: ExperimentConfig) -> Experiment:
    """Look everything up that a config names, and check that it fits together.

    Raises:
        UserError: teacher, game or recorded data missing, or of different actions or observations.
    """
    try:
        card = _teacher_card(config.teacher)
        environment = make_environment(config.environment, 1)
        spec = environment.spec
        environment.close()
        experiment = Experiment(
            config=_with_teacher_temperature(config, card),
            spec=spec,
            card=card,
            random_return=random_return(config.environment),
        )
    except (ValueError, OSError) as error:
        raise UserError(str(error)) from error
    _check_teacher_fits(card, spec)
    _check_scale(experiment)
    _check_budgets(experiment)
    return dataclasses.replace(experiment, data=_recorded_data(experiment))


def _recorded_data(experiment: Experiment) -> RecordedData | None:
    """The data that the teacher's table is to be filled from."""
    teacher = experiment.config.teacher
    if teacher.data is None or experiment.targets.teacher_steps == 0:
        return None
    data = look_at(locate(teacher.data), teacher.data_number, experiment.layout)
    if teacher.labels is not None:
        check_labels(
            Path(teacher.labels),
            data_fingerprint=data.fingerprint,
            teacher_sha256=experiment.card.parameters_sha256,
        )
    return data


def _teacher_card(teacher: TeacherChoice) -> TeacherCard:
    return load_card(
        teacher.checkpoint,
        checkpoint_number=teacher.checkpoint_number,
        game=teacher.game,
        output=teacher.output,
        temperature=teacher.temperature,
        hints=teacher.hints,
    )


def _with_teacher_temperature(config: ExperimentConfig, card: TeacherCard) -> ExperimentConfig:
    """Logits are softened as their policy has it, unless the user says otherwise."""
    method = config.method
    if not isinstance(method, QDaggerConfig) or method.teacher_temperature is not None:
        return config
    told = dataclasses.replace(method, teacher_temperature=card.temperature)
    return dataclasses.replace(config, method=told)


def _check_teacher_fits(card: TeacherCard, spec: EnvironmentSpec) -> None:
    if card.num_actions != spec.num_actions:
        raise UserError(
            f"teacher {card.name} ({card.game}) has {card.num_actions} actions, {spec.name} has "
            f"{spec.num_actions}: choose a teacher of this game"
        )
    if tuple(card.observation_shape) != spec.observation_shape:
        raise UserError(
            f"teacher {card.name} sees observations {tuple(card.observation_shape)}, {spec.name} "
            f"shows {spec.observation_shape}: choose a teacher of this game"
        )
    if card.observation_dtype != "uint8":
        raise UserError(
            f"teacher {card.name} sees {card.observation_dtype}, {spec.name} shows uint8: choose a "
            "teacher that takes the pixels as they are"
        )
    # Many games have as many actions as another; a teacher that says its game is held to it.
    if card.game != UNKNOWN_GAME and name_key(card.game) != name_key(spec.name):
        raise UserError(
            f"teacher {card.name} plays {card.game}, not {spec.name}: choose a teacher of this game"
        )


def _check_scale(experiment: Experiment) -> None:
    """Scores are measured from random to teacher: the teacher must be the better one."""
    known = experiment.teacher_return
    if known is not None and known <= experiment.random_return:
        raise UserError(
            f"the teacher returns {known}, no more than the random policy's "
            f"{experiment.random_return}: there is no scale to measure a student on; choose "
            "another teacher"
        )


def _check_budgets(experiment: Experiment) -> None:
    try:
        targets = experiment.targets
    except ValueError as error:
        raise UserError(str(error)) from error
    if targets.online_updates == 0:
        raise UserError(
            f"online_steps {experiment.config.online_steps} leave nothing to learn from after "
            f"min_replay_size {experiment.recipe.q_learning.min_replay_size}: raise the former"
        )
    _check_capacity(experiment)


def _check_capacity(experiment: Experiment) -> None:
    capacity = experiment.config.replay_capacity
    min_replay_size = experiment.recipe.q_learning.min_replay_size
    if capacity < min_replay_size:
        raise UserError(
            f"replay_capacity {capacity} is less than min_replay_size {min_replay_size}: replay "
            "would never be learned from; raise the former"
        )


def _known_return(experiment: Experiment) -> str:
    known = experiment.teacher_return
    return "to be scored first" if known is None else f"mean return {known:.2f}"


def describe(experiment: Experiment) -> dict[str, Any]:
    """The facts a user wants to see before a run starts."""
    config, targets = experiment.config, experiment.targets
    return {
        "method": experiment.recipe.name,
        "game": experiment.spec.name,
        "teacher": f"{experiment.card.name}, {_known_return(experiment)}",
        "student": f"{config.network.name} {config.network.features}",
        "teacher steps": targets.teacher_steps,
        **({"teacher data": experiment.data.path} if experiment.data is not None else {}),
        "offline updates": targets.offline_updates,
        "online steps": config.online_steps,
    }

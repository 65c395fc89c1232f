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
from rrl_agents.reincarnation.recipe import Recipe
from rrl_agents.reincarnation.registry import MethodConfig, make_recipe
from rrl_agents.reincarnation.terms import DistillationConfig
from rrl_agents.students.config import StudentConfig
from rrl_agents.types import EnvironmentSpec, Progress, Stage
from services.actor.config import ActorConfig
from services.evaluator.config import EvaluationProtocol, EvaluatorConfig
from services.learner.checkpointing import newest_commit
from services.learner.config import InitialCheckpoint, LearnerConfig
from services.learner.stages import StageTargets
from services.library.catalogue import locate
from services.replay.config import PreloadConfig, ReplayConfig, samples_per_insert
from services.replay.item_layout import ItemLayout
from services.replay.labels import check_labels
from services.replay.recorded_data import RecordedData, look_at
from services.replay.table_names import STUDENT_TABLE, TEACHER_TABLE
from services.shared.errors import UserError
from services.teacher.cards import load_card
from services.teacher.config import TeacherConfig, one_model

VIDEO_FILE = "metrics/student.gif"

_PERIODS = (
    "offline_evaluation_period",
    "online_evaluation_period",
    "checkpoint_period_seconds",
    "publish_period_updates",
    "weights_period_seconds",
)


@dataclasses.dataclass(frozen=True, kw_only=True)
class TeacherChoice:
    """Whom the student learns from, and is measured against.

    Attributes:
        checkpoint: Name of the catalogue, teacher directory, Dopamine checkpoint directory, ONNX
            file, or a Python policy as `module:factory`; None for no teacher at all, where a method
            needs none: `mean_return` is then what 1 stands for on the scale of scores.
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

    checkpoint: str | None = "pong_dqn"
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
        network: The student's architecture; the teacher's own where the method goes on from its
            weights.
        student: How it learns beside its architecture: double Q-learning, priorities, augmentation.
        teacher: Whom it learns from.
        teacher_steps: Agent steps the teacher plays into its table first; not played where nothing
            is learned from it. With recorded data, the most that are taken of it, the newest;
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
        weights_period_seconds: Time between an actor's looks for them.
        pause_for_evaluation: Whether updates wait for each evaluation that is due: curves are then
            complete, and weaning does not depend on how fast evaluations are.
        seed: Of weights, behaviour and evaluation.
    """

    method: MethodConfig
    environment: EnvironmentConfig = EnvironmentConfig()
    network: NetworkConfig = NetworkConfig()
    student: StudentConfig = StudentConfig()
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
    weights_period_seconds: float = 1.0
    pause_for_evaluation: bool = False
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
                "mean_return": self.teacher_return,
                "parameters_sha256": self.card.parameters_sha256 if self.card is not None else None,
                "data_fingerprint": self.data.fingerprint if self.data is not None else None,
            },
            "random_return": self.random_return,
            "budgets": dataclasses.asdict(self.targets)
            | {"online_steps": self.config.online_steps},
        }
        return json.dumps(content, indent=1)

    def teacher_config(
        self, *, port: int, metrics_port: int | None, backend: str = "auto"
    ) -> TeacherConfig:
        """Settings of the teacher service.

        Raises:
            UserError: this run has no teacher.
        """
        teacher = self.config.teacher
        return TeacherConfig(
            models=one_model(
                _named(teacher),
                checkpoint_number=teacher.checkpoint_number,
                game=teacher.game,
                output=teacher.output,
                temperature=teacher.temperature,
                hints=teacher.hints,
            ),
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
        )

    def replay_config(self, run: Path, *, port: int) -> ReplayConfig:
        """Settings of the replay server; restores the run's newest commit."""
        q_learning = self.recipe.q_learning
        commit = newest_commit(run)
        online = Progress(random_return=self.random_return, stage=Stage.ONLINE)
        own_share = 1.0 - self.recipe.teacher_share(online)
        return ReplayConfig(
            layout=self.layout,
            checkpoint_root=run / "replay",
            teacher_capacity=self.config.replay_capacity,
            student_capacity=self.config.replay_capacity,
            min_student_size=self._reloaded_steps + q_learning.min_replay_size,
            samples_per_insert=own_share
            * samples_per_insert(
                batch_size=q_learning.batch_size, update_period=q_learning.update_period
            ),
            student_priority_exponent=self.config.student.priority_exponent,
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
        if self.data is None or self.card is None or self.targets.teacher_steps == 0:
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
            table=STUDENT_TABLE if self.recipe.reloads_data else TEACHER_TABLE,
        )

    def learner_config(self, run: Path, *, replay_address: str, port: int) -> LearnerConfig:
        """Settings of the learner."""
        config, teacher = self.config, self.config.teacher
        return LearnerConfig(
            run=run,
            method=config.method,
            network=config.network,
            student=config.student,
            initial_checkpoint=InitialCheckpoint(
                path=locate(_named(teacher)),
                number=teacher.checkpoint_number,
                game=teacher.game,
                hints=teacher.hints,
            )
            if self.recipe.initial_weights == "teacher"
            else None,
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
            teacher_plays=self.data is None,
            weights_period_seconds=self.config.weights_period_seconds,
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
            config=_with_teachers_part(config, card),
            spec=spec,
            card=card,
            random_return=random_return(config.environment),
        )
    except (ValueError, OSError) as error:
        raise UserError(str(error)) from error
    _check_teacher_fits(card, experiment)
    _check_scale(experiment)
    _check_budgets(experiment)
    return dataclasses.replace(experiment, data=_recorded_data(experiment))


def _recorded_data(experiment: Experiment) -> RecordedData | None:
    """The data that the teacher's table is to be filled from."""
    teacher, recipe = experiment.config.teacher, experiment.recipe
    if teacher.data is None or not (recipe.needs_teacher_data or recipe.reloads_data):
        return None
    data = look_at(locate(teacher.data), teacher.data_number, experiment.layout)
    if teacher.labels is not None:
        assert experiment.card is not None, "a method with a teacher's data has a teacher"
        check_labels(
            Path(teacher.labels),
            data_fingerprint=data.fingerprint,
            teacher_sha256=experiment.card.parameters_sha256,
        )
    return data


def _named(teacher: TeacherChoice) -> str:
    """The teacher that somebody is to play.

    Raises:
        UserError: there is none.
    """
    if teacher.checkpoint is None:
        raise UserError("this run has no teacher: give --teacher.checkpoint")
    return teacher.checkpoint


def _teacher_card(teacher: TeacherChoice) -> TeacherCard | None:
    if teacher.checkpoint is None:
        return None
    return load_card(
        teacher.checkpoint,
        checkpoint_number=teacher.checkpoint_number,
        game=teacher.game,
        output=teacher.output,
        temperature=teacher.temperature,
        hints=teacher.hints,
    )


def _with_teachers_part(config: ExperimentConfig, card: TeacherCard | None) -> ExperimentConfig:
    """What a method takes from its teacher: the temperature of its logits, its architecture.

    Raises:
        ValueError: the student is to begin with the teacher's weights, no network of ours.
    """
    if card is None:
        return config
    method = config.method
    distillation = getattr(method, "distillation", None)
    if isinstance(distillation, DistillationConfig) and distillation.teacher_temperature is None:
        # Logits are softened as their policy has it, unless the user says otherwise.
        told = dataclasses.replace(distillation, teacher_temperature=card.temperature)
        changes: dict[str, Any] = {"distillation": told}
        config = dataclasses.replace(config, method=dataclasses.replace(method, **changes))
    if make_recipe(method).initial_weights == "teacher":
        if card.network is None:
            raise ValueError(
                f"teacher {card.name} has no network of ours or of Dopamine's, so its weights "
                "cannot be trained on: choose another teacher, or a method like qdagger"
            )
        config = dataclasses.replace(config, network=card.network)
    return config


def _check_teacher_fits(card: TeacherCard | None, experiment: Experiment) -> None:
    spec = experiment.spec
    if card is None:
        if experiment.teacher_return is None or experiment.needs_card:
            raise UserError(
                f"{experiment.recipe.name} is to run without a teacher: choose one with "
                "--teacher.checkpoint, or a method that needs none (tabula_rasa) and "
                "--teacher.mean-return, the return that 1 stands for on the scale of scores"
            )
        return
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
    if card.observation_dtype != spec.frame_dtype:
        raise UserError(
            f"teacher {card.name} sees {card.observation_dtype}, {spec.name} shows "
            f"{spec.frame_dtype}: choose a teacher that takes observations as they are"
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
    config, targets, card = experiment.config, experiment.targets, experiment.card
    return {
        "method": experiment.recipe.name,
        "game": experiment.spec.name,
        "teacher": f"{card.name}, {_known_return(experiment)}" if card is not None else "none",
        "student": f"{config.network.name} {config.network.features}",
        "teacher steps": targets.teacher_steps,
        **({"teacher data": experiment.data.path} if experiment.data is not None else {}),
        "offline updates": targets.offline_updates,
        "online steps": config.online_steps,
    }

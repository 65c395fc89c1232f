"""What a user chooses of a run: method, student, teacher, budgets; the command line fills it in."""

from __future__ import annotations

import dataclasses

from rrl_agents import plugins
from rrl_agents.environments.registry import EnvironmentConfig
from rrl_agents.networks.config import NetworkConfig
from rrl_agents.ranges import check_ranges
from rrl_agents.reincarnation.registry import MethodConfig
from rrl_agents.students.config import StudentConfig
from rrl_agents.typed_json import may_be_missing
from services.evaluator.config import EvaluationProtocol
from services.learner.config import ArithmeticConfig
from services.tracking.tracker import TrackerName


@dataclasses.dataclass(frozen=True, kw_only=True)
class TeacherChoice:
    """Whom the student learns from, and is measured against.

    Attributes:
        checkpoint: A name of `rrl teacher list`, a path (teacher directory, Dopamine agent or one
            of its checkpoints, model of Stable-Baselines3, CleanRL or PyTorch, ONNX file), a URL
            of one, a Python policy as `module:factory`, or several as `ensemble:RULE:A,B` (rules
            mean, values, highest); None for no teacher at all, where a method needs none:
            `mean_return` is then what 1 stands for on the scale of scores.
        address: HOST:PORT of a teacher service that runs already, here or on another machine, in
            the place of `checkpoint`; of replicas all, with commas between. The run then starts no
            teacher.
        mean_return: Its mean return; None takes the card's score, and has the evaluator play the
            teacher where the card has none.
        data: Directory of a Dopamine agent's replay data, or a fetched agent's name, to fill the
            teacher's table from; None has the teacher play.
        data_number: Which checkpoint of the data; the newest when None.
        labels: Folder that `rrl teacher label` made of the data by this teacher, to share between
            runs; None labels what this run takes, in the run's own folder.
        play: Folder of what the teacher plays, to share between runs in one process: the first to
            have played it leaves its table and its evaluation there, whatever their seeds, and the
            others take them. None has the teacher play for each run. Not with `data`.
    """

    checkpoint: str | None = "pong_dqn"
    address: str | None = may_be_missing(None)
    mean_return: float | None = None
    data: str | None = None
    data_number: int | None = None
    labels: str | None = None
    play: str | None = None

    def __post_init__(self) -> None:
        """Refuse two sources of the teacher's table."""
        if self.data is not None and self.play is not None:
            raise ValueError(
                "the teacher's table is filled from teacher.data or by its play (teacher.play): "
                "give one of them"
            )


@dataclasses.dataclass(frozen=True, kw_only=True)
class ExperimentConfig:
    """One run: a method, a student, a teacher and budgets.

    Attributes:
        method: How the teacher is used.
        environment: What is played.
        network: The student's architecture; the teacher's own where the method starts from its
            weights.
        student: How it learns beside its architecture: double Q-learning, priorities, augmentation.
        teacher: Whom it learns from.
        teacher_steps: Agent steps the teacher plays into its table first; not played where nothing
            is learned from it. With recorded data, the most that are taken of it, the newest;
            all of it goes in where this and `replay_capacity` allow.
        collect_epsilon: Probability of a random action while the teacher plays into its table; its
            labels are its own all the same. None for 0.01. Where a state holds the last action, a
            teacher that mostly repeats it teaches that alone: much randomness then shows what it
            does elsewhere.
        online_steps: Agent steps the students play, all actors together.
        evaluation: How students are scored.
        offline_evaluation_period: Updates between two evaluations in the offline stage.
        online_evaluation_period: Updates between two evaluations in the online stage.
        num_actors: Actor processes.
        envs_per_actor: Environments that one actor steps together.
        replay_capacity: Transitions that each table holds, all shards together.
        replay_shards: Replay servers, each with its share of the tables and of the actors.
        checkpoint_period_seconds: Time between two checkpoints; what a kill can cost.
        publish_period_updates: Updates between two publications of weights to the actors.
        weights_period_seconds: Time between an actor's looks for them.
        updates_per_block: Updates that the learner makes at once, on as many batches fetched at
            once; None for 10, and for 1 where replay is prioritised. Weights and priorities go out
            between blocks.
        keeps_teacher_data: Whether the learner keeps the teacher's data in its own memory, each
            frame once, and draws batches there, instead of having replay draw them; None for where
            that takes at most 1 GiB; in one process the tables are in its memory anyway.
        learner: What updates compute in, and on how many devices.
        pause_for_evaluation: Whether updates wait for each evaluation that is due: curves are then
            complete, and weaning does not depend on how fast evaluations are.
        one_process: Whether all roles share one process and one thread, with replay in its memory:
            for small environments, where processes and sockets cost more than the work. All actors
            are then one; results for a seed are the same each time.
        seed: Of weights, behaviour and evaluation.
        track: Where curves, configuration, lineage and the report go: one or several of tensorboard
            (the run's own folder), trackio, wandb and mlflow, each found by its own environment
            variables; the last three are libraries to install.
    """

    method: MethodConfig
    environment: EnvironmentConfig = EnvironmentConfig()
    network: NetworkConfig = NetworkConfig()
    student: StudentConfig = StudentConfig()
    teacher: TeacherChoice = TeacherChoice()
    teacher_steps: int = 1_000_000
    collect_epsilon: float | None = None
    online_steps: int = 2_500_000
    evaluation: EvaluationProtocol = EvaluationProtocol()
    offline_evaluation_period: int = 100_000
    online_evaluation_period: int = 62_500
    num_actors: int = 2
    envs_per_actor: int = 8
    replay_capacity: int = 1_000_000
    replay_shards: int = 1
    checkpoint_period_seconds: float = 300.0
    publish_period_updates: int = 100
    weights_period_seconds: float = 1.0
    updates_per_block: int | None = None
    keeps_teacher_data: bool | None = None
    learner: ArithmeticConfig = ArithmeticConfig()
    pause_for_evaluation: bool = False
    one_process: bool = False
    seed: int = 0
    track: tuple[TrackerName, ...] = ("tensorboard",)

    def __post_init__(self) -> None:
        """Refuse counts without a meaning; the parts refuse the rest."""
        check_ranges(self, "teacher_steps", least=0)
        check_ranges(self, "collect_epsilon", least=0, most=1)
        check_seed(self.seed, "seed")
        check_ranges(
            self,
            *("num_actors", "envs_per_actor", "online_steps", "replay_capacity"),
            "updates_per_block",
            least=1,
        )
        check_ranges(
            self,
            *("offline_evaluation_period", "online_evaluation_period", "publish_period_updates"),
            *("checkpoint_period_seconds", "weights_period_seconds"),
            above=0,
        )
        if not 1 <= self.replay_shards <= min(self.num_actors, self.replay_capacity):
            raise ValueError(
                f"replay_shards is {self.replay_shards}; it must be from 1 to the {self.num_actors}"
                " actors (num_actors), as each shard is filled by actors of its own"
            )
        if self.teacher.play is not None and not self.one_process:
            raise ValueError(
                "teacher.play is for runs in one process: give --one-process, or leave it out"
            )
        if self.one_process and self.replay_shards > 1:
            raise ValueError(
                f"replay_shards is {self.replay_shards}; a run in one process (one_process) has no "
                "replay servers, so give 1"
            )


def allow_named(config: ExperimentConfig) -> None:
    """Let the code of other packages that an experiment names be imported here.

    For an experiment that a user has put together, not for one that was found in a file.
    """
    plugins.allow(config.environment.name, config.environment.game, config.network.name)


def check_seed(seed: int, name: str) -> None:
    """Refuse a number that some generator of a run could not tell from another.

    Raises:
        ValueError: it is not 0 to 2^32 - 1, what JAX's keys hold.
    """
    if not 0 <= seed < 2**32:
        raise ValueError(f"{name} must be 0 to {2**32 - 1}, got {seed}")

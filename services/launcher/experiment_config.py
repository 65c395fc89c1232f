"""The config of a run: method, student, teacher and budgets, as the command line fills it in."""

from __future__ import annotations

import dataclasses

from rrl_agents import plugins
from rrl_agents.environments.registry import EnvironmentConfig
from rrl_agents.networks.config import NetworkConfig
from rrl_agents.ranges import check_ranges
from rrl_agents.reincarnation.registry import MethodConfig
from rrl_agents.students.config import StudentConfig
from services.evaluator.config import EvaluationProtocol
from services.learner.config import ArithmeticConfig
from services.tracking.tracker import TrackerName


@dataclasses.dataclass(frozen=True, kw_only=True)
class TeacherChoice:
    """The teacher that the student learns from and is compared with.

    Attributes:
        checkpoint: A name of `rrl teacher list`, a path (teacher directory, Dopamine agent or one
            of its checkpoints, model of Stable-Baselines3, CleanRL or PyTorch, ONNX file), a URL of
            one, a Python policy as `module:factory`, or several as `ensemble:RULE:A,B` (rules mean,
            values, highest). None for a method that needs no teacher; give `mean_return` then, the
            return that has score 1.
        address: HOST:PORT of a running teacher service, here or on another machine, to use
            instead of `checkpoint`; for replicas, all of them separated by commas. The run then
            starts no teacher service.
        mean_return: The teacher's mean return. None takes it from the teacher's card; if the card
            has no score, the evaluator measures it.
        data: Recorded data to fill the teacher's table with: the directory of a Dopamine agent's
            replay data, or a fetched agent's name. None has the teacher play instead.
        data_number: Number of the checkpoint in `data`; None for the newest.
        labels: Folder with this teacher's labels of `data`, made by `rrl teacher label`, to share
            between runs; None labels the data for this run only, in its own folder.
        play: Folder for the teacher's play, to share between runs with --one-process. The first run
            saves the teacher's table and its evaluation there; the others load them, whatever their
            seeds. None has the teacher play for each run. Cannot be combined with `data`.
    """

    checkpoint: str | None = "pong_dqn"
    address: str | None = None
    mean_return: float | None = None
    data: str | None = None
    data_number: int | None = None
    labels: str | None = None
    play: str | None = None

    def __post_init__(self) -> None:
        """Refuse two sources for the teacher's table."""
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
        environment: The environment that students and teacher play, and its rules.
        network: The student's architecture; a method that starts from the teacher's weights uses
            the teacher's architecture instead.
        student: How the student learns: double Q-learning, priorities, augmentation.
        teacher: The teacher that the student learns from.
        teacher_steps: Agent steps (decisions) that the teacher plays into its replay table before
            training, if the method learns from that table. With recorded data, the most of its
            newest steps to use; `replay_capacity` limits these, too.
        collect_epsilon: Probability of a random action while the teacher plays into its table; None
            for 0.01. Labels are the teacher's scores either way. Raise it if states contain the
            last action and the teacher mostly repeats that: random actions then show what the
            teacher does after other ones.
        online_steps: Agent steps (decisions) that the students play, summed over all actors.
        evaluation: How students are scored.
        offline_evaluation_period: Updates between evaluations in the offline stage.
        online_evaluation_period: Updates between evaluations in the online stage.
        num_actors: Number of actor processes.
        envs_per_actor: Environments that each actor steps in parallel.
        replay_capacity: Most transitions in each table, summed over all shards.
        replay_shards: Number of replay servers; tables and actors are divided among them.
        checkpoint_period_seconds: Seconds between checkpoints; a crash loses at most this much
            work.
        publish_period_updates: Updates between publications of weights to the actors.
        weights_period_seconds: Seconds between an actor's polls for new weights.
        updates_per_block: Updates that the learner makes in one block, for which it fetches all
            batches at once; None for 10, or 1 with prioritised replay. Weights and priorities are
            sent between blocks.
        keeps_teacher_data: Whether the learner keeps the teacher's data in its own memory, each
            frame once, and samples from there instead of from replay. None does so if the data
            takes at most 1 GiB. Ignored with --one-process, where all tables are in memory.
        learner: Precision and devices of the updates.
        pause_for_evaluation: Whether updates wait for each evaluation that is due. Curves are then
            complete, and weaning does not depend on the speed of evaluations.
        one_process: Whether all roles share one process and one thread, with replay in memory: for
            small environments, where communication between processes costs more than the work
            itself. All actors are merged into one, and results depend on the seed only.
        seed: Seed of weights, behaviour and evaluation.
        track: Trackers that get the curves, configuration, lineage and report: any of tensorboard,
            which writes files to the run's folder, trackio, wandb and mlflow. The last three must
            be installed, and are configured by their own environment variables.
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
        """Refuse counts out of range; the parts check the rest."""
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
    """Allow imports of the packages that an experiment names.

    Call it for an experiment that the user has configured, never for one read from a file.
    """
    plugins.allow(config.environment.name, config.environment.game, config.network.name)


def check_seed(seed: int, name: str) -> None:
    """Refuse a seed that some random generator of a run would confuse with another.

    Raises:
        ValueError: it is not in 0 to 2^32 - 1, the range of JAX's keys.
    """
    if not 0 <= seed < 2**32:
        raise ValueError(f"{name} must be 0 to {2**32 - 1}, got {seed}")

"""The job of one process of a run, and the role's config derived from it.

A starter fills in addresses and ports. Everything else comes from the experiment, so that all roles
of a run agree, however each is started.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

from prometheus_client import CollectorRegistry

from rrl_agents.types import Progress, Stage
from rrl_client import ClientSecurity
from services.actor.config import ActorConfig
from services.evaluator.config import EvaluatorConfig
from services.launcher.experiment import VIDEO_FILE, Experiment
from services.launcher.experiment_config import ExperimentConfig
from services.learner.config import LearnerConfig, ShardAddress
from services.library.teacher_references import open_reference
from services.recorded_data.config import ImporterConfig
from services.replay.config import ReplayConfig
from services.replay.table_names import STUDENT_TABLE, TEACHER_TABLE
from services.shared.errors import UserError, user_errors
from services.shared.security.server import SecurityConfig
from services.teacher.config import ModelConfig, TeacherConfig


@dataclasses.dataclass(frozen=True, kw_only=True)
class Job:
    """The job of one process of a run.

    Attributes:
        experiment: The experiment.
        run: Folder of the run; an actor needs none.
        registry: Registry of its metrics page.
        index: Index among several actors or shards, from 0.
        learner_address: "host:port" of the learner; "" for roles that do not need it.
        replay: The shards, in their order.
        teacher_address: Address of the teacher service, as for `TeacherClient`; None without one.
        peers: TLS and credentials for learner and replay; None for plaintext without a token.
        teacher_peers: TLS and credentials for the teacher; None likewise.
        host: Interface to listen on.
        port: Port to listen on; 0 picks a free one.
        control_port: Port of replay's control service; 0 picks a free one.
        metrics_port: Port of the metrics page, for a role that serves its own; None for no page.
        security: TLS and tokens of the server.
        teacher_backend: Backend of the teacher, as in `TeacherConfig`.
        lingers: Whether a finished learner keeps serving until it is stopped.
        on_ready: Called with a line for the user once it serves.
    """

    experiment: Experiment
    run: Path = Path()
    registry: CollectorRegistry = dataclasses.field(default_factory=CollectorRegistry)
    index: int = 0
    learner_address: str = ""
    replay: tuple[ShardAddress, ...] = ()
    teacher_address: str | None = None
    peers: ClientSecurity | None = None
    teacher_peers: ClientSecurity | None = None
    host: str = "127.0.0.1"
    port: int = 0
    control_port: int = 0
    metrics_port: int | None = None
    security: SecurityConfig = SecurityConfig()
    teacher_backend: str = "auto"
    lingers: bool = False
    on_ready: Callable[[str], None] = lambda text: None

    @property
    def shard_folder(self) -> Path:
        """Where this replay shard keeps its files, on its own machine."""
        return self.run / "replay" / f"{self.index:02d}"


def _shared(kind: type[Any], job: Job) -> dict[str, Any]:
    """The fields of a role's config that a job or its experiment has under the same name.

    So a new setting needs a field in `ExperimentConfig` and one in the role's config. The job takes
    precedence over the resolved experiment, which takes precedence over the user's config.
    """
    found: dict[str, Any] = {}
    for source in (job.experiment.config, job.experiment, job):
        names = [field.name for field in dataclasses.fields(kind) if hasattr(source, field.name)]
        found |= {name: getattr(source, name) for name in names}
    return found


def teacher_config(job: Job) -> TeacherConfig:
    """Config of the teacher service."""
    reference = job.experiment.config.teacher.checkpoint
    assert reference is not None, "only a run with a teacher has its process"
    return TeacherConfig(
        models=(ModelConfig(reference=reference),),
        port=job.port,
        metrics_port=job.metrics_port,
        backend=job.teacher_backend,
    )


@user_errors()
def replay_config(job: Job) -> ReplayConfig:
    """Config of one replay shard; the role decides which checkpoint it serves.

    Raises:
        UserError: there is no such shard, or the port is invalid.
    """
    experiment, config = job.experiment, job.experiment.config
    q_learning, shards = experiment.recipe.q_learning, config.replay_shards
    if not 0 <= job.index < shards:
        raise UserError(
            f"there is no replay shard {job.index}: the run has {shards}, counted from 0 "
            "(--replay-shards)"
        )
    # Each shard gets its share of the actors, and of everything they play.
    capacity = -(-config.replay_capacity // shards)
    reloaded_steps = experiment.targets.teacher_steps if experiment.recipe.warm_starts_replay else 0
    online = Progress(random_return=experiment.random_return, stage=Stage.ONLINE)
    own_share = 1.0 - experiment.recipe.teacher_share(online)
    return ReplayConfig(
        layout=experiment.layout,
        checkpoint_root=job.shard_folder / "working",
        teacher_capacity=capacity,
        # Recorded data goes into one shard, the teacher's play into all.
        teacher_steps=-(-experiment.targets.teacher_steps // shards) or None,
        student_capacity=capacity,
        min_student_size=-(-(reloaded_steps + q_learning.min_replay_size) // shards),
        samples_per_insert=own_share * q_learning.batch_size / q_learning.update_period,
        gives_teacher_data_once=bool(config.keeps_teacher_data),
        student_priority_exponent=config.student.priority_exponent,
        error_buffer=float(_batches_out_of_step(config) * q_learning.batch_size),
        port=job.port,
        host=job.host,
    )


def _batches_out_of_step(config: ExperimentConfig) -> int:
    """Batches by which learner and actors may be out of step, few compared with any run.

    Two blocks: one can be sampled at once while actors play for the next.
    """
    return max(16, 2 * (config.updates_per_block or 1))


def importer_config(job: Job) -> ImporterConfig:
    """Config of the importer.

    Raises:
        UserError: this run has no recorded data to import.
    """
    experiment, labels = job.experiment, job.experiment.config.teacher.labels
    if experiment.data is None or experiment.targets.teacher_steps == 0:
        raise UserError(
            "there is nothing to import: give --teacher.data, with a method that has offline "
            "updates"
        )
    own = {
        "transitions": experiment.targets.teacher_steps,
        "labels": Path(labels) if labels is not None else None,
        "teacher": experiment.card,
        "replay_address": _shards(job)[0].data,
        "table": STUDENT_TABLE if experiment.recipe.warm_starts_replay else TEACHER_TABLE,
    }
    return ImporterConfig(**_shared(ImporterConfig, job) | own)


def learner_config(job: Job) -> LearnerConfig:
    """Config of the learner.

    Raises:
        UserError: the run has another number of replay shards.
    """
    own: dict[str, Any] = {
        "replay": _shards(job),
        "initial_teacher": _initial_teacher(job.experiment),
        "arithmetic": job.experiment.config.learner,
    }
    if job.experiment.config.one_process:
        # No other process needs to see that the run is finished.
        own["linger_seconds"] = 0.0
        # The thread plays every due evaluation before the next update.
        own["pause_for_evaluation"] = True
    elif job.lingers:
        own["linger_seconds"] = None
    return LearnerConfig(**_shared(LearnerConfig, job) | own)


def _initial_teacher(experiment: Experiment) -> Path | None:
    """The directory of the teacher whose weights the student starts from."""
    reference = experiment.config.teacher.checkpoint
    if reference is None or experiment.recipe.initial_weights != "teacher":
        return None
    opened = open_reference(reference)
    assert isinstance(opened, Path), "a Python policy has no network, and was refused"
    return opened


@user_errors()
def actor_config(job: Job) -> ActorConfig:
    """Config of one actor, which writes to the shard of its index modulo their number.

    Raises:
        UserError: the run has another number of replay shards, or the index is invalid.
    """
    shards = _shards(job)
    config = job.experiment.config
    own: dict[str, Any] = {
        "num_envs": config.envs_per_actor,
        "replay_address": shards[job.index % len(shards)].data,
        "collect_epsilon": ActorConfig.collect_epsilon,
    }
    if config.collect_epsilon is not None:
        own["collect_epsilon"] = config.collect_epsilon
    return ActorConfig(**_shared(ActorConfig, job) | own)


def evaluator_config(job: Job) -> EvaluatorConfig:
    """Config of the evaluator."""
    config = job.experiment.config
    own = {
        "protocol": config.evaluation,
        "video": job.run / VIDEO_FILE,
        # An evaluation that the learner waits for should begin at once.
        "poll_seconds": 0.05 if config.pause_for_evaluation else 1.0,
    }
    return EvaluatorConfig(**_shared(EvaluatorConfig, job) | own)


def _shards(job: Job) -> tuple[ShardAddress, ...]:
    if job.experiment.config.one_process:
        # Its tables are in the learner's process.
        return (ShardAddress(data="", control=""),)
    shards = job.experiment.config.replay_shards
    if len(job.replay) != shards:
        raise UserError(
            f"{len(job.replay)} replay addresses are given, the run has {shards} replay shards "
            "(--replay-shards)"
        )
    return job.replay

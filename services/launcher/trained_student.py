"""The student of a run as the next teacher: its parameters, and a card of all that the run knows.

RUN/config.json                what was played, with which method and network
RUN/provenance.json            parents, commands, code, hardware
RUN/checkpoints/<newest>/      parameters, optimiser, clocks
RUN/metrics/evaluations.jsonl  scores
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np

from rrl_agents.checkpoints.dopamine_agents.export import TrainingState
from rrl_agents.checkpoints.params_codec import params_hash, params_to_bytes
from rrl_agents.checkpoints.teacher_card import (
    Compute,
    EvaluationScore,
    Parent,
    PlayProtocol,
    Teacher,
    TeacherCard,
)
from rrl_agents.environments.registry import EnvironmentConfig, make_environment
from rrl_agents.networks.registry import initial_params, make_network
from rrl_agents.reincarnation.registry import make_recipe
from rrl_agents.scores import mean_and_interval
from rrl_agents.training.optimiser_config import OptimiserConfig
from rrl_agents.training.train_state import TrainState, initial_train_state
from rrl_agents.types import EnvironmentSpec, Params, Progress, Stage
from services.launcher.provenance import PROVENANCE_FILE, Provenance, read_provenance
from services.launcher.recorded_experiment import RecordedExperiment, read_experiment
from services.learner.checkpoint_records import RunCheckpoint, newest_checkpoint
from services.learner.checkpointing import restore_state
from services.learner.evaluation_records import EvaluationRecord, current_records, read_records
from services.learner.pending_evaluations import EVALUATIONS_FILE
from services.library.export.directory import DopamineCheckpoint
from services.shared.errors import UserError
from services.shared.locks import LEARNER_LOCK, is_locked


@dataclasses.dataclass(frozen=True, kw_only=True)
class TrainedStudent:
    """What a run has made so far.

    Attributes:
        teacher: The student's parameters and card.
        environment: What it plays.
        checkpoint: What it would train on from.
    """

    teacher: Teacher
    environment: EnvironmentConfig
    checkpoint: DopamineCheckpoint


@dataclasses.dataclass(frozen=True, kw_only=True)
class _Run:
    """Everything that is read of a run before its card can be written."""

    experiment: RecordedExperiment
    spec: EnvironmentSpec
    provenance: Provenance
    checkpoint: RunCheckpoint
    records: tuple[EvaluationRecord, ...]

    @property
    def progress(self) -> Progress:
        return self.checkpoint.record.progress

    @property
    def optimiser(self) -> OptimiserConfig:
        return make_recipe(self.experiment.config.method).q_learning.optimiser

    @property
    def sticky_actions(self) -> float:
        return self.experiment.config.environment.sticky_actions


def default_name(run: Path) -> str:
    """What the student of a run is called where nobody says: its method and its folder.

    Raises:
        UserError: it is no run's folder.
    """
    return f"{read_experiment(run).method}-{run.resolve().name}"


def read_student(run: Path, name: str) -> TrainedStudent:
    """Read the student of a run that is finished or stopped.

    Args:
        run: The run's folder; nothing in it is changed.
        name: What the student is to be called.

    Raises:
        UserError: it is no run, is being trained, has no checkpoint yet, is damaged, or was made by
            a version that did not note where runs come from.
    """
    known = _read(run)
    state = _restore(known)
    params: Params = jax.device_get(state.params)
    return TrainedStudent(
        teacher=Teacher(params=params, card=_card(known, name, params)),
        environment=known.experiment.config.environment,
        checkpoint=DopamineCheckpoint(
            training=_training_state(state, known), number=known.checkpoint.number
        ),
    )


def _read(run: Path) -> _Run:
    experiment = read_experiment(run)
    lock = run / LEARNER_LOCK
    # Looking at a lock that is not there would make it.
    if lock.exists() and is_locked(lock):
        raise UserError(f"{run} is being trained; wait for its end, or stop it first")
    checkpoint = newest_checkpoint(run)
    if checkpoint is None:
        raise UserError(f"{run} has no checkpoint yet; go on with the run until it has one")
    provenance = read_provenance(run)
    if provenance is None:
        finished = checkpoint.record.progress.stage is Stage.FINISHED
        remedy = (
            f"it is finished, so starting it notes nothing: restore its {PROVENANCE_FILE}"
            if finished
            else "start it once more with its own command, which notes that"
        )
        raise UserError(f"{run} does not say where it comes from; {remedy}")
    environment = make_environment(experiment.config.environment, 1)
    spec = environment.spec
    environment.close()
    return _Run(
        experiment=experiment,
        spec=spec,
        provenance=provenance,
        checkpoint=checkpoint,
        records=current_records(read_records(run / EVALUATIONS_FILE)),
    )


def _restore(run: _Run) -> TrainState:
    network = make_network(run.experiment.config.network, run.spec.num_actions)
    params = initial_params(network, jax.random.key(0), run.spec.observation_shape)
    template = initial_train_state(params, run.optimiser)
    state: TrainState = restore_state(run.checkpoint, template)
    return state


def _training_state(state: TrainState, run: _Run) -> TrainingState:
    if run.optimiser.name != "adam":
        # Dopamine's agents go on with Adam, which has seen no gradient of this student.
        state = initial_train_state(state.params, OptimiserConfig())._replace(
            target_params=state.target_params
        )
    adam: Any = jax.device_get(state.opt_state)
    return TrainingState(
        target_params=jax.device_get(state.target_params),
        adam_count=int(adam.count),
        adam_mean=adam.mu,
        adam_variance=adam.nu,
        agent_steps=run.progress.actor_steps,
    )


def _card(run: _Run, name: str, params: Params) -> TeacherCard:
    parents = tuple(_scored(parent, run) for parent in run.provenance.parents)
    sessions = run.provenance.sessions
    return TeacherCard(
        name=name,
        game=run.spec.name,
        network=run.experiment.config.network,
        num_actions=run.spec.num_actions,
        observation_shape=run.spec.observation_shape,
        observation_dtype=run.spec.frame_dtype,
        action_meanings=_action_meanings(run.spec, parents),
        algorithm=run.experiment.method,
        protocol=PlayProtocol(
            frames_per_step=run.spec.frames_per_step,
            stack_size=run.spec.stack_size,
            max_episode_steps=run.spec.max_episode_steps,
            sticky_actions=run.sticky_actions,
            reward_clipping=run.experiment.config.environment.clips_rewards,
        ),
        score=_student_score(run),
        random_return=run.experiment.random_return,
        made=_made(run),
        compute=_compute(run),
        command="; ".join(dict.fromkeys(session.command for session in sessions)),
        code_version="; ".join(
            dict.fromkeys(f"{one.code_version} ({', '.join(one.packages)})" for one in sessions)
        ),
        parents=parents,
        parameters_sha256=params_hash(params_to_bytes(params)),
    )


def _action_meanings(spec: EnvironmentSpec, parents: Sequence[Parent]) -> tuple[str, ...]:
    """A parent's: it plays the same game, by the same actions."""
    known = (parent.card.action_meanings for parent in parents)
    return next((names for names in known if len(names) == spec.num_actions), ())


def _compute(run: _Run) -> Compute:
    progress, frames = run.progress, run.spec.frames_per_step
    hardware = dict.fromkeys(session.hardware for session in run.provenance.sessions)
    return Compute(
        environment_frames=progress.actor_steps * frames,
        teacher_frames=progress.teacher_steps * frames,
        gradient_updates=progress.learner_updates,
        hardware_seconds=run.checkpoint.record.seconds,
        hardware="; ".join(hardware),
    )


def _made(run: _Run) -> str:
    progress = run.progress
    stage = progress.stage.name.lower().replace("_", " ")
    state = "finished" if progress.stage is Stage.FINISHED else f"stopped in its {stage} stage"
    data = run.experiment.data_fingerprint
    # Who recorded them is a parent, where it is known; that they were recorded is never silent.
    source = "" if data is None else f"; its teacher's table holds recorded data {data[:16]}"
    return (
        f"the student of a run of {run.experiment.method}, {state} after "
        f"{progress.offline_updates:,} offline and {progress.online_updates:,} online "
        f"updates{source}; settings: {run.experiment.settings}"
    )


def _student_score(run: _Run) -> EvaluationScore | None:
    """That of the very weights where they were evaluated, else the newest before them."""
    progress = run.progress
    students = [
        record
        for record in run.records
        if record.player == "student" and record.learner_updates <= progress.learner_updates
    ]
    if not students:
        return None
    last = students[-1]
    if last.learner_updates == progress.learner_updates:
        which = "these weights, in the run's final evaluation" if last.final else "these weights"
    else:
        which = (
            f"earlier weights, of {last.learner_updates:,} updates: these, of "
            f"{progress.learner_updates:,}, were not evaluated"
        )
    return _score(last.episode_returns, last.epsilon, run.sticky_actions, f"played by {which}")


def _scored(parent: Parent, run: _Run) -> Parent:
    """A teacher whose card has no score gets the one that the run has measured."""
    played = [record for record in run.records if record.player == "teacher"]
    if parent.card.score is not None or "teacher" not in parent.relations or not played:
        return parent
    returns = tuple(value for record in played for value in record.episode_returns)
    note = "played in the run of its student"
    score = _score(returns, played[-1].epsilon, run.sticky_actions, note)
    return dataclasses.replace(parent, card=dataclasses.replace(parent.card, score=score))


def _score(
    returns: tuple[float, ...], epsilon: float, sticky_actions: float, note: str
) -> EvaluationScore:
    mean, low, high = mean_and_interval(returns)
    return EvaluationScore(
        mean_return=mean,
        std_return=float(np.std(returns)),
        episodes=len(returns),
        epsilon=epsilon,
        sticky_actions=sticky_actions,
        interval=(low, high),
        returns=returns,
        note=note,
    )

"""The student of a run as the next teacher: its parameters, and a card of the run's facts.

RUN/config.json                what was played, with which method and network
RUN/provenance.json            parents, commands, code, hardware
RUN/checkpoints/<newest>/      parameters, optimiser, clocks
RUN/metrics/evaluations.jsonl  scores
"""

from __future__ import annotations

import contextlib
import dataclasses
import functools
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
from rrl_agents.environments.registry import make_environment
from rrl_agents.networks.registry import initial_params, make_network
from rrl_agents.reincarnation.registry import make_recipe
from rrl_agents.scores import mean_and_interval
from rrl_agents.training.optimiser_config import OptimiserConfig
from rrl_agents.training.train_state import TrainState, initial_train_state
from rrl_agents.types import EnvironmentSpec, Params, Progress, Stage
from services.launcher.experiment_config import ExperimentConfig
from services.launcher.settings import FoundOut, known_settings, read_experiment
from services.learner.checkpoint_records import RunCheckpoint, checkpoints_of, newest_checkpoint
from services.learner.checkpointing import restore_state
from services.learner.evaluation_records import EvaluationRecord, current_records, read_records
from services.learner.pending_evaluations import EVALUATIONS_FILE
from services.shared.errors import UserError
from services.shared.locks import LEARNER_LOCK, is_locked
from services.shared.run_provenance import PROVENANCE_FILE, Provenance, read_provenance


@dataclasses.dataclass(frozen=True, kw_only=True)
class TrainedStudent:
    """The student of a run, and the run's facts.

    Attributes:
        name: Name of the student.
        config: How it was trained.
        found: Facts that the run determined at its start.
        spec: Spec of the environment it plays.
        provenance: Provenance of the run.
        checkpoint: The run's newest checkpoint.
        state: Content of the checkpoint.
        records: Evaluations of the run.
    """

    name: str
    config: ExperimentConfig
    found: FoundOut
    spec: EnvironmentSpec
    provenance: Provenance
    checkpoint: RunCheckpoint
    state: TrainState
    records: tuple[EvaluationRecord, ...]

    @property
    def progress(self) -> Progress:
        """The run's progress at the checkpoint."""
        return self.checkpoint.record.progress

    def sessions(self, field: str) -> str:
        """The distinct values of one field of its sessions, in order."""
        return "; ".join(dict.fromkeys(getattr(one, field) for one in self.provenance.sessions))

    @functools.cached_property
    def teacher(self) -> Teacher:
        """Its parameters and card."""
        params: Params = jax.device_get(self.state.params)
        return Teacher(params=params, card=_card(self, params))

    @property
    def training(self) -> TrainingState:
        """The state from which a Dopamine agent would continue training."""
        adam: Any = self.state.opt_state
        if make_recipe(self.config.method).q_learning.optimiser.name != "adam":
            # Dopamine's agents continue with a fresh Adam.
            adam = initial_train_state(self.state.params, OptimiserConfig()).opt_state
        adam = jax.device_get(adam)
        return TrainingState(
            target_params=jax.device_get(self.state.target_params),
            adam_count=int(adam.count),
            adam_mean=adam.mu,
            adam_variance=adam.nu,
            agent_steps=self.progress.actor_steps,
            number=self.checkpoint.number,
        )


def default_name(run: Path) -> str:
    """The default name of a run's student: its method and its folder.

    Raises:
        UserError: it is not a run's folder.
    """
    _, found = read_experiment(run)
    return f"{found.method}-{run.resolve().name}"


def read_student(run: Path, name: str, number: int | None = None) -> TrainedStudent:
    """Read the student of a finished or stopped run.

    Args:
        run: The run's folder; nothing in it is changed.
        name: Name for the student.
        number: Number of the checkpoint; None for the newest.

    Raises:
        UserError: it is not a run, is still training, has no checkpoint yet, is damaged, or was
            made by a version that did not record provenance.
    """
    config, found = read_experiment(run)
    lock = run / LEARNER_LOCK
    # `is_locked` would create a missing lock file.
    if lock.exists() and is_locked(lock):
        raise UserError(f"{run} is still training; wait until it ends, or stop it first")
    there = checkpoints_of(run).numbers()
    others = () if number is None else [other for other in there if other != number]
    checkpoint = newest_checkpoint(run, unusable=others)
    if checkpoint is None and number is not None:
        raise UserError(f"{run} has no undamaged checkpoint {number}; there are {there}")
    if checkpoint is None:
        raise UserError(f"{run} has no checkpoint yet; resume the run until it has one")
    provenance = read_provenance(run)
    if provenance is None:
        raise UserError(
            f"{run} does not say where it comes from: restore its {PROVENANCE_FILE}, or, unless it "
            "is finished, start it once more with its own command, which notes that"
        )
    with contextlib.closing(make_environment(config.environment, 1)) as environment:
        spec = environment.spec
    network = make_network(config.network, spec.num_actions)
    params = initial_params(network, jax.random.key(0), spec.observation_shape)
    template = initial_train_state(params, make_recipe(config.method).q_learning.optimiser)
    return TrainedStudent(
        name=name,
        config=config,
        found=found,
        spec=spec,
        provenance=provenance,
        checkpoint=checkpoint,
        state=restore_state(checkpoint, template),
        records=current_records(read_records(run / EVALUATIONS_FILE)),
    )


def _card(run: TrainedStudent, params: Params) -> TeacherCard:
    config, spec, progress = run.config, run.spec, run.progress
    parents = tuple(_scored(parent, run) for parent in run.provenance.parents)
    return TeacherCard(
        name=run.name,
        game=spec.name,
        network=config.network,
        num_actions=spec.num_actions,
        observation_shape=spec.observation_shape,
        observation_dtype=spec.frame_dtype,
        action_meanings=_action_meanings(spec, parents),
        algorithm=run.found.method,
        protocol=PlayProtocol(
            frames_per_step=spec.frames_per_step,
            stack_size=spec.stack_size,
            max_episode_steps=spec.max_episode_steps,
            sticky_actions=config.environment.sticky_actions,
            reward_clipping=config.environment.clips_rewards,
        ),
        score=_student_score(run),
        random_return=run.found.random_return,
        made=_made(run),
        compute=Compute(
            environment_frames=progress.actor_steps * spec.frames_per_step,
            teacher_frames=progress.teacher_steps * spec.frames_per_step,
            gradient_updates=progress.learner_updates,
            hardware_seconds=run.checkpoint.record.seconds,
            hardware=run.sessions("hardware"),
        ),
        command=run.sessions("command"),
        code_version=run.sessions("code"),
        parents=parents,
        parameters_sha256=params_hash(params_to_bytes(params)),
    )


def _action_meanings(spec: EnvironmentSpec, parents: Sequence[Parent]) -> tuple[str, ...]:
    """The action meanings of a parent, which plays the same game with the same actions."""
    known = (parent.card.action_meanings for parent in parents)
    return next((names for names in known if len(names) == spec.num_actions), ())


def _made(run: TrainedStudent) -> str:
    progress, stage = run.progress, run.progress.stage
    state = f"stopped in its {stage.name.lower().replace('_', ' ')} stage"
    data = run.found.teacher.data_fingerprint
    # The recording agent is a parent, if known; that data was recorded is always stated.
    source = "" if data is None else f"; its teacher's table holds recorded data {data[:16]}"
    settings = (
        f"{name.rpartition('.')[2]} {value}"
        for name, value in known_settings(run.config.method).items()
    )
    return (
        f"the student of a run of {run.found.method}, "
        f"{'finished' if stage is Stage.FINISHED else state} after {progress.offline_updates:,} "
        f"offline and {progress.online_updates:,} online updates{source}; "
        f"settings: {', '.join(settings)}"
    )


def _student_score(run: TrainedStudent) -> EvaluationScore | None:
    """The score of these weights if they were evaluated, else the newest score before them."""
    updates = run.progress.learner_updates
    students = (record for record in run.records if record.player == "student")
    played = [record for record in students if record.learner_updates <= updates]
    if not played:
        return None
    note, last = "played by these weights", played[-1]
    if last.learner_updates < updates:
        note = (
            f"played by earlier weights, of {last.learner_updates:,} updates: these, of "
            f"{updates:,}, were not evaluated"
        )
    elif last.final:
        note += ", in the run's final evaluation"
    return _score([last], run, note)


def _scored(parent: Parent, run: TrainedStudent) -> Parent:
    """Give a teacher whose card has no score the one that the run measured."""
    played = [record for record in run.records if record.player == "teacher"]
    if parent.card.score is not None or "teacher" not in parent.relations or not played:
        return parent
    score = _score(played, run, "played in the run of its student")
    return dataclasses.replace(parent, card=dataclasses.replace(parent.card, score=score))


def _score(records: Sequence[EvaluationRecord], run: TrainedStudent, note: str) -> EvaluationScore:
    returns = tuple(value for record in records for value in record.episode_returns)
    mean, low, high = mean_and_interval(returns)
    return EvaluationScore(
        mean_return=mean,
        std_return=float(np.std(returns)),
        episodes=len(returns),
        epsilon=records[-1].epsilon,
        sticky_actions=run.config.environment.sticky_actions,
        interval=(low, high),
        returns=returns,
        note=note,
    )

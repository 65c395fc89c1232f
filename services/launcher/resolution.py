"""Resolves a config: looks up teacher, game and data, and checks that they fit together."""

from __future__ import annotations

import contextlib
import dataclasses
import functools
from pathlib import Path
from typing import Any

import numpy as np

from rrl_agents.checkpoints.teacher_card import UNKNOWN_GAME, TeacherCard
from rrl_agents.environments.game_names import name_key
from rrl_agents.environments.registry import make_environment
from rrl_agents.networks.config import NetworkConfig
from rrl_agents.networks.torsos import NETWORKS
from rrl_agents.reincarnation.registry import make_recipe
from rrl_agents.reincarnation.terms import DistillationConfig, with_distillation
from rrl_agents.scores import check_scale
from rrl_agents.students.config import check_shiftable
from rrl_agents.types import EnvironmentSpec
from rrl_client import ClientSecurity
from services.launcher.experiment import Experiment
from services.launcher.experiment_config import ExperimentConfig, TeacherChoice, allow_named
from services.launcher.random_play import random_return
from services.learner.config import check_divisible
from services.library.catalogue import locate
from services.recorded_data.dataset import RecordedData, check_data
from services.recorded_data.labels import check_labels
from services.shared.errors import user_errors
from services.teacher.policies.loading import load_card

_BLOCK = 10
"""Updates per block."""
_MOST_KEPT_BYTES = 2**30
"""Limit of the teacher's data in the learner's memory: 150,000 steps of Atari."""


def resolve(
    config: ExperimentConfig,
    card: TeacherCard | None = None,
    *,
    teacher_peers: ClientSecurity | None = None,
) -> Experiment:
    """Look up everything that a config names, and check that it fits together.

    Imports the packages that it names, because the user has chosen them.

    Args:
        config: The user's config.
        card: Card of its teacher, for a teacher that does not exist yet; None reads the teacher's
            own.
        teacher_peers: TLS and credentials for the address of a running teacher service; None for
            plaintext without a token.

    Raises:
        UserError: teacher, game or recorded data is missing, or their actions or observations
            differ.
    """
    allow_named(config)
    with user_errors((ValueError, OSError)):
        config = _with_one_teacher(config)
        card = card or _card(config.teacher, teacher_peers)
        with contextlib.closing(make_environment(config.environment, 1)) as environment:
            spec = environment.spec
        if card is not None and card.game == UNKNOWN_GAME:
            # A Dopamine checkpoint does not record its game: assume the one it is to teach.
            card = dataclasses.replace(card, game=spec.name)
        check_shiftable(config.student, spec.observation_shape)
        check_divisible(config.learner, make_recipe(config.method).q_learning.batch_size)
        _check_network(config.network, spec)
        experiment = Experiment(
            config=_with_teachers_part(_with_input_bounds(_with_block(config), spec), card),
            spec=spec,
            card=card,
            random_return=random_return(config.environment).mean,
            teacher_peers=teacher_peers,
        )
        _check_teacher(experiment)
        _check_budgets(experiment)
        return _with_kept_data(dataclasses.replace(experiment, data=_recorded_data(experiment)))


def _with_one_teacher(config: ExperimentConfig) -> ExperimentConfig:
    """The config, without the default checkpoint if a service is the teacher."""
    if config.teacher.address is None:
        return config
    if make_recipe(config.method).initial_weights == "teacher":
        raise ValueError(
            f"{make_recipe(config.method).name} trains the teacher's own weights, which a service "
            "does not hand out: give --teacher.checkpoint in place of --teacher.address"
        )
    served = dataclasses.replace(config.teacher, checkpoint=None)
    return dataclasses.replace(config, teacher=served)


def _card(teacher: TeacherChoice, peers: ClientSecurity | None) -> TeacherCard | None:
    if teacher.address is not None:
        # Imported here: most runs query no service at this point.
        from services.launcher.served_teacher import card_of_service

        return card_of_service(teacher.address, peers)
    return load_card(teacher.checkpoint) if teacher.checkpoint is not None else None


def _recorded_data(experiment: Experiment) -> RecordedData | None:
    """The recorded data to fill the teacher's table."""
    config, recipe = experiment.config, experiment.recipe
    if config.teacher.data is None or not (recipe.needs_teacher_data or recipe.warm_starts_replay):
        return None
    if config.replay_shards > 1:
        raise ValueError(
            f"recorded data goes into one replay server, and the run has {config.replay_shards} "
            "shards: give --replay-shards 1, or have the teacher play"
        )
    data = check_data(locate(config.teacher.data), config.teacher.data_number, experiment.layout)
    if dataclasses.replace(experiment, data=data).targets.teacher_steps < 1:
        raise ValueError(
            f"none of the recorded data in {data.path} would be used: teacher_steps is "
            f"{config.teacher_steps}, replay_capacity {config.replay_capacity}; raise them, the "
            f"latter above min_replay_size {recipe.q_learning.min_replay_size}"
        )
    if config.teacher.labels is not None:
        assert experiment.card is not None, "a method with a teacher's data has a teacher"
        check_labels(
            Path(config.teacher.labels),
            data_fingerprint=data.fingerprint,
            teacher_sha256=experiment.card.parameters_sha256,
        )
    return data


def _with_block(config: ExperimentConfig) -> ExperimentConfig:
    """Set the default number of updates per block, which is fixed.

    Results must not depend on the machine, so nothing is measured. Ten divides the round numbers of
    most periods and budgets; with prioritised replay it is 1, so that priorities are up to date.
    """
    usual = 1 if config.student.priority_exponent > 0.0 else _BLOCK
    return dataclasses.replace(config, updates_per_block=config.updates_per_block or usual)


def _check_network(network: NetworkConfig, spec: EnvironmentSpec) -> None:
    if len(spec.frame_shape) == 1 and not NETWORKS[network.name].takes_vectors:
        raise ValueError(
            f"{spec.name} shows vectors {spec.observation_shape}, and the network {network.name} "
            "takes images: use --student auto, or --student vector_dqn"
        )


def _with_kept_data(experiment: Experiment) -> Experiment:
    """Set the default of where the teacher's data is sampled, which depends on its size only."""
    config = experiment.config
    if config.keeps_teacher_data is not None:
        return experiment
    size = _teacher_data_bytes(experiment)
    # In one process, the tables are in the learner's memory anyway.
    keeps = not config.one_process and 0 < size <= _MOST_KEPT_BYTES
    return dataclasses.replace(
        experiment, config=dataclasses.replace(config, keeps_teacher_data=keeps)
    )


def _teacher_data_bytes(experiment: Experiment) -> int:
    """Memory that the teacher's data would take in the learner."""
    layout = experiment.layout
    step_bytes = layout.row_dtype.itemsize + layout.window * np.dtype(np.int32).itemsize
    # Reloaded recorded data is in the student's table, which replay samples.
    steps = 0 if experiment.recipe.warm_starts_replay else experiment.targets.teacher_steps
    return steps * step_bytes


def _with_input_bounds(config: ExperimentConfig, spec: EnvironmentSpec) -> ExperimentConfig:
    """Set the environment's bounds, by which an MLP rescales vectors, unless the user has."""
    network = config.network
    if not NETWORKS[network.name].is_perceptron or network.input_low or not spec.frame_low:
        return config
    bounded = dataclasses.replace(network, input_low=spec.frame_low, input_high=spec.frame_high)
    return dataclasses.replace(config, network=bounded)


def _with_teachers_part(config: ExperimentConfig, card: TeacherCard | None) -> ExperimentConfig:
    """Set what a method takes from its teacher: the temperature of logits, the architecture.

    Raises:
        ValueError: the student is to start from the teacher's weights, which are not a network of
            ours.
    """
    if card is None:
        return config
    method = with_distillation(config.method, functools.partial(_suited_to, card))
    config = dataclasses.replace(config, method=method)
    if make_recipe(method).initial_weights == "teacher":
        if card.network is None or card.output != "q_values":
            raise ValueError(
                f"teacher {card.name} is not a Q-network of ours or of Dopamine's (it gives "
                f"{card.output}), so its weights cannot be trained on: choose another teacher, or "
                "a method like qdagger"
            )
        config = dataclasses.replace(config, network=card.network)
    return config


def _suited_to(card: TeacherCard, distillation: DistillationConfig) -> DistillationConfig:
    """Settings for a teacher's scores; refuses to regress action values onto logits."""
    if distillation.compares_values and card.output != "q_values":
        raise ValueError(
            f"teacher {card.name} gives {card.output}, and distillation.loss "
            f"{distillation.loss!r} compares action values: use 'kl' or 'best_action', or a "
            "teacher of q_values"
        )
    if distillation.teacher_temperature is not None:
        return distillation
    # Logits have their policy's temperature, unless the user gives another.
    return dataclasses.replace(distillation, teacher_temperature=card.temperature)


def _check_teacher(experiment: Experiment) -> None:
    """Check that the teacher, if any, plays this game, and better than random."""
    card, spec = experiment.card, experiment.spec
    if card is None and (experiment.teacher_return is None or experiment.needs_card):
        raise ValueError(
            f"{experiment.recipe.name} has no teacher: choose one with --teacher.checkpoint, or "
            "use a method that needs none (tabula_rasa) and give --teacher.mean-return, the return "
            "that has score 1"
        )
    if card is not None:
        misfit = card.spec.misfit(
            observation_shape=spec.observation_shape,
            observation_dtype=spec.frame_dtype,
            num_actions=spec.num_actions,
            of=spec.name,
        )
        # Many games have equally many actions; a teacher that records its game must match it.
        if misfit is None and name_key(card.game) != name_key(spec.name):
            misfit = f"plays {card.game}, not {spec.name}"
        if misfit is not None:
            raise ValueError(
                f"teacher {card.name} ({card.game}) {misfit}: choose a teacher of this game that "
                "takes observations as they are"
            )
    # Scores range from random to teacher, so the teacher must be the better one.
    if experiment.teacher_return is not None:
        check_scale(experiment.random_return, experiment.teacher_return)


def _check_budgets(experiment: Experiment) -> None:
    config, recipe, targets = experiment.config, experiment.recipe, experiment.targets
    min_replay_size = recipe.q_learning.min_replay_size
    if targets.online_updates == 0:
        raise ValueError(
            f"online_steps {config.online_steps} leave nothing to learn from after "
            f"min_replay_size {min_replay_size}: raise the former"
        )
    if recipe.needs_teacher_data and targets.teacher_steps == 0:
        raise ValueError(
            f"{recipe.name} learns from the teacher's data, and teacher_steps is 0: raise it"
        )
    if config.replay_capacity < min_replay_size:
        raise ValueError(
            f"replay_capacity {config.replay_capacity} is less than min_replay_size "
            f"{min_replay_size}: replay would never be learned from; raise the former"
        )
    if config.teacher.data is None and targets.teacher_steps > config.replay_capacity:
        raise ValueError(
            f"the teacher would play {targets.teacher_steps} steps (teacher_steps), and its table "
            f"keeps the last {config.replay_capacity} (replay_capacity): raise the latter, or "
            "lower the former"
        )


def describe(experiment: Experiment) -> dict[str, Any]:
    """The facts that a user wants to see before a run starts."""
    config, targets, card = experiment.config, experiment.targets, experiment.card
    known = experiment.teacher_return
    score = "to be scored first" if known is None else f"mean return {known:.2f}"
    return {
        "method": experiment.recipe.name,
        "game": experiment.spec.name,
        "teacher": f"{card.name}, {score}" if card is not None else "none",
        "student": f"{config.network.name} {config.network.features}",
        "teacher steps": targets.teacher_steps,
        "offline updates": targets.offline_updates,
        "online steps": config.online_steps,
    }

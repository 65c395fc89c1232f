"""Translates gin values and the command line into an experiment.

`names.PARAMETERS` maps single parameters to settings; this module handles the rest. Both sides
count in agent steps.
"""

from __future__ import annotations

import dataclasses
import math
from pathlib import Path
from typing import Any

from rrl_agents.checkpoints.find_checkpoint import find_checkpoint
from rrl_agents.environments.game_names import name_key
from rrl_agents.environments.score_tables import random_returns
from rrl_agents.reincarnation.registry import make_recipe
from services.cli.gin.names import AGENTS, DQN_NETWORK, PARAMETERS, RAINBOW, RAINBOW_NETWORK
from services.cli.gin.reading import COMMAND_LINE, Values
from services.evaluator.config import EvaluationProtocol
from services.launcher.experiment_config import ExperimentConfig
from services.launcher.presets import PAPER, PRESETS
from services.launcher.settings import Settings, known_settings, with_settings
from services.shared.errors import UserError, user_errors

PAPER_EVALUATION_STEPS = 125_000
"""Agent steps of one evaluation in the paper; our default number of episodes corresponds to it."""

_GAME = "create_atari_environment.game_name"
_PATH_PARTS = 3

_METHODS = {"dqfd_dqn": "dqfd", "jsrl_dqn": "jsrl", "reloaded_dqn": "fine_tuning"}

# Dopamine's `drq_image_augmentation`: pixels of shift -> scale of brightness.
_INTENSITY_SCALES = {0: 0.0, 4: 0.05}

_PRETRAINS = "create_pretraining_optimizer"
_PRETRAINING_ITERATIONS = "RunnerWithTeacher.num_pretraining_iterations"


def network_parameter(agent: str) -> str:
    """The parameter that gives an agent its network."""
    return RAINBOW_NETWORK if agent == RAINBOW else DQN_NETWORK


def experiment(
    values: Values, agent: str, teacher: Path, number: int | None, *, seed: int
) -> ExperimentConfig:
    """Build an experiment.

    Args:
        values: What the gin files and bindings set.
        agent: Key of `AGENTS`.
        teacher: A Dopamine agent's directory, with `checkpoints` in it, or that itself.
        number: Which checkpoint; the newest when None.
        seed: The run's.

    Raises:
        UserError: an unsupported value, or values that do not fit together.
    """
    offline_updates = _offline_updates(values, agent)
    preset = PRESETS[_method(values, agent, offline_updates)][PAPER]
    known = known_settings(preset)
    settings: dict[str, Any] = {
        **_from_table(values, agent, known),
        **_clocks(values, offline_updates),
        **_evaluation(values),
        **_teacher(values, agent, teacher, number, offline_updates),
        "environment.name": "atari",
        "environment.game": _game(values, teacher),
        "seed": seed,
    }
    settings["student.intensity_scale"] = _INTENSITY_SCALES[settings["student.random_shift"]]
    if agent == RAINBOW:
        settings |= _head(values)
    if agent == "jsrl_dqn":
        steps = values["JSRLAgent.max_roll_in_steps"]
        settings["method.roll_in_steps"] = steps if values["JSRLAgent.roll_in_guide"] else 0
    for name in ("method.wean_steps", "method.weaning.wean_steps"):
        if settings.get(name, 1) <= 0:
            # The released code's never.
            settings[name] = settings["online_steps"]
    if offline_updates > 0:
        _check_stages(values, agent)
    config = with_settings(preset, {name: settings[name] for name in settings if name in known})
    with user_errors():
        # Schedules refuse some numbers that settings allow.
        make_recipe(config.method)
    return config


def _method(values: Values, agent: str, offline_updates: int) -> str:
    """Key of the methods' registry."""
    if agent in _METHODS:
        return _METHODS[agent]
    if agent == "pretrained_dqn":
        mixes = values["PretrainedDQNAgent.teacher_data_ratio"] > 0.0
        return "rehearsal" if mixes else "offline_pretraining"
    method = "qdagger"
    if agent == RAINBOW:
        method = values["QDaggerRainbowAgent.method_type"]
    return "kickstarting" if method == "qdagger" and offline_updates == 0 else method


def _from_table(values: Values, agent: str, known: Settings) -> dict[str, Any]:
    """The settings that follow from one parameter each; also checks those with a single choice."""
    reads = AGENTS[agent]
    if values[network_parameter(agent)] == "impala_cnn":
        reads = (*reads, "ImpalaEncoder")
    read = [name for owner in reads for name in PARAMETERS if name.startswith(f"{owner}.")]
    if agent == RAINBOW:
        # Its losses are a cross-entropy and Huber's, whatever is bound.
        read.remove("JaxDQNAgent.loss_type")
    settings: dict[str, Any] = {}
    for name in read:
        taken = [one for one in PARAMETERS[name].settings if one in known]
        if taken or PARAMETERS[name].choices:
            settings |= dict.fromkeys(taken, values[name])
    return settings


def _head(values: Values) -> Settings:
    if not values["JaxFullRainbowAgent.distributional"]:
        return {"network.head": "values"}
    return {
        "network.head": "categorical",
        "network.kernel_init": "xavier_uniform",
        "network.num_atoms": values["JaxFullRainbowAgent.num_atoms"],
        "network.value_bound": values["JaxFullRainbowAgent.vmax"],
    }


def _offline_updates(values: Values, agent: str) -> int:
    if _PRETRAINS in AGENTS[agent]:
        steps = values["RunnerWithTeacher.num_pretraining_steps"]
        return int(values[_PRETRAINING_ITERATIONS] * steps)
    if values.is_bound(_PRETRAINING_ITERATIONS) and values[_PRETRAINING_ITERATIONS] != 0:
        raise values.refuse(
            _PRETRAINING_ITERATIONS, f"--agent {agent} has no offline stage; give 0"
        )
    return 0


def _clocks(values: Values, offline_updates: int) -> dict[str, Any]:
    iteration_steps = values["Runner.training_steps"]
    iteration_updates = iteration_steps // max(1, values["JaxDQNAgent.update_period"])
    settings: dict[str, Any] = {
        "online_steps": values["Runner.num_iterations"] * iteration_steps,
        "online_evaluation_period": max(1, iteration_updates),
        "method.iteration_steps": iteration_steps,
        "method.offline_updates": offline_updates,
    }
    if offline_updates > 0:
        settings["offline_evaluation_period"] = values["RunnerWithTeacher.num_pretraining_steps"]
    return settings


def _evaluation(values: Values) -> Settings:
    """The number of episodes for the agent steps, in the paper's proportion; at least 1."""
    protocol = EvaluationProtocol()
    steps = values["Runner.evaluation_steps"]
    episodes = {
        f"evaluation.{name}": max(1, math.ceil(of_paper * steps / PAPER_EVALUATION_STEPS))
        for name, of_paper in dataclasses.asdict(protocol).items()
        if name.endswith("episodes")
    }
    final = episodes["evaluation.final_episodes"]
    if steps != PAPER_EVALUATION_STEPS:
        values.notes.append(
            f"Runner.evaluation_steps = {steps}: {episodes['evaluation.episodes']} whole episodes "
            f"per evaluation, {final} in the last one"
        )
    return {**episodes, "evaluation.num_envs": min(protocol.num_envs, final)}


def _teacher(
    values: Values, agent: str, teacher: Path, number: int | None, offline_updates: int
) -> Settings:
    directory = teacher.absolute()
    with user_errors():
        checkpoint = directory if number is None else find_checkpoint(directory, number).file
    settings: dict[str, object] = {"teacher.checkpoint": str(checkpoint)}
    takes_data = agent == "reloaded_dqn" and values["ReloadedDQNAgent.load_replay"]
    if offline_updates > 0:
        takes_data = values["TeacherDQNAgent.load_replay"]
        name = "RunnerWithTeacher.teacher_steps"
        steps = values[name] if values.is_bound(name) or not takes_data else 0
        if takes_data == (steps > 0):
            raise values.refuse(
                name,
                "the teacher's table holds what it recorded or what it plays now; give 0 with "
                "TeacherDQNAgent.load_replay = True, or more with False",
            )
        if not takes_data:
            settings["teacher_steps"] = steps
    if takes_data:
        settings |= {"teacher.data": str(directory), "teacher.data_number": number}
    return settings


def _game(values: Values, teacher: Path) -> str:
    """The game from the command line, else the teacher's path, else the gin files.

    The released files all say 'Pong', whichever game an experiment of the paper uses.
    """
    games = {name_key(game): game for game in random_returns("atari")}
    parts = map(name_key, reversed(teacher.absolute().parts[-_PATH_PARTS:]))
    taught = next((games[part] for part in parts if part in games), None)
    named: str = values[_GAME]
    if named and (taught is None or values.where(_GAME) == COMMAND_LINE):
        return named
    if taught is None:
        raise UserError(
            f"which game? Neither gin nor {teacher} says it: give --gin_bindings "
            f"\"{_GAME} = 'Breakout'\""
        )
    if named and name_key(named) != name_key(taught):
        values.notes.append(
            f"the game is {taught}, which the teacher's directory is named after, and not {named} "
            f"({values.where(_GAME)}); --gin_bindings can say otherwise"
        )
    return taught


def _check_stages(values: Values, agent: str) -> None:
    """Refuse numbers that differ between the stages or their tables where rrl has one for both."""
    same = {"TeacherDQNAgent.update_horizon": "JaxDQNAgent.update_horizon"}
    if agent == RAINBOW:
        for one in ("replay_capacity", "batch_size"):
            same[f"OutOfGraphReplayBuffer.{one}"] = f"OutOfGraphPrioritizedReplayBuffer.{one}"
    if agent == "pretrained_dqn":
        for one in ("centered", "beta1", "beta2", "eps"):
            same[f"create_optimizer.{one}"] = f"{_PRETRAINS}.{one}"
    for name, other in same.items():
        if values[name] != values[other]:
            raise values.refuse(
                name, f"it is the same in both stages here; give {values[other]}, as {other}"
            )

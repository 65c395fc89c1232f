"""From gin's values and the command line to an experiment of ours.

Clocks are agent steps in both.
"""

from __future__ import annotations

import dataclasses
import math
from pathlib import Path
from typing import Any

from rrl_agents.checkpoints.find_checkpoint import find_checkpoint
from rrl_agents.environments.game_names import name_key
from rrl_agents.environments.score_tables import ATARI_RANDOM_RETURNS
from rrl_agents.reincarnation.registry import make_recipe
from services.cli.gin.agents import AGENTS, PRETRAINS, agent_settings, method_of
from services.cli.gin.values import Values
from services.evaluator.config import EvaluationProtocol
from services.launcher.experiment_config import ExperimentConfig
from services.launcher.presets import PAPER, PRESETS
from services.launcher.settings import Settings, known_settings, with_settings
from services.shared.errors import UserError, user_errors

PAPER_EVALUATION_STEPS = 125_000
"""Agent steps of the paper's evaluations, for which our protocol's default episodes stand."""

_GAME = "create_atari_environment.game_name"
_PATH_PARTS = 3


@dataclasses.dataclass(frozen=True, kw_only=True)
class Teacher:
    """Whom the command line names.

    Attributes:
        directory: A Dopamine agent's directory, with `checkpoints` in it, or that itself.
        number: Which checkpoint; the newest when None.
    """

    directory: Path
    number: int | None = None


def experiment(values: Values, agent: str, teacher: Teacher, *, seed: int) -> ExperimentConfig:
    """Put an experiment together.

    Args:
        values: What gin says.
        agent: Key of `AGENTS`.
        teacher: Whom the student learns from.
        seed: The run's.

    Raises:
        UserError: a value that rrl does not do, or values that do not fit together.
    """
    offline_updates = _offline_updates(values, agent)
    preset = PRESETS[method_of(values, agent, offline_updates)][PAPER]
    known = known_settings(preset)
    sticky = values["create_atari_environment.sticky_actions"]
    settings: dict[str, Any] = {
        **agent_settings(values, agent, offline_updates, known),
        **_clocks(values, offline_updates),
        **_evaluation(values),
        **_teacher(values, agent, teacher, offline_updates),
        "environment.name": "atari",
        "environment.sticky_action_probability": 0.25 if sticky else 0.0,
        "environment.game": _game(values, teacher.directory),
        "seed": seed,
    }
    _check_stages(values, agent, offline_updates)
    for name in [name for name in settings if name.startswith("method.")]:
        if name not in known:
            del settings[name]
        elif name.endswith(".wean_steps") and settings[name] <= 0:
            # The released code's never.
            settings[name] = settings["online_steps"]
    config = with_settings(preset, settings)
    with user_errors():
        # Its schedules refuse numbers that are settings all the same.
        make_recipe(config.method)
    return config


def _offline_updates(values: Values, agent: str) -> int:
    name = "RunnerWithTeacher.num_pretraining_iterations"
    if PRETRAINS in AGENTS[agent]:
        return int(values[name] * values["RunnerWithTeacher.num_pretraining_steps"])
    if values.is_bound(name) and values[name] != 0:
        raise values.refuse(name, f"--agent {agent} has no offline stage; give 0")
    return 0


def _clocks(values: Values, offline_updates: int) -> dict[str, Any]:
    iteration_steps = values["Runner.training_steps"]
    settings: dict[str, Any] = {
        "online_steps": values["Runner.num_iterations"] * iteration_steps,
        "online_evaluation_period": max(
            1, iteration_steps // max(1, values["JaxDQNAgent.update_period"])
        ),
        "method.iteration_steps": iteration_steps,
        "method.offline_updates": offline_updates,
    }
    if offline_updates > 0:
        settings["offline_evaluation_period"] = values["RunnerWithTeacher.num_pretraining_steps"]
    return settings


def _evaluation(values: Values) -> Settings:
    """Whole episodes in the place of agent steps, in proportion to the paper's; at least one."""
    protocol = EvaluationProtocol()
    steps = values["Runner.evaluation_steps"]

    def episodes(of_paper: int) -> int:
        return max(1, math.ceil(of_paper * int(steps) / PAPER_EVALUATION_STEPS))

    final = episodes(protocol.final_episodes)
    if steps != PAPER_EVALUATION_STEPS:
        values.note(
            f"Runner.evaluation_steps = {steps} become {episodes(protocol.episodes)} whole "
            f"episodes per evaluation, {final} in the last one ({protocol.episodes} and "
            f"{protocol.final_episodes} stand for {PAPER_EVALUATION_STEPS:,} steps)"
        )
    return {
        "evaluation.episodes": episodes(protocol.episodes),
        "evaluation.final_episodes": final,
        "evaluation.teacher_episodes": episodes(protocol.teacher_episodes),
        "evaluation.num_envs": min(protocol.num_envs, final),
    }


def _teacher(values: Values, agent: str, teacher: Teacher, offline_updates: int) -> Settings:
    directory, number = teacher.directory.absolute(), teacher.number
    with user_errors():
        checkpoint = directory if number is None else find_checkpoint(directory, number).file
    chosen: dict[str, object] = {"teacher.checkpoint": str(checkpoint)}
    data: dict[str, object] = {"teacher.data": str(directory), "teacher.data_number": number}
    if offline_updates == 0:
        reads_data = agent == "reloaded_dqn" and values["ReloadedDQNAgent.load_replay"]
        return chosen | data if reads_data else chosen
    name = "RunnerWithTeacher.teacher_steps"
    if values["TeacherDQNAgent.load_replay"]:
        if values.is_bound(name) and values[name] != 0:
            raise values.refuse(
                name,
                "the teacher's table holds its recorded data or what it plays now; give 0, or "
                "TeacherDQNAgent.load_replay = False",
            )
        return chosen | data
    if values[name] < 1:
        raise values.refuse(
            name, "without TeacherDQNAgent.load_replay nothing else fills the teacher's table"
        )
    return chosen | {"teacher_steps": values[name]}


def _game(values: Values, teacher: Path) -> str:
    """The game: of the command line, else of the teacher's path, else of the gin files.

    The released code's files all say 'Pong', whichever of the paper's games is meant.
    """
    games = {name_key(game): game for game in ATARI_RANDOM_RETURNS}
    parts = map(name_key, reversed(teacher.absolute().parts[-_PATH_PARTS:]))
    taught = next((games[part] for part in parts if part in games), None)
    named: str | None = values[_GAME]
    if named is None and taught is None:
        raise UserError(
            f"which game? Neither gin nor {teacher} says it: give --gin_bindings "
            f"\"{_GAME} = 'Breakout'\""
        )
    if named is not None and (taught is None or values.is_from_command_line(_GAME)):
        return named
    assert taught is not None
    if named is not None and name_key(named) != name_key(taught):
        values.note(
            f"the game is {taught}, which the teacher's directory is named after, and not {named} "
            f"({values.where(_GAME)}); --gin_bindings can say otherwise"
        )
    return taught


def _check_stages(values: Values, agent: str, offline_updates: int) -> None:
    """Refuse numbers that differ between stages, or their tables, where rrl has one of both."""
    same: dict[str, str] = {}
    if offline_updates > 0:
        replay = next(one for one in AGENTS[agent] if one.endswith("ReplayBuffer"))
        same = {
            "TeacherDQNAgent.update_horizon": "JaxDQNAgent.update_horizon",
            "OutOfGraphReplayBuffer.replay_capacity": f"{replay}.replay_capacity",
            "OutOfGraphReplayBuffer.batch_size": f"{replay}.batch_size",
        }
    if agent == "pretrained_dqn":
        numbers = ("centered", "beta1", "beta2", "eps")
        same |= {f"create_optimizer.{one}": f"{PRETRAINS}.{one}" for one in numbers}
    for name, other in same.items():
        if values[name] != values[other]:
            raise values.refuse(
                name, f"it is the same in both stages here; give {values[other]}, as {other}"
            )

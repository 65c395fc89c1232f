"""From gin's values and the command line to an experiment of ours."""

from __future__ import annotations

import dataclasses
import math
from pathlib import Path

from rrl_agents.environments.game_names import name_key
from rrl_agents.environments.score_tables import ATARI_RANDOM_RETURNS
from rrl_agents.reincarnation.registry import make_recipe
from services.cli.gin.agents import Agent
from services.cli.gin.budgets import Budget, budget
from services.cli.gin.methods import method_settings
from services.cli.gin.q_learning import q_learning_settings, replay_capacity
from services.cli.gin.students import student_settings
from services.cli.gin.values import Values
from services.evaluator.config import EvaluationProtocol
from services.launcher.experiment_config import ExperimentConfig
from services.launcher.presets import PAPER, PRESETS
from services.launcher.settings import Settings, with_settings
from services.shared.errors import UserError, user_errors

_GAME = "create_atari_environment.game_name"

PAPER_EVALUATION_STEPS = 125_000
"""Agent steps of the paper's evaluations, for which our protocol's default episodes stand."""

_STICKY_ACTION_PROBABILITY = 0.25
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


def experiment(values: Values, agent: Agent, teacher: Teacher, *, seed: int) -> ExperimentConfig:
    """Put an experiment together.

    Args:
        values: What gin says.
        agent: The released code's.
        teacher: Whom the student learns from.
        seed: The run's.

    Raises:
        UserError: a value that rrl does not do, or values that do not fit together.
    """
    spent = budget(values, agent)
    method, settings = method_settings(values, agent, spent)
    config = with_settings(
        PRESETS[method][PAPER],
        {
            **settings,
            **q_learning_settings(values, agent, spent),
            **student_settings(values, agent),
            **_environment(values, teacher),
            **_evaluation(values),
            **_budgets(values, spent),
            **_teacher(values, agent, teacher, spent),
            "seed": seed,
        },
    )
    with user_errors():
        # Its schedules refuse numbers that are settings all the same.
        make_recipe(config.method)
    return config


def _environment(values: Values, teacher: Teacher) -> Settings:
    sticky = values.flag("create_atari_environment.sticky_actions")
    return {
        "environment.name": "atari",
        "environment.game": _game(values, teacher),
        "environment.sticky_action_probability": _STICKY_ACTION_PROBABILITY if sticky else 0.0,
        "environment.max_episode_steps": values.whole("Runner.max_steps_per_episode"),
    }


def _game(values: Values, teacher: Teacher) -> str:
    """The game: of the command line, else of the teacher's path, else of the gin files.

    The released code's files all say 'Pong', whichever of the paper's games is meant.
    """
    named = values.text(_GAME)
    taught = _game_of_path(teacher.directory)
    if named is None and taught is None:
        raise UserError(
            f"which game? Neither gin nor {teacher.directory} says it: give --gin_bindings "
            f"\"{_GAME} = 'Breakout'\""
        )
    if taught is None or (named is not None and values.is_from_command_line(_GAME)):
        assert named is not None
        return named
    if named is not None and name_key(named) != name_key(taught):
        values.note(
            f"the game is {taught}, which the teacher's directory is named after, and not {named} "
            f"({values.where(_GAME)}); --gin_bindings can say otherwise"
        )
    return taught


def _game_of_path(directory: Path) -> str | None:
    """The game that a directory like Breakout/1 or Breakout/1/checkpoints is named after."""
    games = {name_key(game): game for game in ATARI_RANDOM_RETURNS}
    for part in reversed(directory.absolute().parts[-_PATH_PARTS:]):
        if name_key(part) in games:
            return games[name_key(part)]
    return None


def _evaluation(values: Values) -> Settings:
    """Whole episodes in the place of agent steps, in proportion to the paper's; at least one."""
    protocol = EvaluationProtocol()
    steps = values.whole("Runner.evaluation_steps")

    def episodes(of_paper: int) -> int:
        return max(1, math.ceil(of_paper * steps / PAPER_EVALUATION_STEPS))

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
        "evaluation.epsilon": values.number("JaxDQNAgent.epsilon_eval"),
    }


def _budgets(values: Values, spent: Budget) -> Settings:
    update_period = max(1, values.whole("JaxDQNAgent.update_period"))
    settings: dict[str, object] = {
        "online_steps": spent.online_steps,
        "online_evaluation_period": max(1, spent.iteration_steps // update_period),
    }
    if spent.offline_updates > 0:
        settings["offline_evaluation_period"] = spent.offline_iteration_updates
    return settings


def _teacher(values: Values, agent: Agent, teacher: Teacher, spent: Budget) -> Settings:
    capacity = replay_capacity(values, agent, spent)
    settings: dict[str, object] = {
        "teacher.checkpoint": str(teacher.directory.absolute()),
        "teacher.checkpoint_number": teacher.number,
        "teacher.game": None,
        "replay_capacity": capacity,
        "teacher_steps": capacity,
    }
    if agent.name == "reloaded_dqn":
        reads_data = values.flag("ReloadedDQNAgent.load_replay")
    else:
        reads_data = spent.offline_updates > 0 and values.flag("TeacherDQNAgent.load_replay")
    if reads_data:
        settings["teacher.data"] = str(teacher.directory.absolute())
        settings["teacher.data_number"] = teacher.number
    if spent.offline_updates > 0:
        settings["teacher_steps"] = _teacher_steps(values, capacity, reads_data=reads_data)
    return settings


def _teacher_steps(values: Values, capacity: int, *, reads_data: bool) -> int:
    """Agent steps in the teacher's table: as many as it holds of recorded ones, or played ones."""
    name = "RunnerWithTeacher.teacher_steps"
    if reads_data:
        if values.is_bound(name) and values.whole(name) != 0:
            raise values.refuse(
                name,
                "the teacher's table holds its recorded data or what it plays now; give 0, or "
                "TeacherDQNAgent.load_replay = False",
            )
        return capacity
    steps = values.whole(name)
    if steps < 1:
        raise values.refuse(
            name, "without TeacherDQNAgent.load_replay nothing else fills the teacher's table"
        )
    return steps

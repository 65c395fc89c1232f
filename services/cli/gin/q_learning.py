"""From the released code's agents to the settings that all methods of ours share.

Clocks are agent steps in both. The optimiser is the one that the agent's class makes itself, which
is another where it has an offline stage.
"""

from __future__ import annotations

from services.cli.gin.agents import Agent
from services.cli.gin.budgets import Budget
from services.cli.gin.values import Values
from services.launcher.settings import Settings

ONLINE_OPTIMISER = "create_optimizer"
OFFLINE_OPTIMISER = "create_pretraining_optimizer"

_DOPAMINES_EPSILON = "linearly_decaying_epsilon"

LINEAR_EPSILONS = ("reincarnation_linearly_decaying_epsilon", _DOPAMINES_EPSILON)
"""Schedules along a line: of the released code, without a warm-up, and of Dopamine."""


def q_learning_settings(values: Values, agent: Agent, spent: Budget) -> Settings:
    """Settings that all methods share.

    Raises:
        UserError: a value that rrl does not do.
    """
    n_step = values.whole("JaxDQNAgent.update_horizon")
    _check_teachers_horizon(values, n_step, spent)
    settings = {
        "n_step": n_step,
        "discount": values.number("JaxDQNAgent.gamma"),
        "batch_size": _replay_number(values, agent, spent, "batch_size"),
        "update_period": values.whole("JaxDQNAgent.update_period"),
        "target_update_steps": values.whole("JaxDQNAgent.target_update_period"),
        "min_replay_size": values.whole("JaxDQNAgent.min_replay_history"),
        **_epsilon(values, agent, spent),
        **{f"optimiser.{name}": value for name, value in _optimiser(values, agent).items()},
    }
    return {f"method.q_learning.{name}": value for name, value in settings.items()}


def replay_capacity(values: Values, agent: Agent, spent: Budget) -> int:
    """Transitions that each table holds."""
    return _replay_number(values, agent, spent, "replay_capacity")


def _check_teachers_horizon(values: Values, n_step: int, spent: Budget) -> None:
    name = "TeacherDQNAgent.update_horizon"
    if spent.offline_updates > 0 and values.whole(name) != n_step:
        raise values.refuse(
            name,
            f"both stages have the same n-step returns here; give {n_step}, as "
            "JaxDQNAgent.update_horizon",
        )


def _replay_number(values: Values, agent: Agent, spent: Budget, name: str) -> int:
    """A number of the student's replay, which the teacher's must share where both are used."""
    number = values.whole(f"{agent.replay_buffer}.{name}")
    teachers = f"OutOfGraphReplayBuffer.{name}"
    if spent.offline_updates > 0 and values.whole(teachers) != number:
        raise values.refuse(
            teachers, f"both tables have the same; give {number}, as {agent.replay_buffer}.{name}"
        )
    return number


def _epsilon(values: Values, agent: Agent, spent: Budget) -> Settings:
    """Its numbers; the recipe decides where it begins, and that noisy networks do without it."""
    final = values.number("JaxDQNAgent.epsilon_train")
    decay_steps = values.whole("JaxDQNAgent.epsilon_decay_period")
    settings = {"epsilon_decay_steps": decay_steps, "final_epsilon": final}
    if agent.is_rainbow and values.flag("JaxFullRainbowAgent.noisy"):
        return settings
    schedule = values.reference(
        f"{'JaxFullRainbowAgent' if agent.is_rainbow else agent.base_class}.epsilon_fn"
    )
    if schedule not in LINEAR_EPSILONS:
        return {**settings, "initial_epsilon": final}
    if 0 < spent.offline_updates < decay_steps:
        values.note(
            f"exploration has its final epsilon, {final}, from the first online step; in the "
            f"released code {spent.offline_updates} offline updates are only a part of "
            f"JaxDQNAgent.epsilon_decay_period = {decay_steps}"
        )
    starts_at_one = spent.offline_updates == 0 and agent.name != "reloaded_dqn"
    if schedule == _DOPAMINES_EPSILON and starts_at_one:
        values.note(
            "exploration begins to fall with the first step, in Dopamine's schedule when "
            "JaxDQNAgent.min_replay_history steps are stored"
        )
    return settings


def _optimiser(values: Values, agent: Agent) -> Settings:
    name = values.text("JaxDQNAgent.optimizer")
    if name not in ("adam", "rmsprop"):
        raise values.refuse("JaxDQNAgent.optimizer", "rrl learns with 'adam' or 'rmsprop'")

    def of(optimiser: str) -> Settings:
        return {
            "name": name,
            "centered": values.flag(f"{optimiser}.centered"),
            "beta1": values.number(f"{optimiser}.beta1"),
            "beta2": values.number(f"{optimiser}.beta2"),
            "epsilon": values.number(f"{optimiser}.eps"),
        }

    if not agent.pretrains:
        return of(ONLINE_OPTIMISER)
    offline = of(OFFLINE_OPTIMISER)
    if agent.name == "pretrained_dqn" and of(ONLINE_OPTIMISER) != offline:
        raise values.refuse(
            f"{ONLINE_OPTIMISER}.eps",
            f"the optimiser is the same in both stages; give the numbers of "
            f"{OFFLINE_OPTIMISER}, {offline}",
        )
    return offline

"""From the released code's agents to a method of ours and its own settings.

Learning rates are those that the agent's class asks for: QDagger and DQfD follow
`create_linear_schedule`, offline pre-training has one optimiser per stage.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from services.cli.gin.agents import Agent
from services.cli.gin.budgets import Budget
from services.cli.gin.q_learning import LINEAR_EPSILONS, OFFLINE_OPTIMISER, ONLINE_OPTIMISER
from services.cli.gin.values import Values
from services.launcher.settings import Settings

# The released code's DistillType, and whether only the teacher's best action counts.
_DISTILLATION_LOSSES: Mapping[tuple[int, bool], str] = {
    (1, False): "kl",
    (1, True): "best_action",
    (2, True): "best_action_and_values",
    (3, False): "values",
    (3, True): "values",
}

# Its MethodType.
_QDAGGER_METHODS: Mapping[int, str] = {1: "qdagger", 2: "ql_dagger", 3: "dagger"}


def method_settings(values: Values, agent: Agent, spent: Budget) -> tuple[str, Settings]:
    """The method and its settings, those that all methods share left out.

    Raises:
        UserError: a value that rrl does not do.
    """
    return _METHODS[agent.name](values, agent, spent)


def _until(steps: int, spent: Budget) -> int:
    """When weaning ends; the released code's 0 and -1 are never."""
    return steps if steps > 0 else spent.online_steps


def _qdagger(values: Values, agent: Agent, spent: Budget) -> tuple[str, Settings]:
    own = agent.own_class
    method = _qdagger_or_ablation(values, own) if agent.is_rainbow else "qdagger"
    taught_learning_rate = values.number("create_linear_schedule.initial_lr")
    settings: dict[str, object] = {
        "method.distillation.loss": _distillation_loss(values, agent),
        "method.distillation.temperature": values.number(f"{own}.distill_temperature"),
        "method.distillation.coefficient": values.number(f"{own}.distill_loss_coefficient"),
    }
    offline = {"method.offline_updates": spent.offline_updates}
    if method != "qdagger":
        return method, {**settings, **offline, "method.learning_rate": taught_learning_rate}
    settings |= {
        "method.weaning.wean_steps": _until(values.whole(f"{own}.distill_decay_period"), spent),
        "method.weaning.taught_learning_rate": taught_learning_rate,
        "method.weaning.weaned_learning_rate": values.number("create_linear_schedule.final_lr"),
    }
    return (
        ("kickstarting", settings) if spent.offline_updates == 0 else (method, settings | offline)
    )


def _qdagger_or_ablation(values: Values, own: str) -> str:
    number = values.whole(f"{own}.method_type")
    if number not in _QDAGGER_METHODS:
        raise values.refuse(f"{own}.method_type", f"give one of {_QDAGGER_METHODS}")
    return _QDAGGER_METHODS[number]


def _distillation_loss(values: Values, agent: Agent) -> str:
    own = agent.own_class
    kind = 1 if agent.is_rainbow else values.whole(f"{own}.distill_type")
    chosen = (kind, values.flag(f"{own}.distill_best_action_only"))
    if chosen not in _DISTILLATION_LOSSES:
        raise values.refuse(
            f"{own}.distill_type",
            "give 1 (policy), 3 (values), or 2 (both) with distill_best_action_only = True",
        )
    return _DISTILLATION_LOSSES[chosen]


def _dqfd(values: Values, agent: Agent, spent: Budget) -> tuple[str, Settings]:
    own = agent.own_class
    if not values.flag(f"{own}.use_teacher_actions"):
        raise values.refuse(
            f"{own}.use_teacher_actions", "the expert is the teacher's best action; give True"
        )
    return "dqfd", {
        "method.margin": values.number(f"{own}.margin"),
        "method.margin_form": "max" if values.flag(f"{own}.dqfd_margin") else "mean",
        "method.margin_coefficient": values.number(f"{own}.margin_coefficient"),
        "method.wean_steps": _until(values.whole(f"{own}.decay_period"), spent),
        "method.learning_rate": values.number("create_linear_schedule.initial_lr"),
        "method.offline_updates": spent.offline_updates,
    }


def _jsrl(values: Values, agent: Agent, spent: Budget) -> tuple[str, Settings]:
    own = agent.own_class
    schedule = values.reference(f"{own}.roll_out_decay_fn")
    if schedule not in LINEAR_EPSILONS:
        raise values.refuse(f"{own}.roll_out_decay_fn", "the teacher's share falls along a line")
    guided = values.flag(f"{own}.roll_in_guide")
    roll_in_steps = values.whole(f"{own}.max_roll_in_steps")
    share = values.number(f"{own}.roll_out_guide_prob")
    if not guided and share > 0.0:
        values.note(
            f"the first steps of an episode, up to {roll_in_steps}, which the released code leaves "
            f"to the student where {own}.roll_in_guide is False, belong to the mixture"
        )
    return "jsrl", {
        "method.roll_in_steps": roll_in_steps if guided else 0,
        "method.roll_in_decay": values.number(f"{own}.decay_roll_in_steps"),
        "method.iteration_steps": spent.iteration_steps,
        "method.mixture_share": share,
        "method.mixture_steps": values.whole(f"{own}.roll_out_decay_period"),
        "method.learning_rate": values.number(f"{ONLINE_OPTIMISER}.learning_rate"),
    }


def _pretrained(values: Values, agent: Agent, spent: Budget) -> tuple[str, Settings]:
    own = agent.own_class
    settings = {
        "method.conservative.temperature": values.number(f"{own}.distill_temperature"),
        "method.conservative.coefficient": values.number(f"{own}.cql_coefficient"),
        "method.conservative.offline_learning_rate": values.number(
            f"{OFFLINE_OPTIMISER}.learning_rate"
        ),
        "method.conservative.online_learning_rate": values.number(
            f"{ONLINE_OPTIMISER}.learning_rate"
        ),
        "method.offline_updates": spent.offline_updates,
    }
    share = values.number(f"{own}.teacher_data_ratio")
    if share > 0.0:
        return "rehearsal", {**settings, "method.teacher_data_share": share}
    return "offline_pretraining", settings


def _reloaded(values: Values, agent: Agent, spent: Budget) -> tuple[str, Settings]:
    del agent, spent
    values.note("the optimiser begins anew; a teacher's weights are read, not its moments")
    return "fine_tuning", {
        "method.learning_rate": values.number(f"{ONLINE_OPTIMISER}.learning_rate")
    }


_METHODS: Mapping[str, Callable[[Values, Agent, Budget], tuple[str, Settings]]] = {
    "qdagger_dqn": _qdagger,
    "qdagger_rainbow": _qdagger,
    "dqfd_dqn": _dqfd,
    "pretrained_dqn": _pretrained,
    "jsrl_dqn": _jsrl,
    "reloaded_dqn": _reloaded,
}

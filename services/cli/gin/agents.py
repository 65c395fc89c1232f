"""The released code's agents as methods and students of ours.

`names.SETTINGS` has the settings that take the value of one parameter; here are the others.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from services.cli.gin.names import LINEAR_EPSILONS
from services.cli.gin.values import PARAMETERS, Values
from services.launcher.settings import Settings

_ALL = ("JaxDQNAgent", "Runner", "create_atari_environment")
_DQN = (*_ALL, "OutOfGraphReplayBuffer", "ReincarnationDQNAgent")
_RAINBOW = (
    *_ALL,
    "OutOfGraphPrioritizedReplayBuffer",
    "JaxFullRainbowAgent",
    "ReincarnationRainbowAgent",
)
PRETRAINS = "create_pretraining_optimizer"
"""What an agent reads that has an offline stage."""

_TAUGHT = (PRETRAINS, "create_linear_schedule")

AGENTS: Mapping[str, tuple[str, ...]] = {
    "qdagger_dqn": (*_DQN, *_TAUGHT, "QDaggerDQNAgent"),
    "qdagger_rainbow": (*_RAINBOW, *_TAUGHT, "QDaggerRainbowAgent"),
    "dqfd_dqn": (*_DQN, *_TAUGHT, "DQfDAgent"),
    "pretrained_dqn": (*_DQN, "create_optimizer", PRETRAINS, "PretrainedDQNAgent"),
    "jsrl_dqn": (*_DQN, "create_optimizer", "JSRLAgent"),
    "reloaded_dqn": (*_DQN, "create_optimizer", "ReloadedDQNAgent"),
}
"""`--agent` -> the classes and functions whose parameters it reads; the last is its own class."""

_RAINBOW_AGENT = "qdagger_rainbow"

# Of the DQN agents, and of the Rainbow.
_NETWORKS = (
    {
        "JAXDQNNetworkWithRepresentations": "nature_cnn",
        "NatureDQNNetwork": "nature_cnn",
        "ImpalaNetworkWithRepresentations": "impala_cnn",
    },
    {"FullRainbowNetwork": "nature_cnn", "ImpalaRainbowNetwork": "impala_cnn"},
)

# Dopamine's `drq_image_augmentation`: pixels, and the scale of brightness.
_AUGMENTATION = (4, 0.05)

# Dopamine's prioritised replay: probabilities and weights by the square root of the loss.
_PRIORITY_EXPONENTS = {"prioritized": 0.5, "uniform": 0.0}

_METHODS = {"dqfd_dqn": "dqfd", "jsrl_dqn": "jsrl", "reloaded_dqn": "fine_tuning"}

# The released code's MethodType.
_QDAGGER_METHODS = {1: "qdagger", 2: "ql_dagger", 3: "dagger"}

# Its DistillType, and whether only the teacher's best action counts.
_DISTILLATION_LOSSES: Mapping[tuple[int, bool], str] = {
    (1, False): "kl",
    (1, True): "best_action",
    (2, True): "best_action_and_values",
    (3, False): "values",
    (3, True): "values",
}


def method_of(values: Values, agent: str, offline_updates: int) -> str:
    """Key of the methods' registry."""
    if agent in _METHODS:
        return _METHODS[agent]
    if agent == "pretrained_dqn":
        mixes = values["PretrainedDQNAgent.teacher_data_ratio"] > 0.0
        return "rehearsal" if mixes else "offline_pretraining"
    method = "qdagger"
    if agent == _RAINBOW_AGENT:
        method = values.chosen("QDaggerRainbowAgent.method_type", _QDAGGER_METHODS)
    return "kickstarting" if method == "qdagger" and offline_updates == 0 else method


def agent_settings(
    values: Values, agent: str, offline_updates: int, known: Settings
) -> dict[str, Any]:
    """Settings of method and student, and those that take the value of one parameter.

    Args:
        values: What gin says.
        agent: Key of `AGENTS`.
        offline_updates: Gradient steps of the offline stage.
        known: Settings that the method has.

    Raises:
        UserError: a value that rrl does not do.
    """
    return {
        **_settings_of_one(values, agent, known),
        **_method_settings(values, agent),
        **_student(values, agent),
        **_epsilon(values, agent, offline_updates),
    }


def _settings_of_one(values: Values, agent: str, known: Settings) -> dict[str, Any]:
    """The settings that take one parameter's value; of several, that of the agent's last class."""
    reads = AGENTS[agent]
    if _network(values, agent) == "impala_cnn":
        reads = (*reads, "ImpalaEncoder")
    deciding = {
        setting: name
        for configurable in reads
        for name, how in PARAMETERS.items()
        if name.startswith(f"{configurable}.")
        for setting in how.settings
        if setting in known
    }
    return {setting: values[name] for setting, name in deciding.items()}


def network_parameter(agent: str) -> str:
    """The parameter that gives an agent its network."""
    return f"Reincarnation{'Rainbow' if agent == _RAINBOW_AGENT else 'DQN'}Agent.network"


def _network(values: Values, agent: str) -> str:
    return values.chosen(network_parameter(agent), _NETWORKS[agent == _RAINBOW_AGENT])


def _method_settings(values: Values, agent: str) -> Settings:
    if agent.startswith("qdagger"):
        return {"method.distillation.loss": _distillation_loss(values, AGENTS[agent][-1])}
    if agent == "dqfd_dqn":
        why = "the expert is the teacher's best action"
        values.chosen("DQfDAgent.use_teacher_actions", {True: None}, why)
        return {"method.margin_form": "max" if values["DQfDAgent.dqfd_margin"] else "mean"}
    if agent == "jsrl_dqn":
        return {"method.roll_in_steps": _roll_in_steps(values)}
    if agent == "reloaded_dqn":
        values.note("the optimiser starts fresh; a teacher's weights are read, not its moments")
    return {}


def _distillation_loss(values: Values, own: str) -> str:
    kind = values[f"{own}.distill_type"] if own == "QDaggerDQNAgent" else 1
    chosen = (kind, values[f"{own}.distill_best_action_only"])
    if chosen not in _DISTILLATION_LOSSES:
        raise values.refuse(
            f"{own}.distill_type",
            "give 1 (policy), 3 (values), or 2 (both) with distill_best_action_only = True",
        )
    return _DISTILLATION_LOSSES[chosen]


def _roll_in_steps(values: Values) -> int:
    why = "the teacher's share falls along a line"
    values.chosen("JSRLAgent.roll_out_decay_fn", dict.fromkeys(LINEAR_EPSILONS), why)
    steps: int = values["JSRLAgent.max_roll_in_steps"]
    if values["JSRLAgent.roll_in_guide"]:
        return steps
    if values["JSRLAgent.roll_out_guide_prob"] > 0.0:
        values.note(
            f"the first steps of an episode, up to {steps}, which the released code leaves to the "
            "student where JSRLAgent.roll_in_guide is False, belong to the mixture"
        )
    return 0


def _student(values: Values, agent: str) -> Settings:
    augmenting = "Reloaded" if agent == "reloaded_dqn" else "Reincarnation"
    kind = "Rainbow" if agent == _RAINBOW_AGENT else "DQN"
    augments = values[f"{augmenting}{kind}Agent.data_augmentation"]
    shift, scale = _AUGMENTATION if augments else (0, 0.0)
    settings: dict[str, Any] = {
        "network.name": _network(values, agent),
        "method.q_learning.optimiser.name": values.chosen(
            "JaxDQNAgent.optimizer", {"adam": "adam", "rmsprop": "rmsprop"}
        ),
        "student.random_shift": shift,
        "student.intensity_scale": scale,
    }
    if agent != _RAINBOW_AGENT:
        _check_loss(values)
        return settings
    priority = values.chosen("JaxFullRainbowAgent.replay_scheme", _PRIORITY_EXPONENTS)
    return {**settings, **_head(values), "student.priority_exponent": priority}


def _check_loss(values: Values) -> None:
    name = "JaxDQNAgent.loss_type"
    if not values.is_bound(name):
        values.note(
            f"the TD loss is Huber's, as in the paper; where {name} is not bound, the released "
            "code squares"
        )
    else:
        values.chosen(name, {"huber": None}, "the TD loss is Huber's")


def _head(values: Values) -> Settings:
    rainbow = "JaxFullRainbowAgent"
    atoms = values[f"{rainbow}.num_atoms"]
    if not values[f"{rainbow}.distributional"]:
        if atoms != 1:
            raise values.refuse(
                f"{rainbow}.num_atoms", "without distributional, give 1, a value each"
            )
        return {"network.head": "values"}
    bound = values[f"{rainbow}.vmax"]
    if values[f"{rainbow}.vmin"] not in (None, -bound):
        raise values.refuse(f"{rainbow}.vmin", "the support is [-vmax, vmax]; leave it out")
    return {
        "network.head": "categorical",
        "network.kernel_init": "xavier_uniform",
        "network.num_atoms": atoms,
        "network.value_bound": bound,
    }


def _epsilon(values: Values, agent: str, offline_updates: int) -> Settings:
    """A constant one; of a line the recipe decides where it begins."""
    name = "ReincarnationDQNAgent.epsilon_fn"
    if agent == _RAINBOW_AGENT:
        if values["JaxFullRainbowAgent.noisy"]:
            return {}
        name = "JaxFullRainbowAgent.epsilon_fn"
    schedule, final = values[name], values["JaxDQNAgent.epsilon_train"]
    decay_steps = values["JaxDQNAgent.epsilon_decay_period"]
    if schedule not in LINEAR_EPSILONS:
        return {"method.q_learning.initial_epsilon": final}
    if 0 < offline_updates < decay_steps:
        values.note(
            f"exploration has its final epsilon, {final}, from the first online step; in the "
            f"released code {offline_updates} offline updates are only a part of "
            f"JaxDQNAgent.epsilon_decay_period = {decay_steps}"
        )
    starts_at_one = offline_updates == 0 and agent != "reloaded_dqn"
    if schedule == "linearly_decaying_epsilon" and starts_at_one:
        values.note(
            "exploration begins to fall with the first step, in Dopamine's schedule when "
            "JaxDQNAgent.min_replay_history steps are stored"
        )
    return {}

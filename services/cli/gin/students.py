"""From the released code's agents to a student: its network and its algorithm."""

from __future__ import annotations

from collections.abc import Mapping

from services.cli.gin.agents import Agent
from services.cli.gin.values import Values
from services.launcher.settings import Settings

_DQN_NETWORKS: Mapping[str, str] = {
    "JAXDQNNetworkWithRepresentations": "nature_cnn",
    "NatureDQNNetwork": "nature_cnn",
    "ImpalaNetworkWithRepresentations": "impala_cnn",
}
_RAINBOW_NETWORKS: Mapping[str, str] = {
    "FullRainbowNetwork": "nature_cnn",
    "ImpalaRainbowNetwork": "impala_cnn",
}

# Dopamine's prioritised replay: probabilities and weights by the square root of the loss.
_PRIORITY_EXPONENTS = {"prioritized": 0.5, "uniform": 0.0}

# Dopamine's `drq_image_augmentation`.
_SHIFT_PIXELS, _INTENSITY_SCALE = 4, 0.05


def student_settings(values: Values, agent: Agent) -> Settings:
    """Settings of network and algorithm.

    Raises:
        UserError: a value that rrl does not do.
    """
    own = _rainbow(values) if agent.is_rainbow else _dqn(values)
    return {
        **own,
        **_network(values, agent),
        **_augmentation(values.flag(f"{agent.augmenting_class}.data_augmentation")),
    }


def _network(values: Values, agent: Agent) -> Settings:
    parameter = f"{agent.base_class}.network"
    known = _RAINBOW_NETWORKS if agent.is_rainbow else _DQN_NETWORKS
    reference = values.reference(parameter)
    if reference not in known:
        choices = ", ".join(f"@{name}" for name in known)
        raise values.refuse(parameter, f"the networks of --agent {agent.name} are {choices}")
    common = {"network.name": known[reference], "network.hidden_units": 512}
    if known[reference] == "nature_cnn":
        return {**common, "network.features": (32, 64, 64), "network.width": 1}
    return {
        **common,
        "network.features": values.wholes("ImpalaEncoder.stack_sizes"),
        "network.width": values.whole("ImpalaEncoder.nn_scale"),
    }


def _dqn(values: Values) -> Settings:
    if not values.is_bound("JaxDQNAgent.loss_type"):
        values.note(
            "the TD loss is Huber's, as in the paper; where JaxDQNAgent.loss_type is not bound, "
            "the released code squares"
        )
    elif values.text("JaxDQNAgent.loss_type") != "huber":
        raise values.refuse("JaxDQNAgent.loss_type", "the TD loss is Huber's; give 'huber'")
    return {
        "network.head": "values",
        "network.dueling": False,
        "network.noisy": False,
        "student.double": False,
        "student.priority_exponent": 0.0,
    }


def _rainbow(values: Values) -> Settings:
    scheme = values.text("JaxFullRainbowAgent.replay_scheme")
    if scheme not in _PRIORITY_EXPONENTS:
        choices = " or ".join(repr(name) for name in _PRIORITY_EXPONENTS)
        raise values.refuse("JaxFullRainbowAgent.replay_scheme", f"give {choices}")
    return {
        **_head(values),
        "network.dueling": values.flag("JaxFullRainbowAgent.dueling"),
        "network.noisy": values.flag("JaxFullRainbowAgent.noisy"),
        "student.double": values.flag("JaxFullRainbowAgent.double_dqn"),
        "student.priority_exponent": _PRIORITY_EXPONENTS[scheme],
        "student.importance_exponent": 0.5,
    }


def _head(values: Values) -> Settings:
    atoms = values.whole("JaxFullRainbowAgent.num_atoms")
    if not values.flag("JaxFullRainbowAgent.distributional"):
        if atoms != 1:
            raise values.refuse(
                "JaxFullRainbowAgent.num_atoms", "without distributional, give 1, a value each"
            )
        return {"network.head": "values"}
    bound = values.number("JaxFullRainbowAgent.vmax")
    if values.optional_number("JaxFullRainbowAgent.vmin") not in (None, -bound):
        raise values.refuse(
            "JaxFullRainbowAgent.vmin", "the support is [-vmax, vmax]; leave it out"
        )
    return {
        "network.head": "categorical",
        "network.kernel_init": "xavier_uniform",
        "network.num_atoms": atoms,
        "network.value_bound": bound,
    }


def _augmentation(wanted: bool) -> Settings:
    return {
        "student.random_shift": _SHIFT_PIXELS if wanted else 0,
        "student.intensity_scale": _INTENSITY_SCALE if wanted else 0.0,
    }

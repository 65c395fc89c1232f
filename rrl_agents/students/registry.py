"""Students by name: a network and the algorithm that trains it, with their papers' numbers.

Each works with every method except fine-tuning, which trains the teacher's network. The method
decides n-step returns, clocks and optimiser.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping

from rrl_agents.networks.config import NetworkConfig
from rrl_agents.students.config import StudentConfig


@dataclasses.dataclass(frozen=True, kw_only=True)
class Student:
    """One entry of the registry.

    Attributes:
        summary: One line for lists.
        network: Its architecture.
        learning: Its algorithm.
    """

    summary: str
    network: NetworkConfig = NetworkConfig()
    learning: StudentConfig = StudentConfig()


_C51 = NetworkConfig(head="categorical", num_atoms=51, value_bound=10.0)
# Dopamine's full Rainbow without its dueling and noisy layers, as in the released code.
_RAINBOW = dataclasses.replace(_C51, kernel_init="xavier_uniform")
_NETWORK_TRAITS = ("name", "head", "dueling", "noisy")
_SWITCHES = ("priority_exponent", "random_shift", "intensity_scale")
_PRIORITISED = StudentConfig(priority_exponent=0.5, importance_exponent=0.5)

STUDENTS: Mapping[str, Student] = {
    "dqn": Student(
        summary="Nature DQN (Mnih et al., 2015)",
    ),
    "double_dqn": Student(
        learning=StudentConfig(double=True),
        summary="DQN with double Q-learning (van Hasselt et al., 2016)",
    ),
    "dueling_dqn": Student(
        network=NetworkConfig(dueling=True),
        summary="DQN with an advantage per action and one value (Wang et al., 2016)",
    ),
    "c51": Student(
        network=_C51,
        summary="51 atoms of return on [-10, 10] per action (Bellemare et al., 2017)",
    ),
    "rainbow": Student(
        network=_RAINBOW,
        learning=_PRIORITISED,
        summary="C51 with prioritised replay: Dopamine's Rainbow (Hessel et al., 2018)",
    ),
    "rainbow_impala": Student(
        network=dataclasses.replace(_RAINBOW, name="impala_cnn", features=(16, 32, 32)),
        learning=_PRIORITISED,
        summary="Rainbow with the residual network of IMPALA (Espeholt et al., 2018)",
    ),
    "noisy_dqn": Student(
        network=NetworkConfig(noisy=True),
        summary="DQN that explores by noise in its weights (Fortunato et al., 2018)",
    ),
    "qr_dqn": Student(
        network=NetworkConfig(head="quantile", num_atoms=200),
        summary="200 quantiles of return per action (Dabney et al., 2018a)",
    ),
    "iqn": Student(
        network=NetworkConfig(head="implicit_quantile", num_atoms=32),
        summary="quantiles of return at levels drawn at random (Dabney et al., 2018b)",
    ),
    "vector_qr_dqn": Student(
        network=NetworkConfig(name="mlp", features=(256, 256), head="quantile", num_atoms=51),
        summary="QR-DQN with 51 quantiles and an MLP, for vectors, e.g. the balloon's",
    ),
    "drq": Student(
        network=NetworkConfig(dueling=True),
        learning=StudentConfig(double=True, random_shift=4, intensity_scale=0.05),
        summary="double dueling DQN on shifted, dimmed images (Kostrikov et al., 2021)",
    ),
    "minatar_dqn": Student(
        network=NetworkConfig(name="small_cnn", features=(16,), hidden_units=128, padding="VALID"),
        summary="DQN with MinAtar's small network (Young and Tian, 2019)",
    ),
    "vector_dqn": Student(
        network=NetworkConfig(name="mlp", features=(512, 512)),
        summary="DQN with Dopamine's network for vectors, e.g. CartPole-v1",
    ),
}
"""Name -> student."""


def traits(network: NetworkConfig, learning: StudentConfig) -> Mapping[str, str]:
    """The settings that distinguish students: name -> value.

    A number only counts as on or off: prioritised replay with another exponent is still Rainbow,
    but with exponent 0 it is C51. Sizes do not count.

    Args:
        network: The student's network.
        learning: How it learns.
    """
    return {
        **{f"network.{name}": str(getattr(network, name)) for name in _NETWORK_TRAITS},
        "student.double": str(learning.double),
        **{f"student.{name}": "above 0" if getattr(learning, name) else "0" for name in _SWITCHES},
    }


def name_of(network: NetworkConfig, learning: StudentConfig) -> str | None:
    """The student of `STUDENTS` with these traits; None if there is none.

    Args:
        network: The network it has.
        learning: How it learns.
    """
    found = (name for name in STUDENTS if not broken_promises(name, network, learning))
    return next(found, None)


def broken_promises(name: str, network: NetworkConfig, learning: StudentConfig) -> tuple[str, ...]:
    """How a student contradicts its name, one text per setting; empty if it does not.

    Args:
        name: Key of `STUDENTS`.
        network: The network it has.
        learning: How it learns.
    """
    found = traits(network, learning)
    return tuple(
        f"{setting} is {found[setting]}, {name} has {value}"
        for setting, value in traits(STUDENTS[name].network, STUDENTS[name].learning).items()
        if found[setting] != value
    )

"""Students by name: a network and the algorithm that trains it, with their papers' numbers.

Any of them learns by any method but fine-tuning, which trains the teacher's network. N-step, clocks
and optimiser are the method's.
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
        network: Its architecture.
        learning: Its algorithm.
        summary: One line for people who choose.
    """

    network: NetworkConfig
    learning: StudentConfig
    summary: str


_C51 = NetworkConfig(head="categorical", num_atoms=51, value_bound=10.0)
# That of Dopamine's full Rainbow without its dueling and noisy layers, as the released code has it.
_RAINBOW = dataclasses.replace(_C51, kernel_init="xavier_uniform")
_PRIORITISED = StudentConfig(priority_exponent=0.5, importance_exponent=0.5)

STUDENTS: Mapping[str, Student] = {
    "dqn": Student(
        network=NetworkConfig(),
        learning=StudentConfig(),
        summary="Nature DQN (Mnih et al., 2015)",
    ),
    "double_dqn": Student(
        network=NetworkConfig(),
        learning=StudentConfig(double=True),
        summary="DQN whose online network chooses the next action (van Hasselt et al., 2016)",
    ),
    "dueling_dqn": Student(
        network=NetworkConfig(dueling=True),
        learning=StudentConfig(),
        summary="DQN with an advantage per action and one value (Wang et al., 2016)",
    ),
    "c51": Student(
        network=_C51,
        learning=StudentConfig(),
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
        summary="that Rainbow with the residual network of IMPALA (Espeholt et al., 2018)",
    ),
    "noisy_dqn": Student(
        network=NetworkConfig(noisy=True),
        learning=StudentConfig(),
        summary="DQN that explores by noise in its weights (Fortunato et al., 2018)",
    ),
    "qr_dqn": Student(
        network=NetworkConfig(head="quantile", num_atoms=200),
        learning=StudentConfig(),
        summary="200 quantiles of return per action (Dabney et al., 2018a)",
    ),
    "iqn": Student(
        network=NetworkConfig(head="implicit_quantile", num_atoms=32),
        learning=StudentConfig(quantile_samples=64),
        summary="quantiles of return at levels drawn at random (Dabney et al., 2018b)",
    ),
    "drq": Student(
        network=NetworkConfig(dueling=True),
        learning=StudentConfig(double=True, random_shift=4, intensity_scale=0.05),
        summary="double dueling DQN on shifted, dimmed images (Kostrikov et al., 2021)",
    ),
    "minatar_dqn": Student(
        network=NetworkConfig(name="small_cnn", features=(16,), hidden_units=128, padding="VALID"),
        learning=StudentConfig(),
        summary="DQN with MinAtar's small network (Young and Tian, 2019)",
    ),
    "vector_dqn": Student(
        network=NetworkConfig(name="mlp", features=(512, 512)),
        learning=StudentConfig(),
        summary="DQN with Dopamine's network for vectors of numbers, e.g. CartPole",
    ),
}
"""Name -> student."""

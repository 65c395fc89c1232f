"""Settings of the optimiser."""

from __future__ import annotations

import dataclasses
from typing import Literal

from rrl_agents.ranges import check_ranges


@dataclasses.dataclass(frozen=True, kw_only=True)
class OptimiserConfig:
    """The optimiser, without its learning rate, which follows a schedule.

    Attributes:
        name: "adam" (Kingma and Ba, 2015), or "rmsprop" (Tieleman and Hinton, 2012), used for DQN
            by Mnih et al., 2015.
        beta1: Adam's decay of the mean of gradients, in [0, 1); ignored by RMSProp.
        beta2: Decay of the mean of squared gradients, in [0, 1); DQN used 0.95 with RMSProp.
        epsilon: Constant in the denominator, above 0: Adam adds it to the root of the second
            moment, RMSProp under the root. Rainbow and the paper use 1.5e-4 with Adam, which is
            large because Q-learning gradients are small.
        centered: Whether RMSProp divides by the standard deviation of gradients, as in DQN, instead
            of their root mean square; ignored by Adam.
    """

    name: Literal["adam", "rmsprop"] = "adam"
    beta1: float = 0.9
    beta2: float = 0.999
    epsilon: float = 1.5e-4
    centered: bool = False

    def __post_init__(self) -> None:
        """Refuse numbers with which learning diverges."""
        check_ranges(self, "beta1", "beta2", least=0, below=1)
        check_ranges(self, "epsilon", above=0)

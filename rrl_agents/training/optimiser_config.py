"""Settings of the optimiser."""

from __future__ import annotations

import dataclasses
from typing import Literal

from rrl_agents.ranges import check_ranges


@dataclasses.dataclass(frozen=True, kw_only=True)
class OptimiserConfig:
    """What turns gradients into steps, without its learning rate, which follows a schedule.

    Attributes:
        name: "adam" (Kingma and Ba, 2015), or "rmsprop" (Tieleman and Hinton, 2012), which Mnih et
            al., 2015, trained DQN with.
        beta1: Adam's decay of the mean of gradients, in [0, 1); RMSProp ignores it.
        beta2: Decay of the mean of squared gradients, in [0, 1); 0.95 was DQN's in RMSProp.
        epsilon: Above 0; added to the root of the second moment by Adam, under the root by RMSProp.
            1.5e-4 is Rainbow's and the paper's for Adam, large because Q-learning gradients are
            small.
        centered: Whether RMSProp divides by the standard deviation of gradients, as DQN's did,
            instead of by their root mean square; Adam ignores it.
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

"""How a student learns by temporal differences, beside what its network is made of."""

from __future__ import annotations

import dataclasses

from rrl_agents.ranges import check_ranges

MAX_SHIFT = 32
"""Upper bound of `random_shift`, pixels: more would hide what is on a screen of 84."""

MAX_QUANTILE_SAMPLES = 1_024
"""Upper bound of `quantile_samples`: a loss has that number squared of pairs for each row."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class StudentConfig:
    """The Q-learning algorithm of a student; its head is the network's.

    Attributes:
        double: Whether the online network chooses the action bootstrapped from, the target network
            its value (van Hasselt et al., 2016, arXiv:1509.06461).
        priority_exponent: Power of a row's TD loss that its probability in replay is proportional
            to (Schaul et al., 2016, arXiv:1511.05952, alpha), in [0, 1]; 0 for uniform replay.
        importance_exponent: beta of the weights (N p)^-beta / max that undo the bias of prioritised
            replay, in [0, 1]; uniform replay ignores it.
        random_shift: Pixels by which training moves images at most, up and down, left and right
            (DrQ; Kostrikov et al., 2021, arXiv:2004.13649); 0 for none.
        intensity_scale: s of training's brightness factor 1 + s * clip(normal, -2, 2), one for each
            row (Schwarzer et al., 2021, arXiv:2007.05929), in [0, 1]; 0 for none.
        quantile_samples: Quantile levels that "implicit_quantile" draws for each row, as many for
            the online as for the target network (Dabney et al., 2018b, N and N'); other heads
            ignore it.
    """

    double: bool = False
    priority_exponent: float = 0.0
    importance_exponent: float = 0.5
    random_shift: int = 0
    intensity_scale: float = 0.0
    quantile_samples: int = 64

    def __post_init__(self) -> None:
        """Refuse numbers without a meaning."""
        check_ranges(
            self, "priority_exponent", "importance_exponent", "intensity_scale", least=0, most=1
        )
        check_ranges(self, "random_shift", least=0, most=MAX_SHIFT)
        check_ranges(self, "quantile_samples", least=1, most=MAX_QUANTILE_SAMPLES)


def check_shiftable(student: StudentConfig, observation_shape: tuple[int, ...]) -> None:
    """Refuse a student that shifts images where there are none.

    Args:
        student: Its settings.
        observation_shape: Of one state; images have (H, W, ..., stack).

    Raises:
        ValueError: With what to do instead.
    """
    if student.random_shift > 0 and len(observation_shape) < 3:
        raise ValueError(
            f"random_shift is {student.random_shift}, but observations of shape "
            f"{observation_shape} are no images; set it to 0"
        )

"""The Q-learning algorithm of a student, apart from its network."""

from __future__ import annotations

import dataclasses

from rrl_agents.ranges import check_ranges

MAX_SHIFT = 32
"""Upper bound of `random_shift`, pixels: more would hide the content of an 84-pixel screen."""

MAX_QUANTILE_SAMPLES = 1_024
"""Upper bound of `quantile_samples`: a row's loss has this number squared of pairs."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class StudentConfig:
    """The Q-learning algorithm of a student; the network decides the head.

    Attributes:
        double: Double Q-learning: whether the online network chooses the bootstrap action and the
            target network gives its value (van Hasselt et al., 2016, arXiv:1509.06461).
        priority_exponent: Exponent alpha of prioritised replay, in [0, 1]: a row's probability is
            proportional to its TD loss to this power (Schaul et al., 2016, arXiv:1511.05952); 0 for
            uniform replay.
        importance_exponent: Exponent beta of the importance weights (N p)^-beta / max, which
            correct the bias of prioritised replay, in [0, 1]; ignored with uniform replay.
        random_shift: Largest random shift of training images in each direction, in pixels (DrQ;
            Kostrikov et al., 2021, arXiv:2004.13649); 0 for none.
        intensity_scale: Scale s, in [0, 1], of the random brightness factor of training images,
            which is 1 + s * clip(normal, -2, 2), one per row (Schwarzer et al., 2021,
            arXiv:2007.05929); 0 for none.
        quantile_samples: Quantile levels that "implicit_quantile" draws per row, for the online and
            for the target network each (Dabney et al., 2018b, N and N'); ignored by other heads.
    """

    double: bool = False
    priority_exponent: float = 0.0
    importance_exponent: float = 0.5
    random_shift: int = 0
    intensity_scale: float = 0.0
    quantile_samples: int = 64

    def __post_init__(self) -> None:
        """Refuse numbers out of range."""
        check_ranges(
            self, "priority_exponent", "importance_exponent", "intensity_scale", least=0, most=1
        )
        check_ranges(self, "random_shift", least=0, most=MAX_SHIFT)
        check_ranges(self, "quantile_samples", least=1, most=MAX_QUANTILE_SAMPLES)


def check_shiftable(student: StudentConfig, observation_shape: tuple[int, ...]) -> None:
    """Refuse a student that shifts images if observations are not images.

    Args:
        student: Its settings.
        observation_shape: Shape of one state; images have (H, W, ..., stack).

    Raises:
        ValueError: When they are not images.
    """
    if student.random_shift > 0 and len(observation_shape) < 3:
        raise ValueError(
            f"random_shift is {student.random_shift}, but observations of shape "
            f"{observation_shape} are not images; set it to 0"
        )

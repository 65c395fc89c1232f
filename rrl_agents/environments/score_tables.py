"""Returns of the uniformly random policy, the zero of every normalised score.

Undiscounted sums of raw rewards per episode, mean over episodes.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping

ATARI_STICKY_ACTION_PROBABILITY = 0.25
"""Probability with which the emulator repeats the last action instead of taking the new one."""

ATARI_EPISODE_STEPS = 27_000
"""Decisions after which Dopamine and the papers cut an episode off: half an hour of play."""

MINATAR_STICKY_ACTION_PROBABILITY = 0.1
"""The same of MinAtar."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class MeasuredReturn:
    """A mean return that was measured here, by whole episodes.

    Attributes:
        mean: Of the episodes' returns.
        standard_error: Of that mean: standard deviation of the returns over the root of episodes.
        episodes: How many were played.
        longest_episode: Decisions of the longest of them.
    """

    mean: float
    standard_error: float
    episodes: int
    longest_episode: int


ATARI_RANDOM_RETURNS: Mapping[str, float] = {
    "Alien": 227.8,
    "Amidar": 5.8,
    "Assault": 222.4,
    "Asterix": 210.0,
    "Asteroids": 719.1,
    "Atlantis": 12850.0,
    "BankHeist": 14.2,
    "BattleZone": 2360.0,
    "BeamRider": 363.9,
    "Berzerk": 123.7,
    "Bowling": 23.1,
    "Boxing": 0.1,
    "Breakout": 1.7,
    "Centipede": 2090.9,
    "ChopperCommand": 811.0,
    "CrazyClimber": 10780.5,
    "Defender": 2874.5,
    "DemonAttack": 152.1,
    "DoubleDunk": -18.6,
    "Enduro": 0.0,
    "FishingDerby": -91.7,
    "Freeway": 0.0,
    "Frostbite": 65.2,
    "Gopher": 257.6,
    "Gravitar": 173.0,
    "Hero": 1027.0,
    "IceHockey": -11.2,
    "Jamesbond": 29.0,
    "Kangaroo": 52.0,
    "Krull": 1598.0,
    "KungFuMaster": 258.5,
    "MontezumaRevenge": 0.0,
    "MsPacman": 307.3,
    "NameThisGame": 2292.3,
    "Phoenix": 761.4,
    "Pitfall": -229.4,
    "Pong": -20.7,
    "PrivateEye": 24.9,
    "Qbert": 163.9,
    "Riverraid": 1338.5,
    "RoadRunner": 11.5,
    "Robotank": 2.2,
    "Seaquest": 68.4,
    "Skiing": -17098.1,
    "Solaris": 1236.3,
    "SpaceInvaders": 148.0,
    "StarGunner": 664.0,
    "Surround": -10.0,
    "Tennis": -23.8,
    "TimePilot": 3568.0,
    "Tutankham": 11.4,
    "UpNDown": 533.4,
    "Venture": 0.0,
    "VideoPinball": 0.0,
    "WizardOfWor": 563.5,
    "YarsRevenge": 3092.9,
    "Zaxxon": 32.5,
}
"""Random-policy returns on the Arcade Learning Environment, by game in CamelCase: the table that
normalises scores in the code released with Agarwal et al., 2022 (arXiv:2206.01626)."""

MINATAR_RANDOM_RETURNS: Mapping[str, MeasuredReturn] = {
    "asterix": MeasuredReturn(
        mean=0.4993, standard_error=0.0034, episodes=65_536, longest_episode=555
    ),
    "breakout": MeasuredReturn(
        mean=0.3796, standard_error=0.0025, episodes=65_536, longest_episode=80
    ),
    "freeway": MeasuredReturn(
        mean=0.409, standard_error=0.014, episodes=2_048, longest_episode=2_501
    ),
    "seaquest": MeasuredReturn(
        mean=0.1007, standard_error=0.0015, episodes=65_536, longest_episode=389
    ),
    "space_invaders": MeasuredReturn(
        mean=4.012, standard_error=0.025, episodes=16_384, longest_episode=409
    ),
}
"""Random-policy returns on MinAtar 1.0.15, by game.

Measured under the protocol of `minatar`: minimal action set, sticky actions 0.1, difficulty ramp,
whole episodes. 64 environments were seeded with 2022 and up and played by `play_episodes` of the
evaluator with epsilon 1; tests/unit/environments/test_random_returns.py measures again.
"""

CARTPOLE_RANDOM_RETURN = MeasuredReturn(
    mean=22.263, standard_error=0.046, episodes=65_536, longest_episode=159
)
"""Random-policy return on CartPole-v1 of Gymnasium 1.4.0, measured likewise."""

"""Settings of the evaluator process."""

from __future__ import annotations

import dataclasses
from pathlib import Path

from rrl_agents.environments.registry import EnvironmentConfig
from rrl_agents.networks.config import NetworkConfig
from rrl_agents.ranges import check_ranges
from rrl_client import ClientSecurity


@dataclasses.dataclass(frozen=True, kw_only=True)
class EvaluationProtocol:
    """The protocol of evaluations.

    Attributes:
        episodes: Episodes of each evaluation during the run.
        final_episodes: Episodes of the final evaluation, which gives the run's result.
        teacher_episodes: Episodes for the teacher, if its card has no score.
        epsilon: Probability of a random action; 0.001 as in Dopamine.
        num_envs: Environments stepped in parallel; each plays its share of the episodes to the end,
            so that short episodes do not count more often than long ones.
        max_share: Share of the machine's CPU cores that an evaluation may use while the run is
            busy, above 0; 1 for no limit. An evaluation that the run waits for is not limited.
        first_seed: Seed of the first episode of every evaluation; each further episode adds 1. All
            evaluations, including the teacher's, then play the same episodes, so that they can be
            compared one by one. None draws new seeds for each evaluation.
    """

    episodes: int = 10
    final_episodes: int = 20
    teacher_episodes: int = 20
    epsilon: float = 0.001
    num_envs: int = 10
    max_share: float = 0.2
    first_seed: int | None = None

    def __post_init__(self) -> None:
        """Refuse numbers out of range."""
        check_ranges(self, "episodes", "final_episodes", "teacher_episodes", "num_envs", least=1)
        check_ranges(self, "epsilon", least=0, most=1)
        check_ranges(self, "max_share", above=0, most=1)
        check_ranges(self, "first_seed", least=0, most=2**30)


@dataclasses.dataclass(frozen=True, kw_only=True)
class EvaluatorConfig:
    """One evaluator: its environments, its peers, its outputs.

    Attributes:
        environment: The environment, in instances separate from those of training.
        network: The student's architecture.
        protocol: Episodes and exploration.
        seed: Seed of the run.
        learner_address: "host:port" of the learner.
        teacher_address: Address of the teacher service, as for `TeacherClient`; None if the
            teacher's return is known.
        peers: TLS and credentials for the learner; None for plaintext without a token.
        teacher_peers: TLS and credentials for the teacher; None likewise.
        video: GIF of the final student's first episode; None for none.
        poll_seconds: Time between requests for weights to evaluate.
    """

    environment: EnvironmentConfig
    network: NetworkConfig
    protocol: EvaluationProtocol
    seed: int
    learner_address: str
    teacher_address: str | None
    peers: ClientSecurity | None = None
    teacher_peers: ClientSecurity | None = None
    video: Path | None = None
    poll_seconds: float = 1.0

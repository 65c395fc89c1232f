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
    """How students and teachers are scored.

    Attributes:
        episodes: Episodes of each evaluation during the run.
        final_episodes: Episodes of the last one, which the run's result is read from.
        teacher_episodes: Episodes of the teacher, where its card has no score.
        epsilon: Probability of a random action; 0.001 is Dopamine's.
        num_envs: Environments stepped together; each plays its share of the episodes to the end,
            so that short episodes are not counted more often than long ones.
        max_share: Share of the machine's cores that an evaluation takes while the run has other
            things to do, above 0; 1 for no bound. One that the run waits for is never slowed.
        first_seed: Seed of the first episode of every evaluation, the next one's is one more: all
            of them play the same episodes, the teacher too, and compare one by one. None draws
            seeds for each evaluation.
    """

    episodes: int = 10
    final_episodes: int = 20
    teacher_episodes: int = 20
    epsilon: float = 0.001
    num_envs: int = 10
    max_share: float = 0.2
    first_seed: int | None = None

    def __post_init__(self) -> None:
        """Refuse numbers that no evaluation can have."""
        check_ranges(self, "episodes", "final_episodes", "teacher_episodes", "num_envs", least=1)
        check_ranges(self, "epsilon", least=0, most=1)
        check_ranges(self, "max_share", above=0, most=1)
        check_ranges(self, "first_seed", least=0, most=2**30)


@dataclasses.dataclass(frozen=True, kw_only=True)
class EvaluatorConfig:
    """One evaluator: its environments, its peers, its outputs.

    Attributes:
        environment: What is played; never the environments that training data comes from.
        network: The student's architecture.
        protocol: Episodes and exploration.
        seed: Seed of the run.
        learner_address: "host:port" of the learner.
        teacher_address: Of the teacher service, as `TeacherClient` takes it; None where the
            teacher's return is known.
        peers: What to trust and show at the learner; None for plaintext without a token.
        teacher_peers: What to trust and show at the teacher; likewise.
        video: GIF of the final student's first episode; None for none.
        poll_seconds: Time between two requests for weights due.
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

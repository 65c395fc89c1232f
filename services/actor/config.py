"""Settings of one actor process."""

from __future__ import annotations

import dataclasses

from rrl_agents.environments.registry import EnvironmentConfig
from rrl_agents.networks.config import NetworkConfig
from rrl_agents.ranges import check_ranges
from rrl_agents.reincarnation.registry import MethodConfig
from rrl_client import ClientSecurity


@dataclasses.dataclass(frozen=True, kw_only=True)
class ActorConfig:
    """One actor: its environments, its peers, its pace.

    Attributes:
        environment: What is played.
        method: Decides behaviour and which states the teacher is asked about.
        network: The student's architecture.
        num_envs: Environments stepped together.
        index: Number of this actor, from 0; keeps the seeds of actors apart.
        seed: Seed of the run.
        learner_address: "host:port" of the learner.
        replay_address: "host:port" of the replay server.
        teacher_address: Of the teacher service, as `TeacherClient` takes it; None for a method
            without one.
        peers: What to trust and show at the learner; None for plaintext without a token.
        teacher_peers: What to trust and show at the teacher; likewise.
        weights_period_seconds: Time between two requests for new weights.
        teacher_timeout_seconds: Deadline of a query; a state whose answer is later gets no label.
        max_pending_steps: Steps whose queries may be under way at once.
        collect_epsilon: Probability of a random action while the teacher plays into its table, so
            that its data holds more than one way to play.
        teacher_plays: Whether the teacher's table is filled by play; False where it is filled from
            recorded data or stays empty, while the actor waits.
    """

    environment: EnvironmentConfig
    method: MethodConfig
    network: NetworkConfig
    num_envs: int
    index: int
    seed: int
    learner_address: str
    replay_address: str
    teacher_address: str | None
    peers: ClientSecurity | None = None
    teacher_peers: ClientSecurity | None = None
    weights_period_seconds: float = 1.0
    teacher_timeout_seconds: float = 5.0
    max_pending_steps: int = 16
    collect_epsilon: float = 0.01
    teacher_plays: bool = True

    def __post_init__(self) -> None:
        """Refuse numbers that no actor can work with."""
        check_ranges(self, "num_envs", least=1)
        check_ranges(self, "index", "max_pending_steps", least=0)
        check_ranges(self, "weights_period_seconds", "teacher_timeout_seconds", above=0)
        check_ranges(self, "collect_epsilon", least=0, most=1)

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
    """Settings of one actor.

    Attributes:
        environment: The environment that the actor plays.
        method: Settings of the method, which determine how students act and when the teacher is
            queried.
        network: The student's architecture.
        num_envs: Environments that the actor steps together.
        index: Number of this actor, from 0; actors with different numbers have different seeds.
        seed: Seed of the run.
        learner_address: "host:port" of the learner.
        replay_address: "host:port" of the replay server.
        teacher_address: Address of the teacher service, as for `TeacherClient`; None for a method
            without a teacher.
        peers: TLS and credentials for the learner; None for plaintext without a token.
        teacher_peers: TLS and credentials for the teacher service; None likewise.
        weights_period_seconds: Time between two requests for new weights.
        teacher_timeout_seconds: Deadline of a query; a state whose answer comes later has no label.
        max_pending_steps: Most steps whose queries may be pending at the same time.
        collect_epsilon: Probability of a random action while the teacher plays into its table, so
            that its data covers more than one way to play.
        teacher_plays: Whether the teacher plays to fill its table. If not, the table is filled from
            recorded data, or stays empty, and the actor waits.
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
        """Refuse numbers out of range."""
        check_ranges(self, "num_envs", least=1)
        check_ranges(self, "index", "max_pending_steps", least=0)
        check_ranges(self, "weights_period_seconds", "teacher_timeout_seconds", above=0)
        check_ranges(self, "collect_epsilon", least=0, most=1)

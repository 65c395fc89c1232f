"""Settings of the learner process."""

from __future__ import annotations

import dataclasses
from pathlib import Path

from rrl_agents.networks.config import ComputeType, NetworkConfig
from rrl_agents.ranges import check_ranges
from rrl_agents.reincarnation.registry import MethodConfig
from rrl_agents.students.config import StudentConfig
from rrl_agents.types import EnvironmentSpec
from rrl_client import ClientSecurity
from services.learner.stage_transitions import StageTargets
from services.shared.security.server import SecurityConfig
from services.tracking.tracker import TrackerName


@dataclasses.dataclass(frozen=True, kw_only=True)
class ShardAddress:
    """Addresses of one replay shard.

    Attributes:
        data: "host:port" of its Reverb server.
        control: "host:port" of its control service.
    """

    data: str
    control: str


@dataclasses.dataclass(frozen=True, kw_only=True)
class ArithmeticConfig:
    """Precision and devices of the updates.

    Attributes:
        dtype: Type that the student's layers compute in during updates: "float32", or "bfloat16",
            which is several times as fast on GPUs. Parameters, optimiser, the last layer, targets
            and losses are float32 either way, as are acting, evaluation and export.
        devices: Number of devices (GPUs) among which the rows of each batch are divided; each holds
            all parameters. Results equal those of one device, up to rounding.
    """

    dtype: ComputeType = "float32"
    devices: int = 1

    def __post_init__(self) -> None:
        """Refuse a learner without a device."""
        check_ranges(self, "devices", least=1)


def check_divisible(arithmetic: ArithmeticConfig, batch_size: int) -> None:
    """Refuse a number of devices that does not divide the batch.

    Raises:
        ValueError: it does not divide the batch.
    """
    if batch_size % arithmetic.devices:
        raise ValueError(
            f"learner.devices is {arithmetic.devices}, and batches of {batch_size} rows cannot be "
            "split evenly over them: use a divisor of method.q_learning.batch_size"
        )


@dataclasses.dataclass(frozen=True, kw_only=True)
class LearnerConfig:
    """Settings of a learner.

    Attributes:
        run: Folder of the run, with checkpoints and metrics.
        method: Settings of the method, which determine losses, data and schedules.
        network: The student's architecture.
        student: How the student learns.
        arithmetic: Precision and devices of the updates.
        spec: Shapes of the environment.
        episode_steps: Steps of a whole episode, in environments whose steps are slow and whose
            progress is therefore shown in episodes; else None.
        targets: How far each stage goes.
        random_return: Mean return of the random policy.
        teacher_return: Mean return of the teacher; None has the evaluator measure it.
        seed: Seed of the run, which determines the initial weights.
        replay: Addresses of the replay shards, in their order.
        initial_teacher: Directory of the teacher whose parameters the student starts with, if the
            method requires it; None draws them at random.
        pause_for_evaluation: Whether updates wait for each evaluation that is due, so that curves
            are complete and weaning does not depend on the speed of evaluations.
        updates_per_block: Updates K of a block, which are made on K batches fetched together; a
            block is shorter if an evaluation or the end of a stage comes first. Results depend on
            it only through priorities and weights, which are sent between blocks.
        keeps_teacher_data: Whether batches of the teacher's data are drawn in this process, which
            reads all of it from replay once (`ReplayConfig.gives_teacher_data_once`).
        peers: TLS and credentials for replay's control services; None for plaintext without a
            token.
        security: TLS and tokens of the weight service.
        host: Address to serve weights on.
        port: TCP port to serve weights on; 0 picks a free one.
        publish_period_updates: Fewest updates between two publications of weights to actors.
        offline_evaluation_period: Updates between two evaluations in the offline stage.
        online_evaluation_period: Updates between two evaluations in the online stage.
        checkpoint_period_seconds: Time between two checkpoints; a crash loses at most this much.
        log_period_updates: Fewest updates between two points of a curve.
        track: Trackers that get the curves.
        linger_seconds: Time that a finished learner keeps serving, so that actors and the evaluator
            see FINISHED; None serves until the learner is stopped.
    """

    run: Path
    method: MethodConfig
    network: NetworkConfig
    spec: EnvironmentSpec
    targets: StageTargets
    random_return: float
    teacher_return: float | None
    seed: int
    replay: tuple[ShardAddress, ...]
    episode_steps: int | None = None
    student: StudentConfig = StudentConfig()
    arithmetic: ArithmeticConfig = ArithmeticConfig()
    initial_teacher: Path | None = None
    pause_for_evaluation: bool = False
    updates_per_block: int = 1
    keeps_teacher_data: bool = False
    peers: ClientSecurity | None = None
    security: SecurityConfig = SecurityConfig()
    host: str = "127.0.0.1"
    port: int = 0
    publish_period_updates: int = 100
    offline_evaluation_period: int = 100_000
    online_evaluation_period: int = 62_500
    checkpoint_period_seconds: float = 300.0
    log_period_updates: int = 100
    track: tuple[TrackerName, ...] = ("tensorboard",)
    linger_seconds: float | None = 10.0

    def __post_init__(self) -> None:
        """Refuse a learner without replay, and periods of 0."""
        if not self.replay:
            raise ValueError("replay is empty; give the address of at least one shard")
        check_ranges(
            self,
            *(
                "updates_per_block",
                "publish_period_updates",
                "offline_evaluation_period",
                "online_evaluation_period",
            ),
            *("checkpoint_period_seconds", "log_period_updates"),
            above=0,
        )

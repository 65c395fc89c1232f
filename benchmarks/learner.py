"""What the learner's loop costs: its updates per second against the bare jitted update.

The replay server is a separate process with a few thousand transitions of random play. The
loop is `Learner.step`: sampling, decoding, the updates of a block, clocks and metrics. The bare
update repeats on one batch that is already on the device. Measurements alternate, so that a slow
minute of the machine affects both. On a CPU the replay server shares the cores, so the ratio
includes its cost.

A case is named by its student, its batch size, and a variant: `kept` draws batches from the
teacher's data in the learner's memory, `bfloat16` does so with layers of that type, `prioritised`
samples the student's table in the online stage, with new priorities after each update. All others
sample the teacher's table in the offline stage.

Ratios, for each case (higher is better):
    <case>             updates/s of the loop over the bare update
    <case>_free        share of time in which the learner's thread uses no CPU; on a CPU other
                       threads compute the updates
    <case>_fed         share of time in which updates do not wait for replay

    python -m benchmarks.learner --quick --json
    python -m benchmarks.learner --cases nature_32 nature_256_kept
"""

from __future__ import annotations

import contextlib
import dataclasses
import tempfile
import threading
import time
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from prometheus_client import CollectorRegistry

from benchmarks.bare_update import BLOCK, BareUpdate, random_batch
from benchmarks.harness import Round, make_parser, print_outcome, read_flags
from benchmarks.roles import unlimited_replay
from rrl_agents.environments.registry import EnvironmentConfig, make_environment
from rrl_agents.environments.vector_environment import VectorEnvironment
from rrl_agents.networks.config import ComputeType, NetworkConfig
from rrl_agents.reincarnation.qdagger import QDaggerConfig
from rrl_agents.reincarnation.registry import MethodConfig, make_recipe
from rrl_agents.reincarnation.tabula_rasa import TabulaRasaConfig
from rrl_agents.students.config import StudentConfig
from rrl_agents.students.registry import STUDENTS
from rrl_agents.training.q_learning_config import QLearningConfig
from rrl_agents.types import Batch, EnvironmentSpec, Stage
from services.actor.behaviours import Annotator, Labels
from services.actor.rollout import Rollout
from services.launcher.presets import DEMO, PRESETS
from services.learner.config import ArithmeticConfig, LearnerConfig, ShardAddress
from services.learner.loop import Learner
from services.learner.metrics import LearnerMetrics
from services.learner.replay_feed import ReplayFeed
from services.learner.stage_transitions import StageTargets
from services.replay.config import ReplayConfig
from services.replay.item_layout import ItemLayout
from services.replay.reader import ReplayReader
from services.replay.table_names import STUDENT_TABLE, TEACHER_TABLE
from services.replay.writer import ReplayWriter

NUM_ENVS = 8
NEVER = 10**9
PONG = EnvironmentConfig(game="pong")
DEMO_NETWORK = PRESETS["qdagger"][DEMO].network
IMPALA = NetworkConfig(name="impala_cnn", features=(16, 32, 32))
MINATAR = EnvironmentConfig(name="minatar", game="breakout")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Case:
    """What is learned, and from where.

    Attributes:
        network: The student's architecture.
        environment: What was played.
        batch_size: Transitions of one update.
        student: Its algorithm; one with priorities learns online, from its own table.
        keeps: Whether the learner keeps the teacher's data.
        dtype: What layers compute in.
    """

    network: NetworkConfig
    environment: EnvironmentConfig = PONG
    batch_size: int = 32
    student: StudentConfig = StudentConfig()
    keeps: bool = False
    dtype: ComputeType = "float32"

    @property
    def is_prioritised(self) -> bool:
        """Whether it learns online."""
        return self.student.priority_exponent > 0

    @property
    def method(self) -> MethodConfig:
        """What decides the loss."""
        q_learning = QLearningConfig(batch_size=self.batch_size, min_replay_size=1, n_step=1)
        if self.is_prioritised:
            return TabulaRasaConfig(q_learning=q_learning)
        return QDaggerConfig(q_learning=q_learning)


_NETWORKS = {"nature": NetworkConfig(), "impala": IMPALA, "demo": DEMO_NETWORK}
_RAINBOW = STUDENTS["rainbow"]
CASES: dict[str, Case] = {
    **{f"{name}_32": Case(network=network) for name, network in _NETWORKS.items()},
    **{f"{name}_32_kept": Case(network=network, keeps=True) for name, network in _NETWORKS.items()},
    "minatar_32": Case(network=STUDENTS["minatar_dqn"].network, environment=MINATAR),
    "rainbow_32_prioritised": Case(network=_RAINBOW.network, student=_RAINBOW.learning),
    **{f"{name}_256": Case(network=network, batch_size=256) for name, network in _NETWORKS.items()},
    **{
        f"{name}_256_kept": Case(network=network, batch_size=256, keeps=True)
        for name, network in _NETWORKS.items()
    },
    **{
        f"{name}_{size}_bfloat16": Case(
            network=network, batch_size=size, keeps=True, dtype="bfloat16"
        )
        for size in (32, 256)
        for name, network in _NETWORKS.items()
    },
    "rainbow_256_prioritised": Case(
        network=_RAINBOW.network, student=_RAINBOW.learning, batch_size=256
    ),
}
"""By name."""


def main() -> None:
    """Measure and print."""
    parser = make_parser(__doc__)
    parser.add_argument("--cases", nargs="+", choices=CASES, metavar="CASE", help=", ".join(CASES))
    parser.add_argument(
        "--seconds",
        type=float,
        help="seconds of each measurement; by default 6, or 1.5 with --quick",
    )
    flags, given = read_flags(parser)
    chosen = given.cases or flags.pick(
        full=[*CASES],
        quick=[
            name
            for name, case in CASES.items()
            if case.batch_size == 32 and case.dtype == "float32"
        ],
        smallest=["demo_32_kept", "rainbow_32_prioritised"],
    )
    repeats = flags.pick(full=7, quick=3, smallest=1)
    seconds = given.seconds or flags.pick(full=6.0, quick=1.5, smallest=0.1)
    steps_per_env = flags.pick(full=400, quick=400, smallest=40)
    rounds: list[dict[str, float]] = [{} for _ in range(repeats)]
    for name in chosen:
        for found, measured in zip(
            rounds, _measure(CASES[name], repeats, seconds, steps_per_env), strict=True
        ):
            found |= {f"{name}_{what}": value for what, value in measured.items()}
    ratios = {}
    for name in chosen:
        ratios[name] = (f"{name}_updates_per_s", f"{name}_bare_per_s")
        ratios[f"{name}_free"] = (f"{name}_free_s", f"{name}_wall_s")
        ratios[f"{name}_fed"] = (f"{name}_fed_s", f"{name}_wall_s")
    print_outcome(rounds, ratios, flags)


def _measure(case: Case, repeats: int, seconds: float, steps_per_env: int) -> list[Round]:
    environment = make_environment(case.environment, NUM_ENVS)
    layout = _layout(environment.spec, case)
    with (
        tempfile.TemporaryDirectory() as folder,
        contextlib.closing(environment),
        unlimited_replay(
            ReplayConfig(
                layout=layout,
                checkpoint_root=Path(folder, "tables"),
                min_student_size=1,
                error_buffer=1e12,
                student_priority_exponent=case.student.priority_exponent,
                gives_teacher_data_once=case.keeps,
            )
        ) as replay,
    ):
        table = STUDENT_TABLE if case.is_prioritised else TEACHER_TABLE
        with contextlib.closing(ReplayWriter(replay.data, table, layout, NUM_ENVS)) as writer:
            _play_at_random(environment, writer, steps_per_env)
            assert writer.flush(timeout_seconds=60)
        with _Loop(Path(folder, "run"), case, environment.spec, replay) as loop:
            batch = (
                random_batch(environment.spec, case.batch_size)
                if case.keeps
                else _one_batch(replay.data, table, layout, case)
            )
            bare = BareUpdate(
                make_recipe(case.method),
                case.network,
                case.student,
                environment.spec,
                batch,
                stage=Stage.ONLINE if case.is_prioritised else Stage.OFFLINE,
                dtype=case.dtype,
            )
            loop.learn(seconds=0)
            bare.repeat(seconds=0)
            return [
                {"bare_per_s": bare.repeat(seconds), **loop.learn(seconds)} for _ in range(repeats)
            ]


class _Loop:
    """A learner in its offline stage, or online where it has priorities."""

    def __init__(self, run: Path, case: Case, spec: EnvironmentSpec, replay: ShardAddress) -> None:
        self._stop = threading.Event()
        self._metrics = LearnerMetrics(CollectorRegistry())
        self._learner = Learner(
            LearnerConfig(
                run=run,
                method=case.method,
                network=case.network,
                student=case.student,
                arithmetic=ArithmeticConfig(dtype=case.dtype),
                spec=spec,
                targets=StageTargets(
                    teacher_steps=0 if case.is_prioritised else 1,
                    offline_updates=0 if case.is_prioritised else NEVER,
                    online_updates=NEVER,
                ),
                random_return=-20.7,
                teacher_return=20.0,
                seed=0,
                replay=(replay,),
                offline_evaluation_period=NEVER,
                online_evaluation_period=NEVER,
                checkpoint_period_seconds=NEVER,
                updates_per_block=1 if case.is_prioritised else BLOCK,
                keeps_teacher_data=case.keeps,
            ),
            ReplayFeed,
            metrics=self._metrics,
        )
        self._learner.restore_replay(self._stop)

    def __enter__(self) -> _Loop:
        return self

    def __exit__(self, *error: object) -> None:
        self._learner.close()

    def learn(self, seconds: float) -> Round:
        """Learn for so long, at least two blocks."""
        waited, computed = self._metrics.sample_wait_seconds, time.thread_time()
        before, start = self._updates, time.perf_counter()
        while time.perf_counter() - start < seconds or self._updates < before + 2 * BLOCK:
            self._learner.step(self._stop)
        self._learner.training.state.learner_updates.block_until_ready()
        wall = time.perf_counter() - start
        return {
            "updates_per_s": (self._updates - before) / wall,
            "wall_s": wall,
            "free_s": wall - (time.thread_time() - computed),
            "fed_s": wall - (self._metrics.sample_wait_seconds - waited),
        }

    @property
    def _updates(self) -> int:
        return self._learner.progress.learner_updates


def _one_batch(address: str, table: str, layout: ItemLayout, case: Case) -> Batch:
    discount = case.method.q_learning.discount
    reader = ReplayReader(address, layout, discount, case.batch_size)
    with contextlib.closing(reader):
        batch = reader.sample(table, timeout_seconds=60).batch
    # Rows in memory as the network wants them: the loop's transposition is the loop's cost.
    return Batch(*(np.ascontiguousarray(column) for column in batch))


def _play_at_random(environment: VectorEnvironment, writer: ReplayWriter, steps: int) -> None:
    """Random play, with labels as random as the actions."""
    random, num_actions = np.random.default_rng(0), environment.spec.num_actions

    def policy(
        observations: NDArray[np.uint8], episode_start: NDArray[np.bool_]
    ) -> tuple[NDArray[np.int64], Labels]:
        del episode_start  # Random play is the same anywhere in an episode.
        values = random.random((len(observations), num_actions), np.float32)
        return values.argmax(axis=1), values

    rollout = Rollout(environment, writer, Annotator(), seed=0, max_pending=0)
    for _ in range(steps):
        rollout.step(policy)
    rollout.finish()


def _layout(spec: EnvironmentSpec, case: Case) -> ItemLayout:
    return ItemLayout(
        frame_shape=spec.frame_shape,
        stack_size=spec.stack_size,
        n_step=case.method.q_learning.n_step,
        num_actions=spec.num_actions,
        clips_rewards=True,
        frame_dtype=spec.frame_dtype,
    )


if __name__ == "__main__":
    main()

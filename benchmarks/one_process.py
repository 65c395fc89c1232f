"""What a run in one process costs relative to its bare parts: a MinAtar run of QDagger.

The run is that of `suites/minatar.toml` (QDagger, one game and seed) with a teacher of random
weights. Its CPU time is compared with that of its parts alone, measured in the same process right
afterwards: the jitted updates on batches that are on the device; environment steps, with one
bare forward pass of the student or the teacher for each (both where the student's states are
labelled); and the evaluations, timed during the run, as they call nothing else. A small run comes
first, so that compiled programs are in JAX's cache, as in a suite.

Updates are also measured separately: `Learner.step` offline, with replay in this process,
alternating with the bare update.

Ratios:
    run_over_bare_parts            CPU time of the run over its bare parts (lower is better)
    updates_over_bare              updates/s of the loop over the bare update (higher is better)
    updates_over_bare_by_cpu       the same by CPU time

    python -m benchmarks.one_process --quick --json
"""

from __future__ import annotations

import contextlib
import dataclasses
import os
import signal
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import jax
import numpy as np

from benchmarks.bare_update import BLOCK, BareUpdate, random_batch
from benchmarks.harness import parse_flags, print_outcome
from rrl_agents.behaviour.epsilon_greedy import make_policy
from rrl_agents.checkpoints.params_codec import params_hash, params_to_bytes
from rrl_agents.checkpoints.teacher_card import TeacherCard
from rrl_agents.checkpoints.teacher_directory import save_teacher
from rrl_agents.environments.registry import make_environment
from rrl_agents.networks.registry import initial_params, make_network
from rrl_agents.types import Stage
from services.actor.in_process import PlayerInProcess
from services.bench.folder import BenchFolder
from services.bench.plan import plan_suite
from services.bench.suite import read_suite
from services.evaluator.playing import EvaluationPlayer
from services.launcher.experiment import Experiment
from services.launcher.experiment_config import ExperimentConfig
from services.launcher.jobs import Job, learner_config, replay_config
from services.launcher.one_process import run_in_one_process
from services.launcher.resolution import resolve
from services.launcher.settings import with_settings
from services.learner.local_feed import LocalFeed
from services.learner.loop import Learner
from services.replay.item_layout import StepRow
from services.replay.local_tables import LocalTables
from services.replay.local_writer import LocalWriter
from services.replay.table_names import TEACHER_TABLE
from services.teacher.in_process import TeacherInProcess

SUITE = Path(__file__).resolve().parents[1] / "suites" / "minatar.toml"
NEVER = 10**9
FILLED_STEPS = 4_000


def main() -> None:
    """Measure and print."""
    flags = parse_flags(__doc__)
    # As a suite's workers compute: one thread, compiled programs kept, deaf to Ctrl-C.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    os.environ["XLA_FLAGS"] = "--xla_cpu_multi_thread_eigen=false intra_op_parallelism_threads=1"
    repeats = flags.pick(full=3, quick=1, smallest=1)
    share = flags.pick(full=1.0, quick=0.5, smallest=0.02)
    updates = flags.pick(full=1_000, quick=500, smallest=20)
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder)
        jax.config.update("jax_compilation_cache_dir", str(place / "cache"))  # type: ignore[no-untyped-call]
        jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.0)  # type: ignore[no-untyped-call]
        jax.config.update("jax_persistent_cache_min_entry_size_bytes", -1)  # type: ignore[no-untyped-call]
        config = _suite_config(place)
        _whole_run(resolve(_scaled(config, 0.02)), place / "warm-up")
        experiment = resolve(_scaled(config, share))
        loop = _Updates(experiment, place / "updates", updates)
        rounds = []
        for index in range(repeats):
            counted = _whole_run(experiment, place / f"run-{index}")
            parts = _BareParts(experiment)
            rounds.append(parts.beside(counted) | loop.measure())
    ratios = {
        "run_over_bare_parts": ("run_cpu_s", "bare_parts_cpu_s"),
        "updates_over_bare": ("loop_updates_per_s", "bare_updates_per_s"),
        "updates_over_bare_by_cpu": ("bare_update_cpu_ms", "loop_update_cpu_ms"),
    }
    print_outcome(rounds, ratios, flags)


def _suite_config(place: Path) -> ExperimentConfig:
    """The suite's QDagger on breakout, with a teacher of random weights instead of its own."""
    planned = plan_suite(read_suite(SUITE)[0], BenchFolder(place / "suite"))
    run = next(one for one in planned if one.entry == "qdagger" and one.game == "breakout")
    config = run.config
    with contextlib.closing(make_environment(config.environment, 1)) as environment:
        spec = environment.spec
    network = make_network(config.network, spec.num_actions)
    params = initial_params(network, jax.random.key(7), spec.observation_shape)
    params = jax.device_get(params)
    card = TeacherCard(
        name="random weights",
        game=spec.name,
        network=config.network,
        num_actions=spec.num_actions,
        observation_shape=spec.observation_shape,
        made="weights drawn at random",
        parameters_sha256=params_hash(params_to_bytes(params)),
    )
    save_teacher(place / "teacher", params, card)
    teacher = dataclasses.replace(
        config.teacher, checkpoint=str(place / "teacher"), mean_return=10.0
    )
    return dataclasses.replace(config, teacher=teacher)


def _scaled(config: ExperimentConfig, share: float) -> ExperimentConfig:
    """The same for a part of its steps and updates."""
    smallest = {
        "teacher_steps": 256,
        "online_steps": 1_200,
        "method.offline_updates": 40,
        "evaluation.final_episodes": 5,
    }
    sizes = {
        "teacher_steps": config.teacher_steps,
        "online_steps": config.online_steps,
        "method.offline_updates": getattr(config.method, "offline_updates"),  # noqa: B009
        "evaluation.final_episodes": config.evaluation.final_episodes,
    }
    if share == 1.0:
        return config
    scaled = {name: max(smallest[name], round(share * size)) for name, size in sizes.items()}
    return with_settings(config, scaled)


@dataclasses.dataclass
class Counted:
    """What a run did.

    Attributes:
        cpu_seconds: CPU time of all its threads.
        collect_steps, online_steps: Steps of its vector environment.
        teacher_batches: Calls of the teacher.
        updates: Gradient steps.
        evaluation_seconds: CPU time of its evaluations.
    """

    cpu_seconds: float = 0.0
    collect_steps: int = 0
    online_steps: int = 0
    teacher_batches: int = 0
    updates: int = 0
    evaluation_seconds: float = 0.0


def _whole_run(experiment: Experiment, folder: Path) -> Counted:
    counted = Counted()

    def stepped(player: PlayerInProcess, stage: Stage) -> None:
        counted.collect_steps += stage is Stage.COLLECT
        counted.online_steps += stage is not Stage.COLLECT

    def asked(teacher: TeacherInProcess, observations: Any) -> None:
        counted.teacher_batches += 1

    with (
        _calling(PlayerInProcess, "step", stepped),
        _calling(TeacherInProcess, "scores", asked),
        _timing(EvaluationPlayer, "student", counted),
    ):
        start = time.process_time()
        assert run_in_one_process(experiment, folder, threading.Event())
        counted.cpu_seconds = time.process_time() - start
    targets = experiment.targets
    counted.updates = targets.offline_updates + targets.online_updates
    return counted


@contextlib.contextmanager
def _calling(kind: type[Any], name: str, note: Callable[..., None]) -> Iterator[None]:
    """Have each call of a method counted."""
    method = getattr(kind, name)

    def noted(self: Any, *arguments: Any) -> Any:
        note(self, *arguments)
        return method(self, *arguments)

    setattr(kind, name, noted)
    try:
        yield
    finally:
        setattr(kind, name, method)


@contextlib.contextmanager
def _timing(kind: type[Any], name: str, counted: Counted) -> Iterator[None]:
    """Add the CPU time of each call of a method up."""
    method = getattr(kind, name)

    def timed(self: Any, *arguments: Any, **named: Any) -> Any:
        start = time.process_time()
        try:
            return method(self, *arguments, **named)
        finally:
            counted.evaluation_seconds += time.process_time() - start

    setattr(kind, name, timed)
    try:
        yield
    finally:
        setattr(kind, name, method)


class _BareParts:
    """The parts of a run by themselves, each in CPU seconds per call."""

    def __init__(self, experiment: Experiment) -> None:
        self._experiment = experiment
        config, spec = experiment.config, experiment.spec
        self._num_envs = config.num_actors * config.envs_per_actor
        self._environment = make_environment(config.environment, self._num_envs)
        self._observations = self._environment.reset(0)
        network = make_network(config.network, spec.num_actions)
        self._policy = make_policy(network)
        self._params = initial_params(network, jax.random.key(0), spec.observation_shape)
        assert config.teacher.checkpoint is not None
        self._teacher = TeacherInProcess(config.teacher.checkpoint)
        self._update = _bare_update(experiment)

    def beside(self, counted: Counted) -> dict[str, float]:
        """The run's numbers, and those of its parts."""
        update_s = _cpu_seconds(self._update_block) / BLOCK
        environment_s = _cpu_seconds(self._play)
        student_s = _cpu_seconds(self._act)
        teacher_s = _cpu_seconds(self._label)
        steps = counted.collect_steps + counted.online_steps
        parts = {
            "updates_cpu_s": counted.updates * update_s,
            "environments_cpu_s": steps * environment_s,
            "student_forwards_cpu_s": counted.online_steps * student_s,
            "teacher_forwards_cpu_s": counted.teacher_batches * teacher_s,
            "evaluations_cpu_s": counted.evaluation_seconds,
        }
        return {
            "run_cpu_s": counted.cpu_seconds,
            "bare_parts_cpu_s": sum(parts.values()),
            **parts,
            "vector_steps": float(steps),
            "updates": float(counted.updates),
        }

    def _play(self) -> None:
        self._observations = self._environment.step(np.zeros(self._num_envs, np.int64)).observation

    def _act(self) -> None:
        np.asarray(self._policy(self._params, self._observations, 1, 0.01)[0])

    def _update_block(self) -> None:
        self._update.make(BLOCK)

    def _label(self) -> None:
        self._teacher.scores(self._observations)


def _bare_update(experiment: Experiment) -> BareUpdate:
    config, spec, recipe = experiment.config, experiment.spec, experiment.recipe
    batch = random_batch(spec, recipe.q_learning.batch_size)
    return BareUpdate(recipe, config.network, config.student, spec, batch)


def _cpu_seconds(call: Callable[[], None], seconds: float = 1.0) -> float:
    """CPU seconds of one call, once it is compiled."""
    call()
    calls, start = 0, time.process_time()
    while time.process_time() - start < seconds or calls < 3:
        call()
        calls += 1
    return (time.process_time() - start) / calls


class _Updates:
    """The learner's loop offline, with replay in this process, and the bare update."""

    def __init__(self, experiment: Experiment, folder: Path, updates: int) -> None:
        config = with_settings(
            experiment.config,
            {
                "method.offline_updates": NEVER,
                "teacher_steps": min(FILLED_STEPS, experiment.config.teacher_steps),
                "offline_evaluation_period": NEVER,
                "checkpoint_period_seconds": float(NEVER),
            },
        )
        endless = dataclasses.replace(experiment, config=config)
        job = Job(experiment=endless, run=folder, teacher_address="")
        tables = LocalTables(replay_config(job), folder / "tables")
        _fill(tables, endless)
        self._learner = Learner(
            learner_config(job),
            lambda *arguments: LocalFeed(tables, endless.layout, *arguments),
        )
        self._stop = threading.Event()
        self._updates = updates
        self._bare = _bare_update(experiment)
        self._learn()
        self._repeat_bare()

    def measure(self) -> dict[str, float]:
        """Rates by wall time, and CPU time per update, of the loop and the bare update."""
        found = {}
        for name, work in (("loop", self._learn), ("bare", self._repeat_bare)):
            start, cpu = time.perf_counter(), time.process_time()
            work()
            found[f"{name}_updates_per_s"] = self._updates / (time.perf_counter() - start)
            found[f"{name}_update_cpu_ms"] = 1e3 * (time.process_time() - cpu) / self._updates
        return found

    def _learn(self) -> None:
        end = self._learner.progress.offline_updates + self._updates
        while self._learner.progress.offline_updates < end:
            self._learner.step(self._stop)
        jax.tree.leaves(self._learner.training.state)[0].block_until_ready()

    def _repeat_bare(self) -> None:
        self._bare.make(self._updates)


def _fill(tables: LocalTables, experiment: Experiment) -> None:
    """Random play, with scores that are drawn at random."""
    config, spec = experiment.config, experiment.spec
    environment = make_environment(config.environment, 1)
    table = tables.tables[TEACHER_TABLE]
    writer, random = LocalWriter(table, experiment.layout, 1), np.random.default_rng(0)
    with contextlib.closing(environment):
        observations = environment.reset(0)
        while not table.is_complete:
            actions = random.integers(0, spec.num_actions, 1)
            step = environment.step(actions)
            if not step.episode_start[0]:
                scores = random.random(spec.num_actions, np.float32)
                ended = bool(step.terminated[0])
                writer.append(
                    0,
                    StepRow(
                        spec.newest_frames(observations[0]),
                        int(actions[0]),
                        float(step.reward[0]),
                        ended,
                        scores,
                    ),
                )
                if ended:
                    writer.end_episode(0, None)
                elif step.truncated[0]:
                    writer.end_episode(0, spec.newest_frames(step.observation[0]))
            observations = step.observation


if __name__ == "__main__":
    main()

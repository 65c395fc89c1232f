"""Where two cores' time goes in a complete QDagger run on Pong: real processes, the demo's student.

`rrl train` runs as for a user, on two cores: 2,000 offline updates, then 20,000 agent steps, with
evaluations. The benchmark reads its processes' CPU time by role while it runs. The share of
environments and networks follows from counts (steps, states, updates, from the metrics pages) and
the cost of one of each, measured with both cores busy before the run and after it: the ratios use
the mean, and where the two differ much, the machine changed and they say little. A table shows
where the cores' time went in three phases: the start, until the teacher's first step; training,
until the last update; and the end, which is the last evaluation and the report. Each sums to the
wall time of both cores.

Ratios (higher is better):
    training_useful        share of environments and networks in both cores' time while training
    training_useful_of_cpu the same, of the CPU time that the run's processes took: relevant on a
                           shared machine
    whole_useful           as training_useful, from the command to its end

    python -m benchmarks.end_to_end --quick --json
"""

from __future__ import annotations

import dataclasses
import os
import resource
import shlex
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

from benchmarks.bare_costs import BareCosts, Parts, measure_bare
from benchmarks.cpu_time import LAUNCHER, Moment, RunWatch
from benchmarks.harness import Flags, make_parser, print_ratios, read_flags
from services.cli.experiment_flags import parse
from services.cli.train_command import Train
from services.launcher.experiment_config import ExperimentConfig
from services.launcher.presets import DEMO
from services.launcher.resolution import resolve

FRAMES_PER_STEP = 4
LOOK_SECONDS = 1.0
"""A look takes some 15 ms of CPU time, two thirds of it in the roles, which send their metrics."""

_OFFLINE = 'rrl_learner_progress{what="offline_updates"}'
_ONLINE = 'rrl_learner_progress{what="online_updates"}'
_TEACHER_STEPS = 'rrl_learner_progress{what="teacher_steps"}'
_ACTOR_STEPS = 'rrl_learner_progress{what="actor_steps"}'
_EVALUATION_FRAMES = "rrl_evaluator_frames_total"
_QUERIES = 'rrl_actor_queries_total{result="answered"}'
_COUNTED = {
    name.partition("{")[0] for name in (_OFFLINE, _ACTOR_STEPS, _EVALUATION_FRAMES, _QUERIES)
}

Table = Mapping[str, float]
"""CPU seconds by what they went into."""


def main() -> None:
    """Run, measure and print."""
    parser = make_parser(__doc__)
    parser.add_argument("--cores", type=int, default=2, help="CPU cores that the run may use")
    parser.add_argument(
        "--train",
        default="",
        metavar="FLAGS",
        help='further flags of `rrl train`: --train="..."',
    )
    flags, given = read_flags(parser)
    cores = sorted(os.sched_getaffinity(0))[: given.cores]
    os.sched_setaffinity(0, cores)
    budget = flags.pick(
        full=_budget(2_000, 20_000), quick=_budget(2_000, 20_000), smallest=_budget(20, 400)
    )
    with tempfile.TemporaryDirectory() as folder:
        run = Path(folder, "run")
        command = ["qdagger", "--preset", DEMO, "--run", str(run)]
        command += [*budget, *shlex.split(given.train)]
        config = resolve(parse(Train, command, "rrl train").experiment).config
        before = _measure_bare(config, flags)
        moments = _watch(run, command, cores)
    costs = (before, _measure_bare(config, flags))
    _report(moments, costs, config, len(cores), flags)


def _measure_bare(config: ExperimentConfig, flags: Flags) -> BareCosts:
    parts = Parts(
        environment=config.environment,
        num_envs=config.envs_per_actor,
        network=config.network,
        student=config.student,
        teacher=str(config.teacher.checkpoint),
        method=config.method,
        dtype=config.learner.dtype,
    )
    return measure_bare(parts, flags.pick(full=20.0, quick=10.0, smallest=1.0))


def _budget(offline_updates: int, online_steps: int) -> tuple[str, ...]:
    return (
        *("--teacher-steps", str(max(online_steps // 4, 200))),
        *("--method.offline-updates", str(offline_updates)),
        *("--online-steps", str(online_steps)),
        *("--method.q-learning.min-replay-size", str(online_steps // 10)),
        # As many games as are stepped at once: none plays on alone.
        *("--evaluation.episodes", "2", "--evaluation.final-episodes", "2"),
        *("--evaluation.num-envs", "2"),
    )


class Moments(NamedTuple):
    """Of one run.

    Attributes:
        start: The command.
        first_step: The first look at which the teacher has played.
        first_update: The first at which an online update is made.
        last_update: The first at which no further update is made.
        end: The command has ended.
    """

    start: Moment
    first_step: Moment
    first_update: Moment
    last_update: Moment
    end: Moment


def _watch(run: Path, command: list[str], cores: list[int]) -> Moments:
    """Have a run trained by `rrl train`, and look at it until its end.

    Raises:
        RuntimeError: it failed.
    """
    before, began = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    with (
        open(run.with_suffix(".log"), "w+") as log,
        subprocess.Popen(
            [sys.executable, "-m", "services.cli.main", "train", *command],
            stdout=log,
            stderr=subprocess.STDOUT,
        ) as launcher,
    ):
        watch = RunWatch(launcher.pid, run, cores, _COUNTED)
        looks = [watch.look(0.0)]
        try:
            while launcher.poll() is None:
                time.sleep(LOOK_SECONDS)
                looks.append(watch.look(time.perf_counter() - began))
        finally:
            launcher.terminate()
        if launcher.returncode:
            log.seek(0)
            raise RuntimeError(f"the run failed:\n{log.read()[-4000:]}")
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    all_spent = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return _moments(looks, all_spent)


def _moments(looks: list[Moment], all_spent: float) -> Moments:
    """The moments among all looks.

    Args:
        looks: In their order.
        all_spent: CPU seconds of all processes of the run, by the kernel's count at its end: those
            spent between a process's last look and its end are the launcher's share.
    """
    last = looks[-1]
    unseen = max(all_spent - sum(last.spent.values()), 0.0)
    spent = {**last.spent, LAUNCHER: last.spent.get(LAUNCHER, 0.0) + unseen}
    updates = _updates(last.counts)
    return Moments(
        start=looks[0],
        first_step=next(look for look in looks if look.counts.get(_TEACHER_STEPS, 0.0) > 0),
        first_update=next(look for look in looks if look.counts.get(_ONLINE, 0.0) > 0),
        last_update=next(look for look in looks if _updates(look.counts) == updates),
        end=last._replace(spent=spent),
    )


def _updates(counts: Mapping[str, float]) -> float:
    return counts.get(_OFFLINE, 0.0) + counts.get(_ONLINE, 0.0)


def _table(start: Moment, end: Moment, costs: BareCosts, num_envs: int, cores: int) -> Table:
    """Where the cores' time between two moments went; sums to cores x wall."""

    def made(name: str) -> float:
        return end.counts.get(name, 0.0) - start.counts.get(name, 0.0)

    evaluated = made(_EVALUATION_FRAMES) / FRAMES_PER_STEP
    taught = made(_QUERIES) * num_envs
    useful = {
        "actors: environments": (made(_TEACHER_STEPS) + made(_ACTOR_STEPS)) * costs.env_step,
        "actors: student's network": made(_ACTOR_STEPS) * costs.student_state,
        "evaluator: environments": evaluated * costs.env_step,
        "evaluator: student's network": evaluated * costs.student_state,
        "teacher: network": taught * costs.teacher_state,
        "learner: updates": (_updates(end.counts) - _updates(start.counts)) * costs.update,
    }
    spent: dict[str, float] = {}
    for name, seconds in end.spent.items():
        role = name.rstrip("0123456789-") + "s" * name.startswith("actor")
        spent[role] = spent.get(role, 0.0) + seconds - start.spent.get(name, 0.0)
    table = dict(useful)
    for role, seconds in sorted(spent.items()):
        known = sum(part for name, part in useful.items() if name.startswith(f"{role}:"))
        # Below 0 where the parts cost less in the run than they did alone.
        table[f"{role}: all else"] = seconds - known
    ours, wall = sum(spent.values()), end.wall - start.wall
    table["other processes"] = max(end.busy - start.busy - ours, 0.0)
    table["idle"] = cores * wall - ours - table["other processes"]
    return table


def _useful(table: Table) -> float:
    """Seconds in environments and networks."""
    return sum(
        seconds
        for name, seconds in table.items()
        if name.endswith((": environments", "network", ": updates"))
    )


def _report(
    moments: Moments,
    measured: tuple[BareCosts, BareCosts],
    config: ExperimentConfig,
    cores: int,
    flags: Flags,
) -> None:
    start, first_step, first_update, last_update, end = moments
    before, after = (dataclasses.asdict(costs) for costs in measured)
    costs = BareCosts(**{name: (before[name] + after[name]) / 2 for name in before})
    stretches = {
        "start": (start, first_step),
        "training": (first_step, last_update),
        "end": (last_update, end),
        "whole": (start, end),
    }
    tables = {
        name: _table(*ends, costs, config.envs_per_actor, cores) for name, ends in stretches.items()
    }
    print(f"\nCPU seconds of {cores} cores" + "".join(f"{name:>12}" for name in tables))
    for row in dict.fromkeys(name for table in tables.values() for name in table):
        print(f"{row:<32}" + "".join(f"{table.get(row, 0.0):12.1f}" for table in tables.values()))
    walls = {name: ends[1].wall - ends[0].wall for name, ends in stretches.items()}
    print(f"{'sum = cores x wall':<32}" + "".join(f"{cores * s:12.1f}" for s in walls.values()))
    bare = (f"{name} {1e3 * before[name]:.3f}, {1e3 * after[name]:.3f}" for name in before)
    print("\nbare, CPU ms before and after:", "; ".join(bare))
    training, whole = tables["training"], tables["whole"]
    ours = cores * walls["training"] - training["idle"] - training["other processes"]
    steps = last_update.counts[_ACTOR_STEPS] - first_update.counts[_ACTOR_STEPS]
    # A stretch shorter than two looks has no rate.
    online_seconds = max(last_update.wall - first_update.wall, LOOK_SECONDS)
    print_ratios(
        {
            "training_useful": _useful(training) / (cores * walls["training"]),
            "training_useful_of_cpu": _useful(training) / ours,
            "whole_useful": _useful(whole) / (cores * walls["whole"]),
        },
        flags,
        wall_seconds=walls,
        cpu_seconds=tables,
        frames_per_second=FRAMES_PER_STEP * max(steps, 1.0) / online_seconds,
    )


if __name__ == "__main__":
    main()

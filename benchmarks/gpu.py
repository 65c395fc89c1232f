"""What a GPU does: the learner's updates against the bare update, and the frames/s of a whole run.

Runs wherever JAX does; without a GPU it only shows that it works. Three parts, one after the other:
`benchmarks.learner` for Nature and IMPALA, with batches of 32 and 256, with replay in Reverb and
with the teacher's data in the learner's memory; the same in bfloat16; and a run of `rrl train`
with Nature's network on all cores, measured by its frames in the online stage.

Ratios (higher is better):
    <case>, <case>_fed     as in `benchmarks.learner`
    <case>_bfloat16_speed  bare updates/s in bfloat16 over those in float32
    frames_over_anchor     frames/s of the run over 20,000 (agent0: Launchpad and replay on one RTX
                           4090)

    python -m benchmarks.gpu --quick --json
"""

from __future__ import annotations

import os
import shlex

import jax

from benchmarks.harness import Flags, parse_flags, print_ratios
from benchmarks.subprocesses import outcome

ANCHOR_FRAMES_PER_S = 20_000
_NETWORKS = ("nature_32", "nature_256", "impala_32", "impala_256")
_KINDS = ("", "_kept", "_bfloat16")


def main() -> None:
    """Measure and print."""
    flags = parse_flags(__doc__)
    # The device itself is left to the processes that measure.
    platform = os.environ.get("JAX_PLATFORMS") or "JAX's choice"
    print(f"jax {jax.__version__}, platform: {platform}, {os.cpu_count()} cores")
    networks = flags.pick(full=_NETWORKS, quick=_NETWORKS, smallest=_NETWORKS[:1])
    cases = [network + kind for network in networks for kind in _KINDS]
    seconds = flags.pick(full="6", quick="2", smallest="0.1")
    found = outcome("benchmarks.learner", "--seconds", seconds, "--cases", *cases, flags=flags)
    ratios = {name: ratio for name, ratio in found["ratios"].items() if "_free" not in name}
    for network in networks:
        bare = {kind: found["medians"][f"{network}{kind}_bare_per_s"] for kind in _KINDS}
        ratios[f"{network}_bfloat16_speed"] = bare["_bfloat16"] / bare[""]
    frames_per_s = _whole_run(flags)
    ratios["frames_over_anchor"] = frames_per_s / ANCHOR_FRAMES_PER_S
    print_ratios(ratios, flags, medians=found["medians"], frames_per_s=frames_per_s)


def _whole_run(flags: Flags) -> float:
    """Emulator frames per second of the online stage."""
    cores = len(os.sched_getaffinity(0))
    actors = flags.pick(full=cores, quick=cores, smallest=1)
    steps = flags.pick(full="400000", quick="200000", smallest="400")
    train = (
        # Nature's network; the evaluator's CPU would be the actors'.
        *("--network.features", "32", "64", "64", "--network.hidden-units", "512"),
        *("--num-actors", str(actors), "--envs-per-actor", "16", "--online-steps", steps),
        *("--online-evaluation-period", "1000000"),
    )
    run = outcome(
        "benchmarks.end_to_end",
        *("--cores", str(cores), f"--train={shlex.join(train)}"),
        flags=flags,
    )
    return float(run["frames_per_second"])


if __name__ == "__main__":
    main()

"""What vectorised MinAtar costs: its steps per second against the bare package's.

Both take random actions and read every state; the bare games are stepped one after the other and
reset when they end. One thread each, timed by its CPU seconds.

Ratios (higher is better): <game>_over_bare, in steps of single environments per CPU second.

    python -m benchmarks.minatar_steps --quick --json
"""

from __future__ import annotations

import time
from collections.abc import Callable

import minatar
import numpy as np

from benchmarks.harness import parse_flags, print_outcome
from rrl_agents.environments.game_names import MINATAR_GAMES
from rrl_agents.environments.registry import EnvironmentConfig, make_environment

NUM_ENVS = 16


def main() -> None:
    """Measure and print."""
    flags = parse_flags(__doc__)
    repeats = flags.pick(full=7, quick=3, smallest=1)
    seconds = flags.pick(full=2.0, quick=0.3, smallest=0.05)
    players = {
        f"{game}{kind}_steps_per_cpu_s": make(game)
        for game in MINATAR_GAMES
        for kind, make in (("", _vector), ("_bare", _bare))
    }
    rounds = [
        {name: _rate(step, seconds) for name, step in players.items()} for _ in range(repeats)
    ]
    ratios = {
        f"{game}_over_bare": (f"{game}_steps_per_cpu_s", f"{game}_bare_steps_per_cpu_s")
        for game in MINATAR_GAMES
    }
    print_outcome(rounds, ratios, flags)


def _vector(game: str) -> Callable[[], int]:
    """Steps `NUM_ENVS` games once; gives how many of them were played rather than reset."""
    environment = make_environment(EnvironmentConfig(name="minatar", game=game), NUM_ENVS)
    environment.reset(0)
    random = np.random.default_rng(0)

    def step() -> int:
        actions = random.integers(0, environment.spec.num_actions, NUM_ENVS)
        return int(np.count_nonzero(~environment.step(actions).episode_start))

    return step


def _bare(game: str) -> Callable[[], int]:
    """The same of the package's own environments."""
    environments = [minatar.Environment(game) for _ in range(NUM_ENVS)]
    for seed, environment in enumerate(environments):
        environment.seed(seed)
        environment.reset()
    action_set = environments[0].minimal_action_set()
    random = np.random.default_rng(0)

    def step() -> int:
        actions = random.integers(0, len(action_set), NUM_ENVS).tolist()
        for environment, action in zip(environments, actions, strict=True):
            _, is_over = environment.act(action_set[action])
            if is_over:
                environment.reset()
            environment.state()
        return NUM_ENVS

    return step


def _rate(step: Callable[[], int], seconds: float) -> float:
    steps, start = 0, time.process_time()
    while time.process_time() - start < seconds:
        steps += step()
    return steps / (time.process_time() - start)


if __name__ == "__main__":
    main()

"""Play an Atari game using a teacher's action values, as an agent outside this project would.

It needs the client (`pip install path/to/this/repository/rrl_client`, which installs grpcio,
protobuf and numpy) and an environment (`pip install ale-py gymnasium`), on Python 3.10 or newer.
Start a teacher first:

    rrl teacher serve --checkpoint pong_dqn
    python play_with_teacher.py --address 127.0.0.1:50051 --episodes 1

The client passes observations in shared memory if the teacher is on the same host, and over gRPC
otherwise. The environment follows Dopamine's protocol, with which the teacher was trained: sticky
actions, frame skip 4, gray 84x84 frames, stacks of 4, minimal action set, no episode end at the
loss of a life.
"""

from __future__ import annotations

import argparse
import sys
from typing import Any

import numpy as np
from ale_py import AtariVectorEnv
from gymnasium.vector import AutoresetMode

from rrl_client import TeacherClient, TeacherError, TeacherPolicy

MAX_FRAMES_PER_EPISODE = 108_000


def main() -> int:
    """Play and print returns.

    Returns:
        Exit code: 0, or 2 with one line on stderr when the teacher cannot be used.
    """
    flags = _parse_flags()
    try:
        with TeacherClient(flags.address, timeout_seconds=flags.timeout_seconds) as teacher:
            _play(teacher, flags)
    except (TeacherError, ValueError) as error:
        print(f"play_with_teacher: {error}", file=sys.stderr)
        return 2
    return 0


def _parse_flags() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument(
        "--address",
        default="127.0.0.1:50051",
        help="HOST:PORT of the teacher; several with commas for replicas",
    )
    parser.add_argument("--game", help="game to play; by default the teacher's")
    parser.add_argument("--environments", type=int, default=1, help="number of parallel games")
    parser.add_argument("--episodes", type=int, default=1, help="stop after this many episodes")
    parser.add_argument("--max-steps", type=int, help="stop after this many steps per environment")
    parser.add_argument(
        "--epsilon", type=float, default=0.001, help="probability of a random action"
    )
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument(
        "--timeout-seconds", type=float, default=30.0, help="deadline of each query"
    )
    return parser.parse_args()


def _play(teacher: TeacherClient, flags: argparse.Namespace) -> None:
    about = teacher.wait_until_ready(flags.timeout_seconds)
    game = flags.game or about.game
    if about.game not in ("unknown", game):
        raise ValueError(f"this teacher plays {about.game}, not {game}; omit --game")
    environments = _make_environments(game, flags.environments)
    policy = TeacherPolicy(teacher, flags.epsilon, np.random.default_rng(flags.seed))
    policy.check_environment(environments)
    print(f"playing {game} by {about.name}, version {about.teacher_version}", flush=True)
    stacks, _ = environments.reset(seed=flags.seed)
    returns: list[float] = []
    returns_so_far = np.zeros(flags.environments)
    steps = 0
    while len(returns) < flags.episodes and steps != flags.max_steps:
        # The emulators have the stack's frames on the first axis; the policy transposes them.
        stacks, rewards, terminated, truncated, _ = environments.step(policy(stacks))
        steps += 1
        returns_so_far += rewards
        for i in np.flatnonzero(terminated | truncated):
            returns.append(float(returns_so_far[i]))
            returns_so_far[i] = 0.0
            print(f"episode {len(returns)}: return {returns[-1]:g}", flush=True)
    environments.close()
    print(f"{steps} steps, {len(returns)} episodes, returns {returns}", flush=True)
    print(f"unfinished episodes: returns so far {returns_so_far.tolist()}", flush=True)


def _make_environments(game: str, count: int) -> Any:
    return AtariVectorEnv(
        game,
        count,
        repeat_action_probability=0.25,
        noop_max=0,
        use_fire_reset=False,
        reward_clipping=False,
        episodic_life=False,
        max_num_frames_per_episode=MAX_FRAMES_PER_EPISODE,
        autoreset_mode=AutoresetMode.NEXT_STEP,
    )


if __name__ == "__main__":
    sys.exit(main())

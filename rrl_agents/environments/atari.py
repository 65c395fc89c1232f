"""Atari 2600 games under Dopamine's protocol (Machado et al., 2018; Castro et al., 2018).

One decision lasts four emulator frames; a frame is the maximum of the last two raw screens, gray,
84x84 by area interpolation; an observation stacks four of them and starts an episode zero-padded.
Actions are sticky with probability 0.25, the minimal action set is used, an episode ends at game
over only, and there are no no-op starts. Rewards stay raw: training clips them, scores do not.

The emulators run in ale-py's C++ threads. Pixels, rewards and ends equal those of Dopamine's
AtariPreprocessing, except for frames of terminal steps, which Dopamine itself marks invalid.
"""

from __future__ import annotations

from ale_py import AtariVectorEnv
from gymnasium.vector import AutoresetMode

from rrl_agents.environments.registry import EnvironmentConfig, task_name
from rrl_agents.environments.vector_environment import VectorEnvironment
from rrl_agents.types import EnvironmentSpec

FRAME_SIDE = 84
"""Height and width of a frame, pixels."""

STACK_SIZE = 4
"""Frames in one observation."""

FRAMES_PER_STEP = 4
"""Emulator frames that one decision lasts."""


def make_atari(config: EnvironmentConfig, num_envs: int, num_threads: int) -> VectorEnvironment:
    """N copies of one game; a single frame `observation[i, ..., k]` is contiguous in memory."""
    game, limit = task_name(config.name, config.game), config.episode_steps
    emulators = AtariVectorEnv(
        game,
        num_envs,
        num_threads=num_threads,
        max_num_frames_per_episode=limit * FRAMES_PER_STEP,
        repeat_action_probability=config.sticky_actions,
        autoreset_mode=AutoresetMode.NEXT_STEP,
        img_height=FRAME_SIDE,
        img_width=FRAME_SIDE,
        stack_num=STACK_SIZE,
        frameskip=FRAMES_PER_STEP,
        noop_max=0,
        use_fire_reset=False,
        reward_clipping=False,
        episodic_life=False,
    )
    spec = EnvironmentSpec(
        name=game,
        frame_shape=(FRAME_SIDE, FRAME_SIDE),
        stack_size=STACK_SIZE,
        num_actions=len(emulators.ale.get_action_set()),
        frames_per_step=FRAMES_PER_STEP,
        max_episode_steps=limit,
    )
    return VectorEnvironment(spec, emulators, has_threads=True)

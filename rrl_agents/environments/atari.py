"""Atari 2600 games under Dopamine's protocol (Machado et al., 2018; Castro et al., 2018).

One decision lasts four emulator frames; a frame is the maximum of the last two raw screens, gray,
84x84 by area interpolation; an observation stacks four of them and starts an episode zero-padded.
Actions are sticky with probability 0.25, the minimal action set is used, an episode ends at game
over only, and there are no no-op starts. Rewards stay raw: training clips them, scores do not.

The emulators run in ale-py's C++ threads. Pixels, rewards and ends equal Dopamine's
AtariPreprocessing but for frames of terminal steps, which Dopamine itself calls invalid.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from ale_py import AtariVectorEnv
from gymnasium.vector import AutoresetMode
from numpy.typing import NDArray

from rrl_agents.environments.game_names import rom_name
from rrl_agents.environments.interface import Step
from rrl_agents.environments.score_tables import (
    ATARI_EPISODE_STEPS,
    ATARI_STICKY_ACTION_PROBABILITY,
)
from rrl_agents.types import EnvironmentSpec

FRAME_SIDE = 84
"""Height and width of a frame, pixels."""

STACK_SIZE = 4
"""Frames in one observation."""

FRAMES_PER_STEP = 4
"""Emulator frames that one decision lasts."""


class AtariEnvironment:
    """N copies of one game; a `VectorEnvironment`.

    Observations are views with the stack as last axis: a single frame `observation[i, ..., k]` is
    contiguous in memory, a whole observation is not.

    Attributes:
        spec: Shapes, actions and limits.
        num_envs: Number of environments N.
    """

    def __init__(
        self,
        game: str,
        num_envs: int,
        *,
        num_threads: int = 1,
        max_episode_steps: int | None = None,
        sticky_action_probability: float = ATARI_STICKY_ACTION_PROBABILITY,
    ) -> None:
        """Start the emulators.

        Args:
            game: Name in snake_case or CamelCase.
            num_envs: Number of environments N, at least 1.
            num_threads: Threads that step them, at least 1.
            max_episode_steps: Decisions after which an episode is cut off; None for 27,000.
            sticky_action_probability: Probability in [0, 1] that an action repeats the last one.

        Raises:
            ValueError: When the game is unknown.
        """
        rom = rom_name(game)
        limit = ATARI_EPISODE_STEPS if max_episode_steps is None else max_episode_steps
        self._emulators = AtariVectorEnv(
            rom,
            num_envs,
            num_threads=num_threads,
            max_num_frames_per_episode=limit * FRAMES_PER_STEP,
            repeat_action_probability=sticky_action_probability,
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
        self.spec = EnvironmentSpec(
            name=rom,
            frame_shape=(FRAME_SIDE, FRAME_SIDE),
            stack_size=STACK_SIZE,
            num_actions=len(self._emulators.ale.get_action_set()),
            frames_per_step=FRAMES_PER_STEP,
            max_episode_steps=limit,
        )
        self.num_envs = num_envs
        self._ended = np.zeros(num_envs, dtype=np.bool_)

    def reset(self, seed: int) -> NDArray[np.uint8]:
        """Start N fresh episodes; environment i is seeded with seed + i.

        Args:
            seed: At least 0; with N added it must fit 31 bits, as emulator seeds are int32.

        Returns:
            uint8 [N, 84, 84, 4], first observations.

        Raises:
            ValueError: When the seed is out of range.
        """
        largest = 2**31 - 1 - self.num_envs
        if not 0 <= seed <= largest:
            raise ValueError(f"seed is {seed}; use a whole number from 0 to {largest}")
        stacks, _ = self._emulators.reset(seed=seed)
        self._ended = np.zeros(self.num_envs, dtype=np.bool_)
        return _stack_last(stacks)

    def step(self, action: NDArray[np.int64]) -> Step:
        """Act, int64 [N]; an environment whose episode has ended starts a new one instead.

        Raises:
            ValueError: When an action is not one of 0 .. A - 1 (the emulator would not check).
        """
        if action.min() < 0 or action.max() >= self.spec.num_actions:
            raise ValueError(
                f"actions are {action}; {self.spec.name} has 0 to A - 1 with "
                f"A = {self.spec.num_actions}"
            )
        stacks, reward, terminated, truncated, _ = self._emulators.step(action)
        step = Step(
            observation=_stack_last(stacks),
            reward=reward.astype(np.float32),
            terminated=terminated,
            # A game that is over on its very last allowed frame has ended by its rules.
            truncated=truncated & ~terminated,
            episode_start=self._ended,
        )
        self._ended = terminated | truncated
        return step

    def close(self) -> None:
        """Free the emulators."""
        self._emulators.close()


def _stack_last(stacks: NDArray[Any]) -> NDArray[np.uint8]:
    """uint8 [N, stack, H, W] as [N, H, W, stack], without a copy."""
    return np.moveaxis(stacks, 1, -1)

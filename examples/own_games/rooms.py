"""MiniGrid as images, and a teacher that walks to the goal it sees.

Needs `pip install minigrid==3.2.0`.
"""

from __future__ import annotations

from typing import Any

import gymnasium
import numpy as np
from minigrid.wrappers import ImgObsWrapper, RGBImgPartialObsWrapper
from numpy.typing import NDArray

TILE = 3
"""Pixels per cell side: 7 x 7 cells make an image of 21 x 21."""

LEFT, RIGHT, FORWARD = 0, 1, 2


def make_env() -> gymnasium.Env[NDArray[np.uint8], np.int64]:
    """A room of 6 x 6 cells with a random start, seen from the agent: uint8 [21, 21, 3]."""
    room = gymnasium.make("MiniGrid-Empty-Random-6x6-v0")
    # MiniGrid's wrappers are not typed.
    with_image: Any = RGBImgPartialObsWrapper
    only_image: Any = ImgObsWrapper
    seen: gymnasium.Env[NDArray[np.uint8], np.int64] = only_image(with_image(room, tile_size=TILE))
    return seen


class Walker:
    """Moves forward while the green cell is ahead, then turns towards it; turns until it sees one.

    The agent is in the middle of the lowest row of cells and faces up.
    """

    name, game, version = "goal walker", "own_games.rooms:make_env", "1"
    num_actions, observation_shape, observation_dtype = 7, (7 * TILE, 7 * TILE, 3), "uint8"
    output, temperature = "logits", 1.0

    def evaluate(self, observations: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Logits float32 [B, 7] of images uint8 [B, 21, 21, 3]."""
        cells = observations.reshape(-1, 7, TILE, 7, TILE, 3).mean(axis=(2, 4))
        is_goal = (cells[..., 1] > 100) & (cells[..., 0] < 100) & (cells[..., 2] < 100)
        seen, place = is_goal.any(axis=(1, 2)), is_goal.reshape(len(cells), -1).argmax(axis=1)
        ahead, aside = 6 - place // 7, place % 7 - 3
        action = np.where(aside < 0, LEFT, RIGHT)
        action = np.where(seen & (ahead > 0), FORWARD, np.where(seen, action, RIGHT))
        return np.asarray(4.0 * np.eye(7)[action], np.float32)


def make_teacher() -> Walker:
    """The factory; the service calls it once, without arguments."""
    return Walker()

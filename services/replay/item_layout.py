"""How replay stores a transition: what one row and one item hold, and how a batch is decoded.

An episode of T steps is written as rows, one per step. A row holds only the newest frame of its
observation, so that observations share their frames. Padding rows (`valid` 0, everything else 0)
surround the episode, so that the item of every step is a slice of the same shape:

    stack-1 zero rows | rows of steps 0 .. T-1 | n zero rows                        (terminated)
    stack-1 zero rows | rows of steps 0 .. T-1 | final frame T | n-1 zero rows      (cut off)

The zero rows before the first step are Dopamine's zero-padding of the first observations. The item
of step t is complete when n more rows have been written.

Rows are stored as bytes, and an item is a single column of them, uint8 [stack+n, row bytes], since
Reverb's costs are per column: with seven columns, sampling an item took twice the CPU time and
three times the memory. `ItemLayout.row_dtype` has the fields of a row, and `ItemLayout.columns`
views the bytes as these columns:

    frame        uint8 [stack+n, H, W]   frames t-(stack-1) .. t+n; the layout may say otherwise:
                                         uint8 [stack+n, H, W, C], float32 [stack+n, D]
    action       int32 []                action of step t
    reward       float32 [n]             rewards of steps t .. t+n-1, clipped if the layout says so
    terminated   uint8 [n]               1 where that step's action ended the episode by the rules
    valid        uint8 [n]               1 for a real step, 0 for padding; ones come first
    teacher_outputs  float32 [A]         the teacher's action values for step t's observation
    has_teacher  uint8 []                1 if the teacher answered

This module is pure NumPy; `writer` and `reader` move the rows. Axes: B batch, A actions, H and W
pixels, C channels, D elements of a vector, frames oldest first. [H, W] stands for the layout's
frame shape below.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from rrl_agents.ranges import check_known, check_ranges
from rrl_agents.types import Batch, has_stack_axis
from rrl_client.spec import OBSERVATION_DTYPES

ROWS_COLUMN = "rows"
"""The one column of an item in Reverb."""
Columns = Mapping[str, NDArray[Any]]
"""Arrays by column name."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class ItemLayout:
    """The shapes of an item.

    Attributes:
        frame_shape: Shape of one frame: (H, W), (H, W, C) or (D,).
        stack_size: Frames in one observation.
        n_step: Steps n from a state to the state that its return bootstraps from.
        num_actions: Number of discrete actions A.
        clips_rewards: Whether rewards are clipped to [-1, 1] when they are stored, as the
            environment's protocol decides (`EnvironmentConfig.clips_rewards`).
        frame_dtype: Type of a frame's elements, one of `OBSERVATION_DTYPES`.
    """

    frame_shape: tuple[int, ...]
    stack_size: int
    n_step: int
    num_actions: int
    clips_rewards: bool
    frame_dtype: str = "uint8"

    def __post_init__(self) -> None:
        """Check every size."""
        if not self.frame_shape or min(self.frame_shape) < 1:
            raise ValueError(f"frame_shape is {self.frame_shape}; give sizes of at least 1")
        check_known(self, "frame_dtype", OBSERVATION_DTYPES)
        check_ranges(self, "stack_size", "n_step", "num_actions", least=1)

    @property
    def window(self) -> int:
        """Frames of one item: stack + n."""
        return self.stack_size + self.n_step

    @functools.cached_property
    def row_dtype(self) -> np.dtype[np.void]:
        """The fields of one row, each aligned."""
        fields = [
            ("action", np.int32),
            ("reward", np.float32),
            ("teacher_outputs", np.float32, (self.num_actions,)),
            ("has_teacher", np.uint8),
            ("terminated", np.uint8),
            ("valid", np.uint8),
            ("frame", self.frame_dtype, self.frame_shape),
        ]
        return np.dtype(fields, align=True)

    def item_columns(self) -> dict[str, tuple[tuple[int, ...], np.dtype[Any]]]:
        """Shape and dtype of each column of `columns`, by name."""
        return {
            "action": ((), np.dtype(np.int32)),
            "frame": ((self.window, *self.frame_shape), np.dtype(self.frame_dtype)),
            "has_teacher": ((), np.dtype(np.uint8)),
            "reward": ((self.n_step,), np.dtype(np.float32)),
            "teacher_outputs": ((self.num_actions,), np.dtype(np.float32)),
            "terminated": ((self.n_step,), np.dtype(np.uint8)),
            "valid": ((self.n_step,), np.dtype(np.uint8)),
        }

    def columns(self, items: NDArray[np.uint8]) -> Columns:
        """The columns of R items, as views of their bytes.

        Args:
            items: uint8 [R, stack+n, row bytes].
        """
        rows = items.view(self.row_dtype)[..., 0]
        step = self.stack_size - 1
        return {
            name: rows[name]
            if name == "frame"
            else rows[name][:, step:-1]
            if name in ("reward", "terminated", "valid")
            else rows[name][:, step]
            for name in self.item_columns()
        }

    def row(self, step: StepRow) -> NDArray[np.void]:
        """The row of a real step, `row_dtype` []; clips the reward if `clips_rewards`.

        Raises:
            ValueError: a shape, dtype or action that does not fit the layout.
        """
        if not 0 <= step.action < self.num_actions:
            raise ValueError(f"action {step.action} is not in [0, {self.num_actions})")
        row = self.padding_row(step.frame)
        row["action"] = step.action
        row["reward"] = min(max(step.reward, -1.0), 1.0) if self.clips_rewards else step.reward
        row["terminated"] = step.terminated
        row["valid"] = 1
        if step.teacher_outputs is not None:
            if step.teacher_outputs.shape != (self.num_actions,):
                raise ValueError(
                    f"teacher_outputs has shape {step.teacher_outputs.shape}, but the layout has "
                    f"({self.num_actions},)"
                )
            row["teacher_outputs"] = step.teacher_outputs
            row["has_teacher"] = 1
        return row

    def padding_row(self, frame: NDArray[Any] | None = None) -> NDArray[np.void]:
        """A row that is not a step: zeros, or the final frame of an episode that was cut off.

        Raises:
            ValueError: the frame does not fit the layout.
        """
        row = np.zeros((), self.row_dtype)
        if frame is not None:
            self._check_frame(frame)
            row["frame"] = frame
        return row

    def _check_frame(self, frame: NDArray[Any]) -> None:
        if frame.shape != self.frame_shape or frame.dtype != self.frame_dtype:
            raise ValueError(
                f"frame is {frame.dtype} {frame.shape}, but the layout has {self.frame_dtype} "
                f"{self.frame_shape}"
            )


class StepRow(NamedTuple):
    """One real step, as the actor passes it to a writer.

    Attributes:
        frame: [H, W] of the layout's type, the newest frame of the observation before the action.
        action: The action taken, in [0, A).
        reward: Raw reward of the action.
        terminated: Whether the action ended the episode by the game's rules.
        teacher_outputs: float32 [A], the teacher's action values; None if it did not answer.
    """

    frame: NDArray[Any]
    action: int
    reward: float
    terminated: bool
    teacher_outputs: NDArray[np.float32] | None


def decode_batch(columns: Columns, layout: ItemLayout, discount: float) -> Batch:
    """Turn sampled items into n-step transitions.

    With k real steps among the n of an item, `n_step_return = sum_{i<k} discount^i r_i`. It
    bootstraps from the state after k steps with the factor `discount^k`, or 0 after a termination.
    An episode that was cut off bootstraps from its final frame after fewer than n steps, which is
    exact.

    Args:
        columns: The columns of `ItemLayout.item_columns`, each with a leading axis B.
        layout: The layout they were written with.
        discount: gamma, in [0, 1], per step.

    Returns:
        The batch. `observation` and, if every item has n real steps, `next_observation` are
        transposed views of `columns["frame"]`: the transfer to the device makes the only copy.
    """
    frames = columns["frame"]
    valid = columns["valid"] != 0
    steps = valid.sum(axis=1)
    powers = np.power(discount, np.arange(layout.n_step)).astype(np.float32)
    ended = np.logical_and(columns["terminated"], valid).any(axis=1)
    bootstrap_factor = np.power(discount, steps) * ~ended
    return Batch(
        observation=_observed(frames[:, : layout.stack_size], layout),
        action=columns["action"],
        n_step_return=np.where(valid, columns["reward"], np.float32(0)) @ powers,
        discount=bootstrap_factor.astype(np.float32),
        next_observation=_observed(_bootstrap_frames(frames, steps, layout), layout),
        teacher_outputs=columns["teacher_outputs"],
        has_teacher=columns["has_teacher"].astype(np.float32),
        importance_weight=np.ones(len(frames), np.float32),
    )


def _bootstrap_frames(
    frames: NDArray[Any], steps: NDArray[np.int64], layout: ItemLayout
) -> NDArray[Any]:
    """[B, stack, H, W]: frames k .. k+stack of each row; a view if every k is n."""
    n_step, stack_size = layout.n_step, layout.stack_size
    stacks = frames[:, n_step:]
    short_rows = np.flatnonzero(steps < n_step)
    if short_rows.size:
        stacks = stacks.copy()
        for row in short_rows:
            stacks[row] = frames[row, steps[row] : steps[row] + stack_size]
    return stacks


def _observed(stacks: NDArray[Any], layout: ItemLayout) -> NDArray[Any]:
    """[B, stack, H, W] viewed as [B, H, W, stack], or as [B, *frame] without an axis of frames."""
    is_stack = has_stack_axis(layout.frame_shape, layout.stack_size)
    return np.moveaxis(stacks, 1, -1) if is_stack else stacks[:, 0]

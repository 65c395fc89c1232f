"""The vocabulary of the project: what every other module speaks of.

Conventions: B is a batch, N the environments of one vector environment, A the actions. A frame is
what the environment shows at one decision: pixels uint8 [H, W] of Atari and Catch, channels uint8
[H, W, C] of MinAtar, a vector float32 [D]. An observation is a stack of frames along one more, last
axis, oldest frame first: [*frame, stack]; where docstrings write [H, W, stack], any frame may stand
for [H, W]. One vector or one image with channels is observed as it is, without that axis. Clocks
are named: `env_frames` are emulator frames, `actor_steps` and `teacher_steps` are decisions
(several frames each), `learner_updates` are gradient steps. Returns are undiscounted sums of raw
rewards.
"""

from __future__ import annotations

import dataclasses
import enum
from collections.abc import Mapping
from typing import Any, NamedTuple, TypeAlias

Array: TypeAlias = Any
"""A numpy or a JAX array, whichever side of a jitted function one is on; docstrings give shapes."""

Params = Mapping[str, Any]
"""A tree of parameters: nested mappings with float32 arrays as leaves, flax names."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class EnvironmentSpec:
    """What an agent must know of an environment.

    Attributes:
        name: The game or task, e.g. "pong".
        frame_shape: Shape of one frame: (H, W), (H, W, C) or (D,).
        stack_size: Frames in one observation.
        num_actions: Number of discrete actions A.
        frames_per_step: Emulator frames that one decision lasts.
        max_episode_steps: Decisions after which an episode is cut off (not a termination).
        frame_dtype: Type of a frame's elements: "uint8", which networks divide by 255, or
            "float32", which they take as it is.
        frame_low: Of a vector, the value of each element that networks see as -1; empty where they
            see it as it is.
        frame_high: The same for +1.
    """

    name: str
    frame_shape: tuple[int, ...]
    stack_size: int
    num_actions: int
    frames_per_step: int
    max_episode_steps: int
    frame_dtype: str = "uint8"
    frame_low: tuple[float, ...] = ()
    frame_high: tuple[float, ...] = ()

    @property
    def observation_shape(self) -> tuple[int, ...]:
        """[*frame, stack], or [*frame] where there is no axis of frames."""
        return observed_shape(self.frame_shape, self.stack_size)

    def newest_frames(self, observations: Array) -> Array:
        """The newest frames [..., *frame] of observations [..., *observation_shape], a view."""
        is_stack = has_stack_axis(self.frame_shape, self.stack_size)
        return observations[..., -1] if is_stack else observations


def has_stack_axis(frame_shape: tuple[int, ...], stack_size: int) -> bool:
    """Whether observations have a last axis of frames.

    A stack of one vector or of one image with channels is that frame itself, as its environment
    shows it; one gray image [H, W] has the axis as its channel.
    """
    return stack_size > 1 or len(frame_shape) == 2


def observed_shape(frame_shape: tuple[int, ...], stack_size: int) -> tuple[int, ...]:
    """Shape of an observation of so many frames."""
    is_stack = has_stack_axis(frame_shape, stack_size)
    return (*frame_shape, stack_size) if is_stack else frame_shape


class Batch(NamedTuple):
    """One batch of n-step transitions, ready for the update.

    Attributes:
        observation: uint8 [B, H, W, stack], the state acted in.
        action: int32 [B].
        n_step_return: float32 [B], discounted sum of the rewards up to the bootstrap, clipped where
            the environment's protocol clips them.
        discount: float32 [B], factor of the bootstrap value: gamma ** steps, 0 after a termination.
        next_observation: uint8 [B, H, W, stack], the state bootstrapped from.
        teacher_outputs: float32 [B, A], the teacher's action values (or logits) in `observation`; 0
            when unanswered.
        has_teacher: float32 [B], 1 where the teacher answered, else 0.
        importance_weight: float32 [B], 1 everywhere for uniform replay.
    """

    observation: Array
    action: Array
    n_step_return: Array
    discount: Array
    next_observation: Array
    teacher_outputs: Array
    has_teacher: Array
    importance_weight: Array


class Stage(enum.IntEnum):
    """The stages of a run, in order; numbers as on the wire. A run never goes back."""

    COLLECT = 1
    OFFLINE = 2
    ONLINE = 3
    FINAL_EVALUATION = 4
    FINISHED = 5


@dataclasses.dataclass(frozen=True, kw_only=True)
class Progress:
    """Where a run stands: the clocks and returns that schedules read.

    Attributes:
        stage: Stage of the run.
        teacher_steps: Decisions the teacher has played into its table.
        offline_updates: Gradient steps of the offline stage.
        online_updates: Gradient steps of the online stage.
        actor_steps: Decisions the students have played into their table.
        weaning_weight: Weight of the distillation term, in [0, 1]; once 0 it stays 0.
        student_return: Mean return of the newest evaluation, None before the first.
        online_return: The same of weights that have learned online, what weaning reads; None before
            the first.
        teacher_return: Mean return of the teacher under the evaluation protocol, None until known.
        random_return: Mean return of the uniformly random policy.
        weights_version: Grows with each publication of weights; 0 before the first.
        evaluations: Evaluations taken in so far.
        evaluated_updates: Gradient steps behind the weights of the newest evaluation, None before
            the first.
        max_priority: Largest priority that the student's transitions have been given, what new
            ones enter replay with; 1 before any.
    """

    random_return: float
    teacher_return: float | None = None
    stage: Stage = Stage.COLLECT
    teacher_steps: int = 0
    offline_updates: int = 0
    online_updates: int = 0
    actor_steps: int = 0
    weaning_weight: float = 1.0
    student_return: float | None = None
    online_return: float | None = None
    weights_version: int = 0
    evaluations: int = 0
    evaluated_updates: int | None = None
    max_priority: float = 1.0

    @property
    def learner_updates(self) -> int:
        """Gradient steps of all stages."""
        return self.offline_updates + self.online_updates

    def after_updates(self, count: int) -> Progress:
        """The progress after so many more gradient steps in its stage."""
        if self.stage is Stage.OFFLINE:
            return dataclasses.replace(self, offline_updates=self.offline_updates + count)
        return dataclasses.replace(self, online_updates=self.online_updates + count)

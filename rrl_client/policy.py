"""A teacher as a policy: observations in, actions out, in gymnasium's shapes.

    with TeacherClient("127.0.0.1:50051") as teacher:
        policy = TeacherPolicy(teacher, epsilon=0.001, rng=np.random.default_rng(0))
        policy.check_environment(environment)
        actions = policy(observations)          # int64 [B] for a batch, an int for one observation

A teacher of Q-values acts greedily; a teacher of logits samples from its policy,
softmax(logits / temperature). Needs only numpy and a client. B is the number of observations in a
batch, A that of actions.
"""

from __future__ import annotations

from typing import Any, Protocol

import numpy as np
from numpy.typing import ArrayLike, NDArray

from rrl_client.actions import teacher_actions
from rrl_client.codec import TeacherAnswer, in_dtype, read_array
from rrl_client.spec import TeacherDescription


class AsksTeacher(Protocol):
    """The part of a client that a policy needs; `TeacherClient` has it."""

    def describe(self) -> TeacherDescription:
        """Describe the model."""

    def evaluate(self, observations: NDArray[Any]) -> TeacherAnswer:
        """Action values of a batch of any size."""


class TeacherPolicy:
    """Act like the teacher, or with probability epsilon take a random action.

    With Q-values it takes the best action, the first of equal ones, as `numpy.argmax` does; with
    logits it samples an action from softmax(logits / temperature).

    Observations may also have a stack's frames on the first axis, as gymnasium's wrappers and
    `ale_py.AtariVectorEnv` return them: a teacher for (84, 84, 4) also accepts (4, 84, 84). They
    are transposed, oldest frame first on both sides. A shape that already fits the teacher, e.g.
    (4, 4, 4), is never transposed.

    Attributes:
        about: The teacher's description.
    """

    def __init__(
        self,
        client: AsksTeacher,
        epsilon: float = 0.0,
        rng: np.random.Generator | None = None,
    ) -> None:
        """Fetch the teacher's description.

        Args:
            client: The teacher's client; the caller closes it.
            epsilon: Probability of a random action, in [0, 1].
            rng: Where random actions come from; needed when epsilon is above 0 or the teacher's
                actions are drawn from logits, so that runs can be repeated.

        Raises:
            ValueError: epsilon is out of range, or there is no rng for it or for the draws.
            TeacherError: The teacher cannot be described.
        """
        if not 0 <= epsilon <= 1:
            raise ValueError(f"epsilon is {epsilon}; it is a probability, in [0, 1]")
        if epsilon > 0 and rng is None:
            raise ValueError(
                f"epsilon is {epsilon}, but rng is not set; give numpy.random.default_rng(seed)"
            )
        self._client = client
        self._epsilon = epsilon
        self._rng = rng
        self.about = client.describe()
        self._spec = self.about.spec
        if rng is None and self._spec.output != "q_values":
            raise ValueError(
                f"this teacher ({self.about.name}) returns {self._spec.output}, from which "
                "actions are sampled, but rng is not set; give numpy.random.default_rng(seed)"
            )

    def __call__(self, observations: ArrayLike) -> Any:
        """Choose actions.

        Args:
            observations: One observation [*shape] or a batch [B, *shape], B >= 1, as an array,
                nested lists or an object with `__array__`, as in `TeacherClient.evaluate`.

        Returns:
            An int for one observation, int64 [B] for a batch.

        Raises:
            ValueError: The shape fits neither.
            TeacherError: The teacher did not answer.
        """
        batch, is_one = self._as_batch(observations)
        actions = self._choose(self._client.evaluate(batch).action_values)
        return int(actions[0]) if is_one else actions

    def action_values(self, observations: ArrayLike) -> NDArray[np.float32]:
        """The teacher's action values, float32 [A] for one observation, [B, A] for a batch.

        Arguments and errors are as for a call.
        """
        batch, is_one = self._as_batch(observations)
        values = self._client.evaluate(batch).action_values
        return values[0] if is_one else values

    def check_environment(self, environment: Any) -> None:
        """Check that an environment's actions and observations match the teacher's.

        Args:
            environment: A gymnasium environment, single or vector.

        Raises:
            ValueError: Number, type or shape differs; the message says how.
        """
        space = getattr(environment, "single_action_space", environment.action_space)
        count = getattr(space, "n", None)
        if count is None:
            raise ValueError(f"the environment's actions are {space}; a teacher chooses among A")
        seen = getattr(environment, "single_observation_space", environment.observation_space)
        is_stacked = seen.shape == self._stacked_shape()
        misfit = self._spec.misfit(
            observation_shape=self._spec.observation_shape if is_stacked else seen.shape,
            observation_dtype=np.dtype(seen.dtype).name,
            num_actions=int(count),
            of="the environment",
        )
        if misfit is not None:
            raise ValueError(
                f"the teacher ({self.about.name}, {self.about.game}) {misfit}; use the teacher's "
                "game with its action set (minimal or full), wrap the environment alike, and do "
                "not scale or convert observations"
            )

    def _choose(self, values: NDArray[np.float32]) -> NDArray[np.int64]:
        if self._rng is None:
            greedy: NDArray[np.int64] = values.argmax(axis=1)
            return greedy
        taught = teacher_actions(
            values,
            output=self._spec.output,
            temperature=self._spec.temperature,
            random=self._rng,
        )
        if self._epsilon == 0:
            return taught
        explores = self._rng.random(len(taught)) < self._epsilon
        chosen: NDArray[np.int64] = np.where(
            explores, self._rng.integers(values.shape[1], size=len(taught)), taught
        )
        return chosen

    def _as_batch(self, observations: ArrayLike) -> tuple[NDArray[Any], bool]:
        """Observations as the teacher takes them, [B, *shape], and whether it was a single one."""
        array = read_array(observations)
        if array is not observations:
            array = in_dtype(array, self._spec.observation_dtype)
        shape, stacked = self._spec.observation_shape, self._stacked_shape()
        if array.shape == shape:
            return array[None], True
        if array.shape[1:] == shape:
            return array, False
        if stacked is not None and array.shape == stacked:
            return np.moveaxis(array, 0, -1)[None], True
        if stacked is not None and array.shape[1:] == stacked:
            return np.moveaxis(array, 1, -1), False
        raise ValueError(f"observations have shape {array.shape}; {self._wanted()}")

    def _stacked_shape(self) -> tuple[int, ...] | None:
        """The teacher's (H, W, stack) with the stack first; None for other shapes."""
        shape = self._spec.observation_shape
        return (shape[2], shape[0], shape[1]) if len(shape) == 3 else None

    def _wanted(self) -> str:
        stacked = self._stacked_shape()
        other = "" if stacked is None else f" (or {stacked}, frames first)"
        return f"the teacher takes {self._spec.observation_shape}{other}, one or a batch of them"

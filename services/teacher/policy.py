"""One frozen policy: observations in, action values out, in batches of fixed sizes.

The parameters never change, so neither do the answers: the version is the parameters' hash.
"""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Iterable
from typing import Any, Protocol

import jax
import numpy as np
from numpy.typing import NDArray

from rrl_agents.checkpoints.load_teacher import Teacher, load_teacher
from rrl_agents.networks.registry import make_network
from services.shared.errors import UserError
from services.teacher.config import TeacherConfig

_VERSION_DIGITS = 16
_TIMED_CALLS = 3


@dataclasses.dataclass(frozen=True, kw_only=True)
class PolicyInfo:
    """What is known of a policy without running it.

    Attributes:
        game: Game or task.
        name: Human-readable name.
        version: Content hash of the parameters.
        num_actions: Number of actions A.
        observation_shape: Shape of one observation.
        observation_dtype: "uint8" or "float32".
        action_meanings: Names of the actions, empty when unknown.
    """

    game: str
    name: str
    version: str
    num_actions: int
    observation_shape: tuple[int, ...]
    observation_dtype: str
    action_meanings: tuple[str, ...] = ()


class Policy(Protocol):
    """Anything that can be served."""

    @property
    def info(self) -> PolicyInfo:
        """What it takes and gives."""

    def evaluate(self, observations: NDArray[Any]) -> NDArray[np.float32]:
        """Action values float32 [B, A] of [B, *observation_shape]; compiles once per B."""


class FrozenPolicy:
    """A teacher's network with its parameters on the device."""

    def __init__(self, teacher: Teacher) -> None:
        """Put the parameters on JAX's default device.

        Args:
            teacher: Parameters and card of the teacher.
        """
        card = teacher.card
        self._info = PolicyInfo(
            game=card.game,
            name=card.name,
            version=card.parameters_sha256[:_VERSION_DIGITS],
            num_actions=card.num_actions,
            observation_shape=tuple(card.observation_shape),
            observation_dtype=card.observation_dtype,
            action_meanings=tuple(card.action_meanings),
        )
        self._params = jax.device_put(teacher.params)
        self._forward = jax.jit(make_network(card.network, card.num_actions).apply)

    @property
    def info(self) -> PolicyInfo:
        """What it takes and gives."""
        return self._info

    def evaluate(self, observations: NDArray[Any]) -> NDArray[np.float32]:
        """Action values float32 [B, A] of [B, *observation_shape]; compiles once per B."""
        return np.asarray(self._forward(self._params, observations), np.float32)


def load_policy(config: TeacherConfig) -> FrozenPolicy:
    """Load the policy a config names.

    Raises:
        UserError: There is no such checkpoint, or it cannot be read; says what to do.
    """
    try:
        return FrozenPolicy(load_teacher(config.checkpoint, config.checkpoint_number, config.game))
    except (ValueError, OSError) as error:
        raise UserError(str(error)) from error


def warm_up(policy: Policy, buckets: Iterable[int]) -> dict[int, float]:
    """Compile every batch size and time it.

    Returns:
        Batch size in rows -> seconds of one call, the median of a few.
    """
    info = policy.info
    seconds_by_bucket = {}
    for rows in buckets:
        observations = np.zeros((rows, *info.observation_shape), info.observation_dtype)
        policy.evaluate(observations)
        seconds_by_bucket[rows] = float(
            np.median([_timed_call(policy, observations) for _ in range(_TIMED_CALLS)])
        )
    return seconds_by_bucket


def _timed_call(policy: Policy, observations: NDArray[Any]) -> float:
    start = time.perf_counter()
    policy.evaluate(observations)
    return time.perf_counter() - start


def evaluate_in_pieces(
    policy: Policy, observations: NDArray[Any], *, rows_per_call: int = 128
) -> NDArray[np.float32]:
    """Action values of any number of states, the last piece padded: one compilation.

    Args:
        policy: What answers.
        observations: [N, *observation_shape], N >= 1.
        rows_per_call: Batch size to compile.

    Returns:
        float32 [N, A].
    """
    values = np.empty((len(observations), policy.info.num_actions), np.float32)
    padded = np.zeros((rows_per_call, *observations.shape[1:]), observations.dtype)
    for start in range(0, len(observations), rows_per_call):
        piece = observations[start : start + rows_per_call]
        padded[: len(piece)] = piece
        values[start : start + len(piece)] = policy.evaluate(padded)[: len(piece)]
    return values

"""A policy's inputs and outputs, and a served model's description, for servers, clients and files.

Standard library and numpy only. A is the number of actions, B that of rows in a batch.
"""

from __future__ import annotations

import dataclasses
import functools
import math
from typing import Any, Literal, TypeAlias, get_args

import numpy as np
from numpy.typing import NDArray

ObservationDtype: TypeAlias = Literal["uint8", "float32"]
OBSERVATION_DTYPES: tuple[str, ...] = get_args(ObservationDtype)
"""Element types of observations, in numpy's names."""

Output: TypeAlias = Literal["q_values", "logits"]
OUTPUTS: tuple[str, ...] = get_args(Output)
"""Kinds of scores: expected returns, or the logits of the action probabilities."""

DEFAULT_TEMPERATURE = 1.0
"""For logits without a stated temperature, which are those of the policy itself."""

MAX_ACTIONS = 1 << 16
MAX_OBSERVATION_ELEMENTS = 1 << 24
"""Bounds: specs come from files and from the network, and memory is allocated by them."""

_MOST_QUOTED_CHARS = 32


@dataclasses.dataclass(frozen=True, kw_only=True)
class PolicySpec:
    """A policy's inputs and outputs.

    Attributes:
        num_actions: Number of actions A, 1 to `MAX_ACTIONS`.
        observation_shape: Shape of one observation, e.g. (84, 84, 4), oldest frame first.
        observation_dtype: Type of its elements, one of `OBSERVATION_DTYPES`.
        output: Kind of its scores, one of `OUTPUTS`.
        temperature: Divides logits before the softmax, above 0; None for Q-values, which each
            method softens in its own way.
        action_meanings: Names of the actions in the order of the scores; empty when unknown.
    """

    num_actions: int
    observation_shape: tuple[int, ...]
    observation_dtype: str = "uint8"
    output: str = "q_values"
    temperature: float | None = None
    action_meanings: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        """Check the values."""
        if not 1 <= self.num_actions <= MAX_ACTIONS:
            raise ValueError(
                f"num_actions is {self.num_actions}; it must be at least 1 and at most "
                f"{MAX_ACTIONS}"
            )
        shape = self.observation_shape
        if not shape or min(shape) < 1 or math.prod(shape) > MAX_OBSERVATION_ELEMENTS:
            raise ValueError(
                f"observation_shape is {shape}; give sizes of at least 1 and at most "
                f"{MAX_OBSERVATION_ELEMENTS} elements"
            )
        _check_known("observation_dtype", self.observation_dtype, OBSERVATION_DTYPES)
        _check_known("output", self.output, OUTPUTS)
        if self.temperature is not None and not 0 < self.temperature < math.inf:
            raise ValueError(f"temperature is {self.temperature}; it must be finite and above 0")
        if self.temperature is not None and self.output == "q_values":
            raise ValueError(
                f"temperature is {self.temperature} for Q-values, which each method softens in its "
                "own way; leave it out"
            )
        if self.action_meanings and len(self.action_meanings) != self.num_actions:
            raise ValueError(
                f"action_meanings names {len(self.action_meanings)} actions, num_actions is "
                f"{self.num_actions}"
            )

    @functools.cached_property
    def row_bytes(self) -> int:
        """Bytes of one observation."""
        return math.prod(self.observation_shape) * np.dtype(self.observation_dtype).itemsize

    def zeros(self, rows: int) -> NDArray[Any]:
        """A batch of zeros, [rows, *observation_shape]."""
        return np.zeros((rows, *self.observation_shape), self.observation_dtype)

    def misfit(
        self,
        *,
        observation_shape: tuple[int, ...],
        observation_dtype: str,
        num_actions: int | None = None,
        of: str,
    ) -> str | None:
        """How other observations and actions differ from the policy's.

        Args:
            observation_shape: Of one observation.
            observation_dtype: Of its elements, as numpy writes it.
            num_actions: Number of actions; None to compare none.
            of: Name of the other side in the message, e.g. "pong".

        Returns:
            The difference, to follow "the policy"; None if there is none.
        """
        if num_actions not in (None, self.num_actions):
            return f"has {self.num_actions} actions, {of} has {num_actions}"
        if (observation_shape, observation_dtype) != (
            self.observation_shape,
            self.observation_dtype,
        ):
            return (
                f"takes observations {self.observation_dtype} {self.observation_shape}, {of} has "
                f"{observation_dtype} {observation_shape}"
            )
        return None

    def mismatch(self, other: PolicySpec, *, of: str) -> str | None:
        """How another policy differs in what callers rely on (not the names of actions).

        Args:
            other: The other policy's.
            of: Its name in the message.

        Returns:
            The difference, to follow "the policy"; None if one can replace the other.
        """
        if (self.output, self.temperature) != (other.output, other.temperature):
            return (
                f"gives {self.output} of temperature {self.temperature}, {of} gives {other.output} "
                f"of temperature {other.temperature}"
            )
        return self.misfit(
            observation_shape=other.observation_shape,
            observation_dtype=other.observation_dtype,
            num_actions=other.num_actions,
            of=of,
        )


@dataclasses.dataclass(frozen=True, kw_only=True)
class TeacherDescription:
    """One version of a model: its inputs and outputs, and the service's limits.

    Attributes:
        game: Game or task, e.g. "pong".
        name: Human-readable name of the checkpoint.
        spec: Its inputs and outputs.
        teacher_version: Content hash of the parameters.
        max_batch_rows: Most observations in one request.
        model: Name of the model on its server.
        model_version: Counts the versions of the model on its server, from 1.
        backend: The backend, e.g. "jax cpu".
        max_message_bytes: Largest message the server reads.
        host_id: Identifies the host and its boot, if the server reads memory that clients on it
            share; otherwise empty.
        card: The teacher's card, JSON as in a card.json; empty if the server has none.
    """

    game: str
    name: str
    spec: PolicySpec
    teacher_version: str
    max_batch_rows: int
    model: str = ""
    model_version: int = 1
    backend: str = ""
    max_message_bytes: int = 4 * 2**20
    host_id: str = ""
    card: str = dataclasses.field(default="", repr=False)

    def __post_init__(self) -> None:
        """Check values that a foreign server might get wrong."""
        if self.max_batch_rows < 1:
            raise ValueError(f"max_batch_rows is {self.max_batch_rows}; it must be at least 1")


def _check_known(name: str, value: str, known: tuple[str, ...]) -> None:
    if value not in known:
        # It may come from anywhere and be long.
        raise ValueError(f"{name} is {value[:_MOST_QUOTED_CHARS]!r}; give {' or '.join(known)}")

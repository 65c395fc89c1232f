"""One frozen policy: observations in, action values out.

The parameters never change, so neither do the answers: the version is the parameters' hash. What
computes is one of `backends`; they bring the heavy libraries, this module does without, so that
clients and front-end processes start quickly.
"""

from __future__ import annotations

import concurrent.futures
import dataclasses
import time
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
from numpy.typing import NDArray

from services.shared.errors import UserError
from services.teacher.config import DEFAULT_BUCKETS, ModelConfig

if TYPE_CHECKING:
    from rrl_agents.checkpoints.teacher_card import TeacherCard
    from rrl_agents.networks.registry import NetworkConfig

_VERSION_DIGITS = 16

_TIMED_ROUNDS = 4
_FEWEST_TIMED_CALLS = 2
_TIMED_ROWS = 16
# Other people's policies may take seconds: then a few calls must do.
_TIMED_SECONDS_PER_SIZE = 1.0
_TIMED_SECONDS = 10.0


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
        output: What its action values are: "q_values" or "logits".
        temperature: Divides logits before the softmax, above 0; None for Q-values.
    """

    game: str
    name: str
    version: str
    num_actions: int
    observation_shape: tuple[int, ...]
    observation_dtype: str
    action_meanings: tuple[str, ...] = ()
    output: str = "q_values"
    temperature: float | None = None


def info_of_card(card: TeacherCard) -> PolicyInfo:
    """What a teacher's card says of its policy."""
    return PolicyInfo(
        game=card.game,
        name=card.name,
        version=card.parameters_sha256[:_VERSION_DIGITS],
        num_actions=card.num_actions,
        observation_shape=tuple(card.observation_shape),
        observation_dtype=card.observation_dtype,
        action_meanings=tuple(card.action_meanings),
        output=card.output,
        temperature=card.temperature,
    )


def network_of_card(card: TeacherCard) -> NetworkConfig:
    """The network of a teacher with parameters of ours.

    Raises:
        ValueError: Something else computes it.
    """
    if card.network is None:
        raise ValueError(f"{card.name} ({card.made}) is no network of ours; serve its own file")
    return card.network


class Policy(Protocol):
    """Anything that can be served."""

    @property
    def info(self) -> PolicyInfo:
        """What it takes and gives."""

    @property
    def backend(self) -> str:
        """What computes: "jax cpu", "jax gpu", "onnxruntime cpu" or "python"."""

    @property
    def any_batch_size(self) -> bool:
        """Whether a batch size not seen before costs nothing extra, so padding is no use."""

    @property
    def callers(self) -> int:
        """Calls of `evaluate` side by side that get the most done."""

    def evaluate(self, observations: NDArray[Any]) -> NDArray[np.float32]:
        """Action values float32 [B, A] of [B, *observation_shape]."""


def load_policy(
    model: ModelConfig,
    *,
    backend: str = "auto",
    dtype: str = "float32",
    buckets: Iterable[int] = DEFAULT_BUCKETS,
    callers: int | None = None,
) -> Policy:
    """Load the policy a config names, whatever its kind.

    Args:
        model: Which teacher.
        backend: What computes our own networks: "jax", "onnx" or "auto", as in
            `backends.choice.choose_policy`. ONNX files and Python policies bring what computes
            them.
        dtype: What JAX computes in, "float32" or "bfloat16".
        buckets: Batch sizes it will be asked for, in rows; "auto" compares at the largest.
        callers: Calls side by side that ONNX Runtime is set up for; None for what gets the most
            done, 1 where there is only ever one: then all cores share each batch.

    Raises:
        UserError: There is no such teacher, it cannot be read or breaks its promises, or the
            backend is not to be had; says what to do.
    """
    from services.library.catalogue import locate
    from services.teacher.backends.loading import policy_of

    try:
        return policy_of(
            dataclasses.replace(model, checkpoint=locate(model.checkpoint)),
            backend=backend,
            dtype=dtype,
            largest_batch=max(buckets),
            callers=callers,
        )
    except (ValueError, OSError) as error:
        raise UserError(str(error)) from error


def warm_up(policy: Policy, buckets: Iterable[int]) -> dict[int, float]:
    """Compile every batch size and time it, as it is going to be called: side by side.

    Args:
        policy: What answers.
        buckets: Batch sizes in rows, each at least 1.

    Returns:
        Batch size in rows -> seconds of one call among `policy.callers`: the least of a few rounds,
        as whatever else the machine does only adds to it.
    """
    info = policy.info
    batches = {}
    for rows in buckets:
        batches[rows] = np.zeros((rows, *info.observation_shape), info.observation_dtype)
        policy.evaluate(batches[rows])
    with concurrent.futures.ThreadPoolExecutor(policy.callers) as threads:
        # Sizes take turns, so that a busy moment does not meet all rounds of one.
        rounds: list[dict[int, float]] = []
        end = time.perf_counter() + _TIMED_SECONDS
        while len(rounds) < _TIMED_ROUNDS and (not rounds or time.perf_counter() < end):
            rounds.append(
                {rows: _timed_round(policy, batch, threads) for rows, batch in batches.items()}
            )
    return {rows: min(timed[rows] for timed in rounds) for rows in batches}


def _timed_round(
    policy: Policy, batch: NDArray[Any], threads: concurrent.futures.Executor
) -> float:
    """Median seconds of a call while all callers call at once, a few times each."""
    # Small batches are short and decide the latency: they can be, and are worth being, timed often.
    calls = max(_FEWEST_TIMED_CALLS, _TIMED_ROWS // len(batch))

    def call(_: int) -> list[float]:
        seconds: list[float] = []
        while len(seconds) < calls and sum(seconds) < _TIMED_SECONDS_PER_SIZE:
            seconds.append(_timed_call(policy, batch))
        return seconds

    times = threads.map(call, range(policy.callers))
    return float(np.median([seconds for found in times for seconds in found]))


def _timed_call(policy: Policy, batch: NDArray[Any]) -> float:
    start = time.perf_counter()
    policy.evaluate(batch)
    return time.perf_counter() - start


def evaluate_in_pieces(
    policy: Policy, observations: NDArray[Any], *, rows_per_call: int = 128
) -> NDArray[np.float32]:
    """Action values of any number of states; where sizes are compiled, one size only.

    Args:
        policy: What answers.
        observations: [N, *observation_shape], N >= 1.
        rows_per_call: Rows of one batch.

    Returns:
        float32 [N, A].
    """
    values = np.empty((len(observations), policy.info.num_actions), np.float32)
    padded = np.zeros((rows_per_call, *observations.shape[1:]), observations.dtype)
    for start in range(0, len(observations), rows_per_call):
        piece = observations[start : start + rows_per_call]
        rows = len(piece)
        if rows < rows_per_call and not policy.any_batch_size:
            padded[:rows] = piece
            piece = padded
        values[start : start + rows] = policy.evaluate(piece)[:rows]
    return values

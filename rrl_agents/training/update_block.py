"""K gradient steps from one call: what K single updates with the same batches give.

On a GPU or TPU the steps are one `lax.scan`, so that the host dispatches once per block. On a CPU
they are K calls of one compiled step that takes its batch out of the block: XLA compiles the
convolutions of a loop's body for CPUs to code that is nine times slower (JAX 0.6.2, Nature CNN:
481 ms of CPU per update in a scan, 50 ms outside of it, 57 to 75 ms unrolled).
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike

from rrl_agents.networks.registry import QNetwork
from rrl_agents.students.config import StudentConfig
from rrl_agents.training.optimiser_config import OptimiserConfig
from rrl_agents.training.term import Term
from rrl_agents.training.train_state import TrainState
from rrl_agents.training.update_step import UpdateMetrics, UpdateStep, make_update_step
from rrl_agents.types import Batch


class BlockSchedule(NamedTuple):
    """What the run's schedules give for each update of a block.

    Attributes:
        weights: float32 [K] for each term's name.
        learning_rate: float32 [K], above 0.
    """

    weights: Mapping[str, ArrayLike]
    learning_rate: ArrayLike


UpdateBlock = Callable[
    [TrainState, Batch, BlockSchedule, ArrayLike, jax.Array], tuple[TrainState, UpdateMetrics]
]
"""Compiled updates, of K gradient steps; consumes the state it is given (its buffers are donated).

Of the state, from `initial_train_state` or the last call; K batches, every array with the leading
axes [K, B]; weights and rates of the K updates; the target network's period in updates, int32 [];
and a JAX random key, the same one for all updates of a run. Metrics have the leading axis K.
"""


def make_update_block(
    network: QNetwork,
    terms: tuple[Term, ...],
    optimiser: OptimiserConfig,
    student: StudentConfig,
    *,
    platform: str | None = None,
) -> UpdateBlock:
    """Compile blocks of updates; one compilation per K and B.

    Args:
        network: As `make_update_step`, like the next three.
        terms: The method's loss.
        optimiser: Its settings, those of the state.
        student: How the student learns.
        platform: "cpu" or another of JAX's platforms; None for that of the default device.

    Raises:
        ValueError: as `make_update_step`.
    """
    step = make_update_step(network, terms, optimiser, student)
    platform = platform or jax.default_backend()
    return _one_by_one(step) if platform == "cpu" else _scanned(step)


def _scanned(step: UpdateStep) -> UpdateBlock:
    def block(
        state: TrainState,
        batches: Batch,
        schedule: BlockSchedule,
        target_update_period: ArrayLike,
        key: jax.Array,
    ) -> tuple[TrainState, UpdateMetrics]:
        def body(
            state: TrainState, inputs: tuple[Batch, BlockSchedule]
        ) -> tuple[TrainState, UpdateMetrics]:
            batch, (weights, learning_rate) = inputs
            return step(state, batch, weights, learning_rate, target_update_period, key)

        return jax.lax.scan(body, state, (batches, schedule))

    return jax.jit(block, donate_argnames="state")


def _one_by_one(step: UpdateStep) -> UpdateBlock:
    @functools.partial(jax.jit, donate_argnames="state")
    def update(
        state: TrainState,
        batches: Batch,
        schedule: BlockSchedule,
        index: ArrayLike,
        target_update_period: ArrayLike,
        key: jax.Array,
    ) -> tuple[TrainState, UpdateMetrics]:
        batch, (weights, learning_rate) = _row((batches, schedule), index)
        return step(state, batch, weights, learning_rate, target_update_period, key)

    def block(
        state: TrainState,
        batches: Batch,
        schedule: BlockSchedule,
        target_update_period: ArrayLike,
        key: jax.Array,
    ) -> tuple[TrainState, UpdateMetrics]:
        steps = []
        for index in range(len(batches.action)):
            state, metrics = update(
                state, batches, schedule, np.int32(index), target_update_period, key
            )
            steps.append(metrics)
        return state, _stacked(steps)

    return block


def _row(tree: Any, index: ArrayLike) -> Any:
    """Row `index` of every array."""
    at = jnp.asarray(index)
    return jax.tree.map(lambda array: jax.lax.dynamic_index_in_dim(array, at, keepdims=False), tree)


@jax.jit
def _stacked(metrics: list[UpdateMetrics]) -> UpdateMetrics:
    stacked: UpdateMetrics = jax.tree.map(lambda *rows: jnp.stack(rows), *metrics)
    return stacked

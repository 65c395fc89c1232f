"""K gradient steps from one call: what K single updates with the same batches give.

On a GPU or TPU the steps are one `lax.scan`, so that the host dispatches once per block. On a CPU
they are K calls of one compiled step that takes its batch out of the block: XLA compiles the
convolutions of a loop's body for CPUs to code that is nine times slower (JAX 0.6.2, Nature CNN:
481 ms of CPU per update in a scan, 50 ms outside of it, 57 to 75 ms unrolled).

A block that ends early, since a clock asks for something in between, is filled up to K (`filled`)
and makes its updates by that same compiled step: no block compiles a program for its own size.
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
from rrl_agents.training.devices import ONE_DEVICE, Devices
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
    [TrainState, Batch, BlockSchedule, int, ArrayLike, jax.Array],
    tuple[TrainState, UpdateMetrics],
]
"""Compiled updates, of K gradient steps; consumes the state it is given (its buffers are donated).

Arguments: the state, from `initial_train_state` or the last call; K batches, every array with the
leading axes [K, B]; weights and rates of the K updates; how many of them to make, 1 to K; the
target network's period in updates, int32 []; and a JAX random key, the same for all updates of a
run. Metrics have the leading axis K; ignore those of updates that were not made.
"""


def make_update_block(
    network: QNetwork,
    terms: tuple[Term, ...],
    optimiser: OptimiserConfig,
    student: StudentConfig,
    *,
    devices: Devices = ONE_DEVICE,
    may_end_early: bool = False,
    platform: str | None = None,
    prepare: Callable[[Batch], Batch] | None = None,
) -> UpdateBlock:
    """Compile blocks of updates; one compilation per K and B.

    Args:
        network: As `make_update_step`, like the next three.
        terms: The method's loss.
        optimiser: Its settings, those of the state.
        student: How the student learns.
        devices: Which compute; each its share of every batch's rows.
        may_end_early: Whether some blocks will have fewer than K updates: what they need is then
            compiled with the first block.
        platform: "cpu" or another of JAX's platforms; None for that of the default device.
        prepare: Makes a batch of the network's shapes out of one of the block's, as part of the
            compiled update; None where they are.

    Raises:
        ValueError: as `make_update_step`.
    """
    step = make_update_step(network, terms, optimiser, student)
    if prepare is not None:
        step = _preparing(step, prepare)
    update = _indexed(step, devices)
    platform = platform or jax.default_backend()
    if platform == "cpu":
        return functools.partial(_one_by_one, update)
    return _scanned(step, update, devices, may_end_early)


def _preparing(step: UpdateStep, prepare: Callable[[Batch], Batch]) -> UpdateStep:
    def prepared(state: TrainState, batch: Batch, *rest: Any) -> tuple[TrainState, UpdateMetrics]:
        return step(state, prepare(batch), *rest)

    return prepared


def filled(batches: Batch, updates: int) -> Batch:
    """The batches of a block with zeros behind them, so that it has as many as others.

    Args:
        batches: NumPy arrays [n, B, ...].
        updates: K, at least n.

    Returns:
        Arrays [K, B, ...].
    """
    missing = updates - len(batches.action)
    if missing == 0:
        return batches
    zeros = (np.zeros((missing, *column.shape[1:]), column.dtype) for column in batches)
    return Batch(*map(np.concatenate, zip(batches, zeros, strict=True)))


def _scanned(step: UpdateStep, update: Any, devices: Devices, may_end_early: bool) -> UpdateBlock:
    """All K updates in one program; fewer by `update`, which is compiled with the first block."""
    fewer: UpdateBlock | None = None

    @functools.partial(jax.jit, donate_argnames="state", out_shardings=devices.replicated)
    def scanned(
        state: TrainState, batches: Batch, schedule: BlockSchedule, *constants: Any
    ) -> tuple[TrainState, UpdateMetrics]:
        def body(
            state: TrainState, inputs: tuple[Batch, BlockSchedule]
        ) -> tuple[TrainState, UpdateMetrics]:
            batch, (weights, learning_rate) = inputs
            return step(state, batch, weights, learning_rate, *constants)

        return jax.lax.scan(body, state, (batches, schedule))

    def block(
        state: TrainState,
        batches: Batch,
        schedule: BlockSchedule,
        updates: int,
        *constants: Any,
    ) -> tuple[TrainState, UpdateMetrics]:
        nonlocal fewer
        if fewer is None and (may_end_early or updates < len(batches.action)):
            fewer = _compiled(update, state, batches, schedule, *constants)
        if fewer is not None and updates < len(batches.action):
            return fewer(state, batches, schedule, updates, *constants)
        result: tuple[TrainState, UpdateMetrics] = scanned(state, batches, schedule, *constants)
        return result

    return block


def _compiled(
    update: Any, state: TrainState, batches: Batch, schedule: BlockSchedule, *constants: Any
) -> UpdateBlock:
    """Blocks of fewer updates than batches, by a program compiled for these arguments."""
    lowered = update.lower(state, batches, schedule, np.int32(0), *constants)
    of_one: UpdateMetrics = lowered.out_info[1]
    zeros = jax.tree.map(lambda leaf: np.zeros(leaf.shape, leaf.dtype), of_one)
    _stacked([jax.device_put(zeros)] * len(batches.action))
    return functools.partial(_one_by_one, lowered.compile())


def _indexed(step: UpdateStep, devices: Devices) -> Any:
    """A compiled update with one of the batches of a block."""

    @functools.partial(jax.jit, donate_argnames="state", out_shardings=devices.replicated)
    def update(
        state: TrainState,
        batches: Batch,
        schedule: BlockSchedule,
        index: ArrayLike,
        *constants: Any,
    ) -> tuple[TrainState, UpdateMetrics]:
        batch, (weights, learning_rate) = _row((batches, schedule), index)
        return step(state, batch, weights, learning_rate, *constants)

    return update


def _one_by_one(
    update: Any,
    state: TrainState,
    batches: Batch,
    schedule: BlockSchedule,
    updates: int,
    *constants: Any,
) -> tuple[TrainState, UpdateMetrics]:
    steps: list[UpdateMetrics] = []
    for index in range(updates):
        state, metrics = update(state, batches, schedule, np.int32(index), *constants)
        steps.append(metrics)
    return state, _stacked(steps + steps[-1:] * (len(batches.action) - updates))


def _row(tree: Any, index: ArrayLike) -> Any:
    """Row `index` of every array."""
    at = jnp.asarray(index)
    return jax.tree.map(lambda array: jax.lax.dynamic_index_in_dim(array, at, keepdims=False), tree)


@jax.jit
def _stacked(metrics: list[UpdateMetrics]) -> UpdateMetrics:
    stacked: UpdateMetrics = jax.tree.map(lambda *rows: jnp.stack(rows), *metrics)
    return stacked

"""Batches of drawn rows, from Reverb or this process, and their importance weights."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from rrl_agents.types import Batch
from services.replay.item_layout import ItemLayout, decode_batch
from services.replay.table_names import STUDENT_TABLE, TEACHER_TABLE
from services.replay.undecoded_rows import Rows

_SMALLEST_PROBABILITY = 1e-10
"""Lower bound, as in Dopamine: an item of priority 0 can be drawn if all priorities are 0."""


class Sample(NamedTuple):
    """A batch or a block of batches, and the place of its rows in replay.

    Attributes:
        batch: The transitions: [B] for one batch, [K, B] for a block.
        item_key: uint64 [B] or [K, B], the rows' keys in their tables.
        from_student: bool [B] or [K, B], whether the row is from the student's table.
    """

    batch: Batch
    item_key: NDArray[np.uint64]
    from_student: NDArray[np.bool_]


class ShardSample(NamedTuple):
    """A sample and its shard.

    Attributes:
        sample: The batches and the keys of their rows in that shard.
        shard: Index of the shard.
    """

    sample: Sample
    shard: int


def split_rows(
    seed: int, updates: range, batch_size: int, teacher_share: float
) -> tuple[list[np.random.Generator], dict[str, NDArray[np.int64]]]:
    """Draw how many rows of each batch come from which table.

    Args:
        seed: Seed of the run's draws.
        updates: Numbers of the K updates that the batches are for. The draws of a batch depend on
            the seed and its update alone.
        batch_size: Rows of a batch.
        teacher_share: Probability that a row comes from the teacher's table.

    Returns:
        A random generator for the further draws of each update; and table -> rows of each batch,
        int64 [K], for each table with any rows, the teacher's first.
    """
    generators = [np.random.default_rng((seed, update)) for update in updates]
    of_teacher = np.array([one.binomial(batch_size, teacher_share) for one in generators])
    rows = {TEACHER_TABLE: of_teacher, STUDENT_TABLE: batch_size - of_teacher}
    return generators, {name: counts for name, counts in rows.items() if counts.any()}


def batches_of(
    taken: Rows,
    rows: Mapping[str, NDArray[np.int64]],
    layout: ItemLayout,
    *,
    discount: float,
    importance_exponent: float,
) -> Sample:
    """Arrange rows as batches [K, B].

    Args:
        taken: K x B rows, table by table, and within a table batch by batch.
        rows: Table -> rows of each batch, int64 [K], in the order of the tables in `taken`.
        layout: Shapes of the items.
        discount: gamma, in [0, 1], per step.
        importance_exponent: beta, in [0, 1], of the rows' importance weights; with 0 all weights
            are 1.
    """
    from_student = np.repeat(
        [table == STUDENT_TABLE for table in rows], [counts.sum() for counts in rows.values()]
    )
    if len(rows) > 1:
        batch_of_row = [np.repeat(np.arange(len(counts)), counts) for counts in rows.values()]
        order = np.argsort(np.concatenate(batch_of_row), kind="stable")
        taken, from_student = taken.rows(order), from_student[order]
    shape = (len(next(iter(rows.values()))), -1)
    probability = taken.relative_probability.reshape(shape)
    batch = decode_batch(taken.columns, layout, discount)
    return Sample(
        batch=Batch(*(column.reshape(*shape, *column.shape[1:]) for column in batch))._replace(
            importance_weight=importance_weights(probability, importance_exponent)
        ),
        item_key=taken.item_key.reshape(shape),
        from_student=from_student.reshape(shape),
    )


def importance_weights(
    relative_probability: NDArray[np.float64], exponent: float
) -> NDArray[np.float32]:
    """Importance weights, which correct for non-uniform sampling; the largest of a batch is 1.

    `w_i = (N p_i)^-exponent / max_j (N p_j)^-exponent` (Schaul et al., 2016, arXiv:1511.05952,
    section 3.4). Dopamine's Rainbow uses an exponent of 0.5.

    Args:
        relative_probability: float64 [..., B], N p: 1 for rows drawn uniformly.
        exponent: beta, at least 0: 0 gives all rows the weight 1, 1 corrects the bias fully.

    Returns:
        float32 [..., B], in (0, 1].
    """
    bounded = np.maximum(relative_probability, _SMALLEST_PROBABILITY)
    weights: NDArray[np.float64] = np.power(
        bounded / bounded.min(axis=-1, keepdims=True), -exponent
    )
    return weights.astype(np.float32)

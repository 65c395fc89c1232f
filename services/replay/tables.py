"""The two tables of replay: the teacher's data and the student's own.

Both drop their oldest item when full. The teacher's table is filled with exactly the configured
number of steps before training. It is sampled uniformly and without limit, or gives each item once
to a learner that draws its batches itself (`kept_rows`). The student's table is sampled uniformly
or by priority, and keeps the replay ratio, so that results do not depend on the speed of actors and
learner.
"""

from __future__ import annotations

import sys
from typing import Any

import numpy as np

from services.replay.config import ReplayConfig
from services.replay.item_layout import ROWS_COLUMN, ItemLayout
from services.replay.reverb_library import reverb, tensorflow
from services.replay.table_names import STUDENT_TABLE, TEACHER_TABLE

_INSERT_WEIGHT = 2.0**50
"""Weight of an insert in the teacher's table, where a sample has weight 1: with one so large, no
number of samples allows another insert."""


def build_tables(config: ReplayConfig) -> list[Any]:
    """The teacher's and the student's `reverb.Table`, in this order."""
    return [
        _fifo_table(
            TEACHER_TABLE,
            config.teacher_capacity,
            config.layout,
            sampler=_teacher_selector(config),
            rate_limiter=teacher_rate_limiter(config),
            max_times_sampled=int(config.gives_teacher_data_once),
        ),
        _fifo_table(
            STUDENT_TABLE,
            config.student_capacity,
            config.layout,
            sampler=_student_selector(config.student_priority_exponent),
            rate_limiter=student_rate_limiter(config),
        ),
    ]


def teacher_rate_limiter(config: ReplayConfig) -> Any:
    """The limiter that stops inserts once the teacher's table has `teacher_steps` items.

    Actors notice up to a second later that the table is full, and the teacher may play a thousand
    steps in that time. So the table itself limits the items that it takes over the whole run, from
    all writers together, to `teacher_steps`. With I items ever inserted, S ever sampled and
    w = `_INSERT_WEIGHT`, another insert waits unless

        (I + 1) * w - S <= teacher_steps * w,

    which is I < teacher_steps, since S stays far below w. Sampling waits for the minimum size only.
    """
    if config.teacher_steps is None:
        return reverb.rate_limiters.MinSize(config.min_teacher_size)
    return reverb.rate_limiters.RateLimiter(
        samples_per_insert=_INSERT_WEIGHT,
        min_size_to_sample=config.min_teacher_size,
        min_diff=-sys.float_info.max,
        max_diff=config.teacher_steps * _INSERT_WEIGHT,
    )


def student_rate_limiter(config: ReplayConfig) -> Any:
    """The limiter that keeps the replay ratio of the student's table.

    With I items ever inserted and S ever sampled, `error = I * samples_per_insert - S`. Nothing is
    sampled before `min_student_size` items are there; from then on

        |error - min_student_size * samples_per_insert| <= error_buffer

    holds up to one item: inserts wait at the upper bound (the learner is behind), samples at the
    lower bound (the actors are behind). So after I inserts

        S = (I - min_student_size) * samples_per_insert  +-  error_buffer,

    at every moment of the run, not only on average: deviations do not accumulate. The buffer must
    be at least `max(1, samples_per_insert)`, or a single insert or sample would exceed both bounds.
    It should be larger than what the reader prefetches (`ReplayReader.samples_ahead`, 3 batches by
    default), which counts as sampled before it is used, plus the jitter of both sides, such as an
    evaluation or a compilation. The default of 512 samples is 16 batches, or 64 steps at a ratio of
    8: 0.3% of a run's first 20,000 steps, and less of any longer run.
    """
    return reverb.rate_limiters.SampleToInsertRatio(
        samples_per_insert=config.samples_per_insert,
        min_size_to_sample=config.min_student_size,
        error_buffer=float(config.error_buffer),
    )


def table_signature(layout: ItemLayout) -> dict[str, Any]:
    """The items' `TensorSpec`; Reverb refuses items with other numbers of rows or bytes.

    Its name describes the layout, so that `check_signature` detects a different layout of the same
    size.
    """
    frame = "x".join(str(size) for size in layout.frame_shape)
    name = (
        f"{layout.frame_dtype} {frame}, stack {layout.stack_size}, n-step {layout.n_step}, "
        f"{layout.num_actions} actions"
    )
    shape = (layout.window, layout.row_dtype.itemsize)
    return {ROWS_COLUMN: tensorflow.TensorSpec(shape, np.dtype(np.uint8), name)}


def _teacher_selector(config: ReplayConfig) -> Any:
    once = config.gives_teacher_data_once
    return reverb.selectors.Fifo() if once else reverb.selectors.Uniform()


def _student_selector(priority_exponent: float) -> Any:
    """Draws item i with probability `p_i ** exponent / sum_j p_j ** exponent`; at 0 uniformly."""
    if priority_exponent == 0:
        return reverb.selectors.Uniform()
    return reverb.selectors.Prioritized(priority_exponent)


def _fifo_table(
    name: str,
    capacity: int,
    layout: ItemLayout,
    *,
    sampler: Any,
    rate_limiter: Any,
    max_times_sampled: int = 0,
) -> Any:
    return reverb.Table(
        name=name,
        sampler=sampler,
        remover=reverb.selectors.Fifo(),
        max_size=capacity,
        max_times_sampled=max_times_sampled,
        rate_limiter=rate_limiter,
        signature=table_signature(layout),
    )

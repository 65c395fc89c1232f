"""The two tables of replay: the teacher's data and the student's own.

Both drop their oldest item when full. The teacher's is filled before it is learned from, with
exactly the configured number of steps, is sampled uniformly and may be read without limit; or it
gives each item once, to a learner that draws its batches itself (`kept_rows`). The
student's is sampled uniformly or by priority, and holds the replay ratio, so that a result does not
depend on the speed of actors and learner.
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
"""Weight of an insert in the teacher's table, where a sample has weight 1: no number of samples
makes room for another insert."""


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
    """The limiter that ends the filling of the teacher's table.

    Actors learn a second later that the table is full, and the teacher plays a thousand steps in
    that time. So the table itself takes `teacher_steps` items over the whole run, from all writers
    together: with I items ever inserted, S ever sampled and w = `_INSERT_WEIGHT`, another insert
    waits unless

        (I + 1) * w - S <= teacher_steps * w,

    which is I < teacher_steps, since S stays far below w. Sampling never waits beyond the minimum
    size.
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
    """The limiter that holds the replay ratio in the student's table.

    With I items ever inserted and S ever sampled, `error = I * samples_per_insert - S`. Nothing is
    sampled before `min_student_size` items are there; from then on

        |error - min_student_size * samples_per_insert| <= error_buffer

    holds up to one item: inserting waits at the upper end (the learner is behind), sampling at the
    lower (the actors are behind). So after I inserts

        S = (I - min_student_size) * samples_per_insert  +-  error_buffer,

    at every moment of the run, not only on average: the buffer does not add up. It must be at least
    `max(1, samples_per_insert)`, or the smallest possible move of either side would overstep both
    ends. It should exceed what the reader fetches ahead (`ReplayReader.samples_ahead`,
    3 batches by default), which counts as sampled before it is learned from, and the jitter of both
    sides (an evaluation, a compilation): the default of 512 samples is 16 batches, or 64 steps at a
    ratio of 8, which is 0.3% of a run's first 20,000 steps and less of any longer one.
    """
    return reverb.rate_limiters.SampleToInsertRatio(
        samples_per_insert=config.samples_per_insert,
        min_size_to_sample=config.min_student_size,
        error_buffer=float(config.error_buffer),
    )


def table_signature(layout: ItemLayout) -> dict[str, Any]:
    """The items' `TensorSpec`: Reverb refuses items of any other number of rows and bytes.

    Its name has what the bytes mean, so that `check_signature` finds another layout of as many.
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

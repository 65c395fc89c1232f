"""Settings of the replay server."""

from __future__ import annotations

import dataclasses
from pathlib import Path

from rrl_agents.ranges import check_ranges
from services.replay.item_layout import ItemLayout


@dataclasses.dataclass(frozen=True, kw_only=True)
class ReplayConfig:
    """What the replay server needs.

    Attributes:
        layout: Shapes of the items.
        checkpoint_root: Folder for Reverb's own working checkpoints; emptied at the start.
        teacher_capacity: Items the teacher's table holds before the oldest goes.
        student_capacity: Items the student's table holds before the oldest goes.
        teacher_steps: Items that the teacher's table takes over the whole run, at least its minimum
            size; further inserts wait. None for no bound.
        gives_teacher_data_once: Whether the teacher's table gives each item once, in the order of
            their insertion, to a learner that keeps them.
        min_teacher_size: Items in the teacher's table before it may be sampled.
        min_student_size: Items in the student's table before it may be sampled. A table that is
            first filled from recorded data needs at least as many as that data has: the ratio
            counts from here on, and inserts up to here never wait.
        samples_per_insert: The replay ratio: items sampled per item inserted into the student's
            table. Q-learning with one update of 32 items per 4 steps samples 8.
        student_priority_exponent: Items of the student's table are drawn in proportion to their
            priority raised to this; 0 draws uniformly. 0.5 on the TD loss is Dopamine's Rainbow.
        error_buffer: Samples by which either side may run ahead of the ratio; see
            `tables.student_rate_limiter` for the inequality. 512 are 16 batches of 32.
        port: TCP port to listen on; 0 picks a free one.
        host: 127.0.0.1 serves this machine alone; anything but loopback opens the port on all
            interfaces, as Reverb has it.
        restore_from: A checkpoint to start from; None starts empty.
    """

    layout: ItemLayout
    checkpoint_root: Path
    teacher_capacity: int = 1_000_000
    student_capacity: int = 1_000_000
    teacher_steps: int | None = None
    gives_teacher_data_once: bool = False
    min_teacher_size: int = 1
    min_student_size: int = 20_000
    samples_per_insert: float = 8.0
    student_priority_exponent: float = 0.0
    error_buffer: float = 512.0
    port: int = 0
    host: str = "127.0.0.1"
    restore_from: Path | None = None

    def __post_init__(self) -> None:
        """Check ranges and what must fit together."""
        # Otherwise a table would never be sampled.
        check_ranges(self, "min_teacher_size", least=1, most=self.teacher_capacity)
        check_ranges(self, "min_student_size", least=1, most=self.student_capacity)
        check_ranges(self, "teacher_steps", least=self.min_teacher_size)
        check_ranges(self, "samples_per_insert", above=0)
        check_ranges(self, "student_priority_exponent", least=0)
        # Otherwise neither side could move.
        check_ranges(self, "error_buffer", least=max(1.0, self.samples_per_insert))
        check_ranges(self, "port", least=0, most=65535)

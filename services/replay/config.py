"""Settings of the replay server."""

from __future__ import annotations

import dataclasses
from pathlib import Path

from rrl_agents.ranges import check_ranges
from services.replay.item_layout import ItemLayout


@dataclasses.dataclass(frozen=True, kw_only=True)
class ReplayConfig:
    """Settings of one replay server.

    Attributes:
        layout: Shapes of the items.
        checkpoint_root: Folder for Reverb's own working checkpoints; emptied at the start.
        teacher_capacity: Most items in the teacher's table; a new one then replaces the oldest.
        student_capacity: Most items in the student's table; a new one then replaces the oldest.
        teacher_steps: Items that the teacher's table takes over the whole run, at least
            `min_teacher_size`; further inserts wait. None for no limit.
        gives_teacher_data_once: Whether the teacher's table gives each item once, in the order of
            insertion, to a learner that keeps the items in its own memory.
        min_teacher_size: Items in the teacher's table before it may be sampled.
        min_student_size: Items in the student's table before it may be sampled. If the table is
            first filled from recorded data, it must be at least the size of that data: the replay
            ratio counts from this size on, and inserts up to it never wait.
        samples_per_insert: The replay ratio: items sampled per item inserted into the student's
            table. Q-learning with one update of 32 items per 4 steps has a ratio of 8.
        student_priority_exponent: Items of the student's table are drawn in proportion to their
            priority raised to this power; 0 draws uniformly. Dopamine's Rainbow uses 0.5, with the
            TD loss as priority.
        error_buffer: Samples by which actors or learner may run ahead of the replay ratio; see
            `tables.student_rate_limiter` for the inequality. 512 are 16 batches of 32.
        port: TCP port to listen on; 0 picks a free one.
        host: Address to listen on. A loopback address such as 127.0.0.1 admits this machine only;
            any other opens the port on all interfaces, since Reverb cannot choose one.
        restore_from: Folder of the checkpoint to start from; None starts empty.
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
        """Check ranges, and that the sizes fit together."""
        # With a larger minimum size, a table would never be sampled.
        check_ranges(self, "min_teacher_size", least=1, most=self.teacher_capacity)
        check_ranges(self, "min_student_size", least=1, most=self.student_capacity)
        check_ranges(self, "teacher_steps", least=self.min_teacher_size)
        check_ranges(self, "samples_per_insert", above=0)
        check_ranges(self, "student_priority_exponent", least=0)
        # With a smaller buffer, inserts and samples would wait for each other.
        check_ranges(self, "error_buffer", least=max(1.0, self.samples_per_insert))
        check_ranges(self, "port", least=0, most=65535)

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from services.replay.config import ReplayConfig
from services.replay.item_layout import ItemLayout

LAYOUT = ItemLayout(frame_shape=(2, 2), stack_size=4, n_step=3, num_actions=2, clips_rewards=False)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"min_student_size": 0}, "min_student_size is 0"),
        (
            {"min_student_size": 11, "student_capacity": 10},
            "min_student_size is 11; use a number at least 1 and at most 10",
        ),
        ({"min_teacher_size": 11, "teacher_capacity": 10}, "min_teacher_size is 11"),
        ({"samples_per_insert": 0.0}, "samples_per_insert is 0.0"),
        ({"student_priority_exponent": -0.5}, "student_priority_exponent is -0.5"),
        ({"student_priority_exponent": float("nan")}, "student_priority_exponent is nan"),
        (
            {"samples_per_insert": 8.0, "error_buffer": 7.0},
            "error_buffer is 7.0; use a number at least 8.0",
        ),
        ({"error_buffer": float("nan")}, "error_buffer is nan"),
        ({"port": 65536}, "port is 65536"),
    ],
)
def test_settings_that_could_not_work_are_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        ReplayConfig(layout=LAYOUT, checkpoint_root=Path("replay"), **changes)

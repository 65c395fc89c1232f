from __future__ import annotations

import os

from services.teacher.policies.onnx_sessions import usable_cores


def test_usable_cores_are_those_the_process_is_bound_to() -> None:
    allowed = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {min(allowed)})
    try:
        assert usable_cores() == 1
    finally:
        os.sched_setaffinity(0, allowed)
    assert usable_cores() == len(allowed)

from __future__ import annotations

import subprocess
import sys

HEAVY = {"jax", "flax", "onnx", "onnxruntime", "services.teacher.policies.loading"}


def test_batching_and_reloading_see_a_policy_without_what_computes_it() -> None:
    modules = "services.teacher.batching.batcher, services.teacher.policies.interface"
    code = f"import sys, {modules}; print(*{HEAVY} & {{*sys.modules}})"
    assert subprocess.check_output([sys.executable, "-c", code], text=True).strip() == ""

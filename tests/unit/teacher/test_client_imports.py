from __future__ import annotations

import subprocess
import sys

HEAVY = "jax flax tensorflow reverb launchpad prometheus_client services.teacher.server"


def test_the_client_brings_in_nothing_but_grpc_protobuf_and_numpy() -> None:
    program = (
        "import sys, services.teacher.client;"
        f"print(sorted(set({HEAVY!r}.split()) & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.stdout.strip() == "[]", done.stderr

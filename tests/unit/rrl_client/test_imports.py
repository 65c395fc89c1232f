"""The client must fit beside anything: what importing it brings in is counted here."""

from __future__ import annotations

import subprocess
import sys


def test_the_client_brings_in_nothing_but_grpc_protobuf_and_numpy() -> None:
    program = (
        "import sys, numpy, grpc.aio, google.protobuf;"
        "roots = lambda: {name.partition('.')[0] for name in sys.modules};"
        "before = roots();"
        "import rrl_client, rrl_client.fake;"
        "print(*sorted(roots() - before - set(sys.stdlib_module_names)))"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    # uvloop is used where it is installed, and only once a client needs a loop.
    assert done.stdout.split() == ["rrl_client"], done.stderr

"""The client must fit beside anything: what importing it brings in is counted here."""

from __future__ import annotations

import subprocess
import sys

import pytest

HEAVY = (
    "jax flax tensorflow reverb launchpad onnx onnxruntime prometheus_client uvloop rich tyro "
    "gymnasium ale_py services.teacher.server services.teacher.engine services.teacher.policies"
)

OURS = {
    "services.shared.addresses",
    "services.shared.errors",
    "rrl_client.forks",
    "rrl_client.proxies",
    "services.shared.security",
    "rrl_client.security",
    "rrl_client.credentials",
    "rrl_client.token_channel",
    "rrl_client.client",
    "services.teacher.batching.query",
    "rrl_client.blocking",
    "rrl_client.codec",
    "rrl_client.policy",
}


@pytest.mark.parametrize("face", ["client", "async_client", "teacher_policy"])
def test_a_client_brings_in_nothing_but_grpc_protobuf_and_numpy(face: str) -> None:
    program = (
        f"import sys, services.teacher.{face};"
        f"print(sorted(set({HEAVY!r}.split()) & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.stdout.strip() == "[]", done.stderr


def test_a_client_uses_none_of_the_servers_modules() -> None:
    program = (
        "import sys, rrl_client.blocking, rrl_client.client,"
        " rrl_client.policy;"
        "print(*(name for name in sys.modules if name.startswith('services.')))"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    used = {name for name in done.stdout.split() if name.count(".") >= 2}
    packages = {f"services.teacher.{name}" for name in ("batching", "clients", "same_host")}
    shared_memory = {name for name in used if name.startswith("services.teacher.same_host.")}
    assert not {name for name in shared_memory if name.endswith((".listener", ".session"))}
    clients = {name for name in used if name.startswith("rrl_client.")}
    assert used - clients - shared_memory - packages - OURS == set(), done.stderr

"""The options that our channels and servers set are ones that gRPC has: it ignores all others."""

from __future__ import annotations

import re
from pathlib import Path

from grpc._cython import cygrpc

ROOT = Path(__file__).parents[2]
_OPTION = re.compile(r'\("(grpc\.[a-z0-9_.]+)", ')


def options() -> set[str]:
    return {
        option
        for folder in ("services", "rrl_client")
        for path in (ROOT / folder).rglob("*.py")
        for option in _OPTION.findall(path.read_text())
    }


def test_every_option_is_a_name_in_grpcs_own_library() -> None:
    found = options()
    assert {"grpc.service_config", "grpc.keepalive_time_ms", "grpc.http2.bdp_probe"} <= found
    library = Path(cygrpc.__file__).read_bytes()
    assert {option for option in found if f"{option}\0".encode() not in library} == set()

"""Stands in for Launchpad's RPC library, which is bound to CPython 3.10 and never used here.

`import launchpad` always imports it. The parts we use, addresses and processes, do not need it; our
roles use typed protobuf over gRPC.
"""

from typing import Any, NoReturn


def _refuse(*_arguments: Any, **_settings: Any) -> NoReturn:
    raise RuntimeError("Courier is not installed: let processes talk over gRPC instead")


Client = Server = list_methods = _refuse

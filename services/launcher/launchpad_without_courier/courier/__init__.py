"""Stands in for Launchpad's RPC library, which is bound to CPython 3.10 and never used here.

`import launchpad` imports it without asking. Addresses and processes, which we do use, need none of
it; our roles talk typed protobuf over gRPC.
"""

from typing import Any, NoReturn


def _refuse(*_arguments: Any, **_settings: Any) -> NoReturn:
    raise RuntimeError("Courier is not installed: let processes talk over gRPC instead")


Client = Server = list_methods = _refuse

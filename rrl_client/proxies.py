"""Proxies in the environment: gRPC uses them by default, even for this machine.

gRPC reads `grpc_proxy`, `https_proxy` or `http_proxy`, the first that is set, except for hosts
that end with a name in `no_grpc_proxy` or, if that is not set, `no_proxy`.
"""

from __future__ import annotations

import logging
import os

_VARIABLES = ("grpc_proxy", "https_proxy", "http_proxy")
_OWN_EXCEPTIONS = "no_grpc_proxy"
_EXCEPTIONS = (_OWN_EXCEPTIONS, "no_proxy")
_THIS_MACHINE = ("localhost", "127.0.0.1", "::1")

_named: set[str] = set()


def reach_this_machine_directly() -> None:
    """Make every gRPC client of this process and its children, Reverb's included, do so."""
    if _proxy() is not None:
        os.environ[_OWN_EXCEPTIONS] = ",".join(dict.fromkeys([*_exceptions(), *_THIS_MACHINE]))


def tell_of_proxy(host: str) -> None:
    """Log once for each host on other machines that connections to it go through a proxy."""
    variable = _proxy()
    if variable is None or host in _named or any(map(host.endswith, _exceptions())):
        return
    _named.add(host)
    logging.getLogger(__name__).warning(
        "connections to %s go through the proxy that %s names; to avoid that, add %s to "
        "no_grpc_proxy",
        host,
        variable,
        host,
    )


def _proxy() -> str | None:
    """The variable that names a proxy; None if none does."""
    return next((name for name in _VARIABLES if os.environ.get(name)), None)


def _exceptions() -> list[str]:
    value = next((os.environ[name] for name in _EXCEPTIONS if os.environ.get(name)), "")
    return [entry.strip() for entry in value.split(",") if entry.strip()]

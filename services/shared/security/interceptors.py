"""Refuses calls without a valid token.

    call ── TokenCheck ──▶ servicer
                └ UNAUTHENTICATED: no token, or not one of ours

Health (grpc.health.v1) needs no token, so that probes carry no secret; everything else does,
including reflection. A stream is checked when it opens and then stays until it ends.
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, NoReturn, TypeAlias

import grpc
import grpc.aio

from rrl_client.credentials import Watched, read_tokens
from services.shared.call_limits import HEALTH_PREFIX
from services.shared.errors import user_errors

_REFUSED = (
    "this service requires a valid bearer token; send the metadata "
    "'authorization: Bearer TOKEN' (our client: token or token_file)"
)

_Handler: TypeAlias = "grpc.RpcMethodHandler[Any, Any]"


class TokenCheck(grpc.aio.ServerInterceptor):  # type: ignore[type-arg]
    """Admits calls that carry one of the tokens in a file; for `grpc.aio.server`."""

    def __init__(self, token_file: Path, *, revokes: bool = False) -> None:
        """Read the tokens; the file is reread when it changes.

        Args:
            token_file: One token per line, each at least 16 characters. Replace it by renaming a
                complete new file onto it.
            revokes: Whether to refuse all callers while the file is missing or holds no usable
                tokens, instead of still accepting the last tokens.

        Raises:
            UserError: The file is missing or holds no usable tokens.
        """
        with user_errors():
            self._digests: Watched[tuple[bytes, ...]] = Watched(
                (token_file,),
                lambda: tuple(map(_digest, read_tokens(token_file))),
                otherwise=(lambda: ()) if revokes else None,
            )
        # On the wire all kinds of methods are alike; this one refuses before reading any message.
        self._refusal = grpc.stream_stream_rpc_method_handler(_refuse)

    async def intercept_service(
        self,
        continuation: Callable[[grpc.HandlerCallDetails], Awaitable[_Handler]],
        handler_call_details: grpc.HandlerCallDetails,
    ) -> _Handler:
        """Continue to the method, or to a refusal with UNAUTHENTICATED."""
        if self._lets_in(handler_call_details):
            return await continuation(handler_call_details)
        return self._refusal

    def _lets_in(self, call: grpc.HandlerCallDetails) -> bool:
        if call.method.startswith(HEALTH_PREFIX):
            return True
        metadata = call.invocation_metadata or ()
        shown = [value for key, value in metadata if key == "authorization"]
        if len(shown) != 1:
            return False
        scheme, _, token = str(shown[0]).partition(" ")
        presented = _digest(token.strip())
        # All digests are compared, and have the same length, so the time reveals nothing about a
        # token.
        matches = [hmac.compare_digest(presented, digest) for digest in self._digests.current()]
        return scheme.lower() == "bearer" and any(matches)


def _digest(token: str) -> bytes:
    return hashlib.sha256(token.encode("utf-8", "surrogateescape")).digest()


async def _refuse(requests: object, context: grpc.aio.ServicerContext[Any, Any]) -> NoReturn:
    await context.abort(grpc.StatusCode.UNAUTHENTICATED, _REFUSED)
    raise AssertionError("abort raises")

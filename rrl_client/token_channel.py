"""Channels whose calls carry a bearer token: plain gRPC channels with the metadata added.

A thin wrapper at a few microseconds per call. gRPC's own call credentials start a thread for every
call, its interceptors make an object (asyncio: a task) for every call.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import grpc
import grpc.aio

Metadata = tuple[tuple[str, str], ...]
"""Keys and values that are sent along with a call."""

TokenMetadata = Callable[[], Metadata]
"""Gives what the next call carries."""


def bearer_metadata(token: str) -> Metadata:
    """The metadata by which a call shows its token (RFC 6750)."""
    return (("authorization", f"Bearer {token}"),)


class _TokenCall:
    """A method of a stub, of any kind and either API, whose calls carry the token."""

    def __init__(self, method: Any, token: TokenMetadata) -> None:
        self._method = method
        self._token = token

    def __call__(
        self, request: Any = None, timeout: Any = None, metadata: Any = None, **settings: Any
    ) -> Any:
        return self._method(
            request, timeout=timeout, metadata=(*(metadata or ()), *self._token()), **settings
        )

    def with_call(
        self, request: Any, timeout: Any = None, metadata: Any = None, **settings: Any
    ) -> Any:
        return self._method.with_call(
            request, timeout=timeout, metadata=(*(metadata or ()), *self._token()), **settings
        )

    def future(
        self, request: Any, timeout: Any = None, metadata: Any = None, **settings: Any
    ) -> Any:
        return self._method.future(
            request, timeout=timeout, metadata=(*(metadata or ()), *self._token()), **settings
        )


class _TokenMethods:
    """The four ways in which both kinds of channel make methods."""

    def __init__(self, channel: Any, token: TokenMetadata) -> None:
        self._channel = channel
        self._token = token

    def unary_unary(self, *arguments: Any, **settings: Any) -> Any:
        return _TokenCall(self._channel.unary_unary(*arguments, **settings), self._token)

    def unary_stream(self, *arguments: Any, **settings: Any) -> Any:
        return _TokenCall(self._channel.unary_stream(*arguments, **settings), self._token)

    def stream_unary(self, *arguments: Any, **settings: Any) -> Any:
        return _TokenCall(self._channel.stream_unary(*arguments, **settings), self._token)

    def stream_stream(self, *arguments: Any, **settings: Any) -> Any:
        return _TokenCall(self._channel.stream_stream(*arguments, **settings), self._token)


class TokenChannel(_TokenMethods, grpc.Channel):
    """A `grpc.Channel` whose calls carry the token."""

    def subscribe(self, callback: Any, try_to_connect: bool | None = False) -> None:
        """Call back when the connection's state changes."""
        self._channel.subscribe(callback, try_to_connect)

    def unsubscribe(self, callback: Any) -> None:
        """Call back no more."""
        self._channel.unsubscribe(callback)

    def close(self) -> None:
        """Close the connection."""
        self._channel.close()

    def __enter__(self) -> TokenChannel:
        """The channel itself."""
        return self

    def __exit__(self, *error: object) -> None:
        """Close the connection."""
        self.close()


class AsyncTokenChannel(_TokenMethods, grpc.aio.Channel):
    """A `grpc.aio.Channel` whose calls carry the token."""

    def get_state(self, try_to_connect: bool = False) -> grpc.ChannelConnectivity:
        """The connection's state."""
        state: grpc.ChannelConnectivity = self._channel.get_state(try_to_connect)
        return state

    async def wait_for_state_change(self, last_observed_state: grpc.ChannelConnectivity) -> None:
        """Wait until the state is another."""
        await self._channel.wait_for_state_change(last_observed_state)

    async def channel_ready(self) -> None:
        """Wait for the connection."""
        await self._channel.channel_ready()

    async def close(self, grace: float | None = None) -> None:
        """Close the connection."""
        await self._channel.close(grace)

    async def __aenter__(self) -> AsyncTokenChannel:
        """The channel itself."""
        return self

    async def __aexit__(self, *error: object) -> None:
        """Close the connection."""
        await self.close()

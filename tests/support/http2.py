"""A caller that speaks HTTP/2 itself, and need not finish what it begins."""

from __future__ import annotations

import contextlib
import socket
import ssl
import time
from collections.abc import Iterable

import h2.config
import h2.connection
import h2.errors
import h2.events
import h2.exceptions
import h2.settings

_LOOK_SECONDS = 0.2


class Http2Caller:
    """One connection with any number of gRPC calls, each sent as far as one likes.

    Args:
        address: "host:port".
        tls: How to encrypt; None for plaintext.
        window: Bytes that the server may send in a call before it needs a window update, which is
            never sent; None for HTTP/2's default, with updates.
    """

    def __init__(
        self, address: str, tls: ssl.SSLContext | None = None, window: int | None = None
    ) -> None:
        host, _, port = address.rpartition(":")
        connection = socket.create_connection((host.strip("[]"), int(port)))
        self._socket = (
            connection if tls is None else tls.wrap_socket(connection, server_hostname=host)
        )
        self._takes = window is None
        self._h2 = h2.connection.H2Connection(
            h2.config.H2Configuration(client_side=True, header_encoding="utf-8")
        )
        if window is not None:
            initial = {h2.settings.SettingCodes.INITIAL_WINDOW_SIZE: window}
            self._h2.local_settings = h2.settings.Settings(initial_values=initial)
        self._h2.initiate_connection()
        self._flush()
        self.statuses: dict[int, str] = {}
        """How calls ended: gRPC's status, or "reset"."""
        self.answered: set[int] = set()
        """Calls whose answer has begun."""
        self.gone = False
        """Whether the server closed the connection."""

    @property
    def most_calls(self) -> int:
        """Calls that the server allows at once beside those under way; it says how many first."""
        return self._h2.remote_settings.max_concurrent_streams - self._h2.open_outbound_streams

    def begin(self, method: str, metadata: Iterable[tuple[str, str]] = ()) -> int:
        """Begin a call without its message; returns its stream."""
        stream = self._h2.get_next_available_stream_id()
        fields = [
            (":method", "POST"),
            (":scheme", "http"),
            (":path", method),
            (":authority", "localhost"),
            ("te", "trailers"),
            ("content-type", "application/grpc"),
        ]
        self._h2.send_headers(stream, [*fields, *metadata])
        self._flush()
        return stream

    def send(self, stream: int, content: bytes, *, end: bool = False) -> int:
        """Send bytes of a call as far as its windows reach just now; returns how many that were."""
        sent = 0
        with contextlib.suppress(h2.exceptions.ProtocolError):
            while sent < len(content):
                window = self._h2.local_flow_control_window(stream)
                size = min(window, self._h2.max_outbound_frame_size, len(content) - sent)
                if size <= 0:
                    return sent
                self._h2.send_data(stream, content[sent : sent + size])
                sent += size
                self._flush()
            if end:
                self._h2.end_stream(stream)
                self._flush()
        return sent

    def listen(self, seconds: float) -> None:
        """Take in what the server says, for a time."""
        end = time.monotonic() + seconds
        while not self.gone and (left := end - time.monotonic()) > 0:
            self._socket.settimeout(min(left, _LOOK_SECONDS))
            try:
                heard = self._socket.recv(2**16)
            except TimeoutError:
                continue
            except OSError:
                heard = b""
            self.gone = not heard
            for event in self._h2.receive_data(heard):
                self._note(event)
            self._flush()

    def hears(self) -> bool:
        """Take bytes without a look at them, and answer none; whether the server still speaks."""
        self._socket.settimeout(None)
        return bool(self._socket.recv(2**16))

    def close(self) -> None:
        """Break the connection."""
        self._socket.close()

    def _note(self, event: h2.events.Event) -> None:
        if isinstance(event, h2.events.ResponseReceived | h2.events.TrailersReceived):
            fields = {str(name): str(value) for name, value in event.headers or ()}
            self.answered.add(event.stream_id or 0)
            if "grpc-status" in fields:
                self.statuses[event.stream_id or 0] = fields["grpc-status"]
        elif isinstance(event, h2.events.DataReceived):
            if self._takes and event.flow_controlled_length:
                self._h2.acknowledge_received_data(
                    event.flow_controlled_length, event.stream_id or 0
                )
        elif isinstance(event, h2.events.StreamReset):
            self.statuses.setdefault(event.stream_id or 0, "reset")

    def _flush(self) -> None:
        with contextlib.suppress(OSError):
            self._socket.sendall(self._h2.data_to_send())


def prefix(size: int) -> bytes:
    """What comes before a gRPC message of that many bytes."""
    return b"\0" + size.to_bytes(4, "big")

"""GET requests through fsspec's HTTP file system, read piece by piece; what failures mean.

    connection lost, 408, 429, 5xx ──▶ Interrupted    worth another attempt
    404, 412, 416                  ──▶ NotThere       no such object, or no longer this generation
    401, 403, other answers        ──▶ UserError      another attempt would not help

Bytes come as they are stored: for an object that the store holds gzipped, `Accept-Encoding: gzip`
keeps it from unpacking (its checksums are of the packed bytes), and nothing is unpacked here.
"""

from __future__ import annotations

import asyncio
import contextlib
import re
from collections.abc import Iterator
from urllib.parse import urlsplit

import aiohttp
from fsspec.implementations.http import HTTPFileSystem, HTTPStreamFile

from services.library.fetch.checksums import CHUNK_BYTES
from services.library.fetch.retries import Interrupted
from services.shared.errors import UserError

_CONNECT_SECONDS = 30.0

_BUSY = frozenset({408, 429, 500, 502, 503, 504})
_NOT_THERE = frozenset({404, 412, 416})
_NOT_ALLOWED = frozenset({401, 403})

_CONTENT_RANGE = re.compile(r"bytes ([0-9]{1,18})-[0-9]{1,18}/(?:[0-9]{1,18}|\*)")


class NotThere(Exception):
    """The store has no such object, or no longer this generation of it."""


class Reply:
    """The body of an answer, from `first_byte` of the object on."""

    def __init__(self, stream: HTTPStreamFile, first_byte: int) -> None:
        """Take over an open stream.

        Args:
            stream: fsspec's.
            first_byte: Where in the object its bytes begin.
        """
        self._stream = stream
        self.first_byte = first_byte

    @property
    def generation(self) -> str | None:
        """Which generation of an object this is, None where the store does not say."""
        generation: str | None = self._stream.r.headers.get("X-Goog-Generation")
        return generation

    def read(self, max_bytes: int = CHUNK_BYTES) -> bytes:
        """The next bytes, as many as have come; empty at the end.

        Raises:
            Interrupted: The connection was lost.
        """
        try:
            data: bytes = self._stream.read(max_bytes)
        except (aiohttp.ClientError, asyncio.TimeoutError, OSError) as error:
            raise Interrupted(_reason(error)) from error
        return data


class Http:
    """A connection pool."""

    def __init__(self, *, silence_seconds: float = 60.0) -> None:
        """Connect to nothing yet.

        Args:
            silence_seconds: A connection over which nothing came for so long is taken for lost.
        """
        timeout = aiohttp.ClientTimeout(
            total=None, sock_connect=_CONNECT_SECONDS, sock_read=silence_seconds
        )
        self._files = HTTPFileSystem(
            # Object names in paths are quoted by us, and must stay so.
            encoded=True,
            skip_instance_cache=True,
            # Clusters reach the world through the proxy that their environment names.
            client_kwargs={"auto_decompress": False, "trust_env": True, "timeout": timeout},
            # A redirect could lead anywhere; the store needs none.
            allow_redirects=False,
        )

    @contextlib.contextmanager
    def get(self, url: str, *, first_byte: int = 0, packed: bool = False) -> Iterator[Reply]:
        """Ask for what is behind a URL.

        Args:
            url: http or https, path and query quoted.
            first_byte: Where to begin; the reply says where it does.
            packed: The object is stored gzipped, and wanted so.

        Yields:
            The answer's body, to be read.

        Raises:
            Interrupted: No answer, or a busy store.
            NotThere: As the class says.
            UserError: An answer that another attempt would not mend; says what to do.
        """
        headers = {"Accept-Encoding": "gzip" if packed else "identity"}
        if first_byte:
            headers["Range"] = f"bytes={first_byte}-"
        stream = self._open(url, headers)
        try:
            yield Reply(stream, _begin(stream, first_byte, url))
        finally:
            stream.close()

    def _open(self, url: str, headers: dict[str, str]) -> HTTPStreamFile:
        try:
            # No blocks: one request, read as it comes; a size of 1 spares fsspec a HEAD request.
            return self._files.open(url, "rb", block_size=0, size=1, headers=headers)
        except FileNotFoundError as error:
            raise NotThere from error
        except aiohttp.ClientResponseError as error:
            raise _refusal(error, url) from error
        except (aiohttp.InvalidURL, aiohttp.ClientSSLError) as error:
            raise UserError(f"{_host(url)}: {_reason(error)}; check --endpoint") from error
        except (aiohttp.ClientError, asyncio.TimeoutError, OSError) as error:
            raise Interrupted(_reason(error)) from error


def _begin(stream: HTTPStreamFile, first_byte: int, url: str) -> int:
    """Where in the object an answer begins."""
    status: int = stream.r.status
    part = _CONTENT_RANGE.fullmatch(stream.r.headers.get("Content-Range", ""))
    if status == 206 and part is not None and int(part[1]) == first_byte:
        return first_byte
    if status == 200:
        return 0
    raise UserError(
        f"{_host(url)} answers with status {status} where 200 or the asked part was due; check "
        "--endpoint, and any proxy in between"
    )


def _refusal(error: aiohttp.ClientResponseError, url: str) -> Exception:
    if error.status in _BUSY:
        return Interrupted(f"the store answers with status {error.status}", _retry_after(error))
    if error.status in _NOT_THERE:
        return NotThere()
    if error.status in _NOT_ALLOWED:
        return UserError(
            f"{_host(url)} answers with status {error.status}: not open to the public; check "
            "--endpoint, and any proxy in between"
        )
    return UserError(f"{_host(url)} answers with status {error.status}; check --endpoint")


def _retry_after(error: aiohttp.ClientResponseError) -> float | None:
    """Seconds of a `Retry-After` header; its form with a date is left aside."""
    value = "" if error.headers is None else error.headers.get("Retry-After", "")
    return float(value) if re.fullmatch("[0-9]{1,4}", value) else None


def _reason(error: BaseException) -> str:
    """One line; the words of a server in it can't steer a terminal."""
    if isinstance(error, asyncio.TimeoutError):
        return "nothing came in time"
    if isinstance(error, (aiohttp.ClientPayloadError, aiohttp.ServerDisconnectedError)):
        return "the connection was lost"
    if isinstance(error, aiohttp.ClientConnectorError):
        return f"no connection to {error.host}:{error.port}, {error.strerror}"
    words = "".join(c if c.isprintable() else " " for c in str(error))[:200].strip()
    return words or type(error).__name__


def _host(url: str) -> str:
    return urlsplit(url).netloc

"""GET requests with streamed, undecoded bodies, and the meaning of failures.

    no connection, connection lost, 408, 429, 5xx ──▶ Interrupted    retry
    404, 412, 416                                 ──▶ NotFound       no such version of the object
    other answers                                 ──▶ UserError      no retry

An object that the store holds gzipped arrives compressed if `Accept-Encoding` allows gzip:
checksums are of the compressed bytes, and nothing is decompressed here.
"""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Callable, Iterator, Mapping
from typing import TypeVar
from urllib.parse import urljoin, urlsplit

import requests
from requests.auth import HTTPBasicAuth
from requests.utils import get_auth_from_url
from urllib3.exceptions import HTTPError, InvalidHeader, MaxRetryError
from urllib3.response import BaseHTTPResponse
from urllib3.util import Retry

from services.shared.errors import UserError

_CONNECT_SECONDS = 30.0
_MAX_REDIRECTS = 10
_BUSY = (408, 429, 500, 502, 503, 504)
_NOT_FOUND = (404, 412, 416)
_LOGGER = logging.getLogger(__name__)

T = TypeVar("T")


class NotFound(Exception):
    """The server does not have this object, or this version of it."""


class Interrupted(Exception):
    """The connection was lost or the server is busy: retry.

    Attributes:
        response: The server's answer, which may request a pause; None without an answer.
        gained: Whether the attempt made progress: earlier attempts then no longer count.
    """

    def __init__(self, reason: object, response: BaseHTTPResponse | None = None) -> None:
        super().__init__(_one_line(reason))
        self.response = response
        self.gained = False


RETRIES = Retry(total=5, backoff_factor=0.5, backoff_jitter=0.5, retry_after_max=120)
"""Six attempts with pauses of 0, 1, 2, 4 and 8 s plus up to half a second, or as requested."""


class _Session(requests.Session):
    def get_redirect_target(self, resp: requests.Response) -> None:
        """None for every answer: to follow a redirect, requests would read its whole body."""


class Http:
    """Connections to servers, with the environment's proxies.

    Args:
        retries: Number of attempts in a row, and the pauses between them.
        silence_seconds: Time without data after which a connection counts as lost.
        follows_redirects: Whether to follow redirects, as web servers need and stores do not; never
            from https to http.
        authorization: Host, with the port if the URL has one -> its Authorization header; never
            sent to other hosts, e.g. after a redirect.
    """

    def __init__(
        self,
        *,
        retries: Retry = RETRIES,
        silence_seconds: float = 60.0,
        follows_redirects: bool = False,
        authorization: Mapping[str, str] | None = None,
    ) -> None:
        self._authorization = authorization or {}
        self._retries = retries
        self._follows_redirects = follows_redirects
        self._timeout = (_CONNECT_SECONDS, silence_seconds)
        self._session = _Session()
        self._session.auth = _as_the_url_says

    @contextlib.contextmanager
    def get(
        self, url: str, *, first_byte: int = 0, headers: Mapping[str, str] | None = None
    ) -> Iterator[requests.Response]:
        """Request a URL.

        Args:
            url: http or https, path and query quoted.
            first_byte: Offset of the first byte.
            headers: Request headers; by default they ask for the object uncompressed.

        Yields:
            The answer, whose body `read` reads; status 206 if it starts at `first_byte`, 200 if it
            starts at 0.

        Raises:
            Interrupted, NotFound: As the classes say, also while the answer is read.
            UserError: An answer that a retry would not change.
        """
        sent = {"Accept-Encoding": "identity", **(headers or {})}
        if first_byte:
            sent["Range"] = f"bytes={first_byte}-"
        try:
            response = self._ask(url, sent)
        except requests.exceptions.SSLError as error:
            raise _refusal(url, error) from error
        except (requests.ConnectionError, requests.Timeout) as error:
            raise Interrupted(error) from error
        # A redirect may lead to an invalid URL.
        except (requests.RequestException, ValueError) as error:
            raise _refusal(url, error) from error
        with response:
            _check(response, first_byte)
            try:
                yield response
            except HTTPError as error:
                raise Interrupted(error) from error

    def _ask(self, url: str, headers: Mapping[str, str]) -> requests.Response:
        """The answer, without reading its body; a redirect's body is never read."""
        for _ in range(_MAX_REDIRECTS + 1):
            shown = self._authorization.get(urlsplit(url).netloc)
            response = self._session.get(
                url,
                headers=headers if shown is None else {**headers, "Authorization": shown},
                timeout=self._timeout,
                stream=True,
            )
            if not self._follows_redirects or not response.is_redirect:
                return response
            response.close()
            url = urljoin(response.url, response.headers["Location"])
            if response.url.startswith("https:") and urlsplit(url).scheme != "https":
                raise _refusal(response.url, "it redirects to a URL without TLS")
        raise _refusal(url, f"more than {_MAX_REDIRECTS} redirects")

    def retrying(self, task: str, attempt: Callable[[], T]) -> T:
        """Call a function again while it raises `Interrupted`.

        Args:
            task: Its task, for messages.
            attempt: The function.

        Raises:
            UserError: Too many attempts failed in a row.
        """
        left = self._retries
        while True:
            try:
                return attempt()
            except Interrupted as failure:
                before = self._retries if failure.gained else left
                number = len(before.history) + 1
                try:
                    left = before.increment(error=failure)
                except MaxRetryError:
                    raise UserError(
                        f"{task}: {failure}; gave up after {number} attempts in a row. Check the "
                        "network and run the same command again, which resumes from here"
                    ) from failure
                _LOGGER.warning("%s: %s; attempt %d follows", task, failure, number + 1)
                with contextlib.suppress(InvalidHeader):
                    left.sleep(failure.response)


def read(response: requests.Response, most: int) -> bytes:
    """The next bytes of a body, undecoded, at most `most`; empty at the end.

    Raises:
        HTTPError: The connection was lost, which `Http.get` converts to Interrupted.
    """
    piece: bytes = response.raw.read1(most, decode_content=False)
    return piece


def _check(response: requests.Response, first_byte: int) -> None:
    """Refuse answers without the object, or with the wrong part of it."""
    status = response.status_code
    part = response.headers.get("Content-Range", "")
    if status == 200 or (status == 206 and part.startswith(f"bytes {first_byte}-")):
        return
    if status in _NOT_FOUND:
        raise NotFound
    if status in _BUSY:
        raise Interrupted(f"the server answers with status {status}", response.raw)
    what = ", not open to the public" if status in (401, 403) else ""
    raise _refusal(response.url, f"it answers with status {status}{what}")


def _refusal(url: str, reason: object) -> UserError:
    return UserError(
        f"{urlsplit(url).netloc.rpartition('@')[2]}: {_one_line(reason)}; check the URL, or "
        "--endpoint or STORAGE_EMULATOR_HOST, and any proxy in between"
    )


def _as_the_url_says(request: requests.PreparedRequest) -> requests.PreparedRequest:
    """Only use credentials in the URL itself: netrc may have some for any host."""
    user, password = get_auth_from_url(request.url or "")
    return HTTPBasicAuth(user, password)(request) if user or password else request


def _one_line(reason: object) -> str:
    """The innermost error's message, without terminal control characters."""
    first = next(iter(getattr(reason, "args", ())), None)
    for inner in (getattr(reason, "reason", None), first):
        if isinstance(inner, Exception):
            return _one_line(inner)
    text = first if isinstance(first, str) else str(reason)
    words = "".join(c if c.isprintable() else " " for c in text)[:200].strip()
    return words or type(reason).__name__

"""GET requests whose bodies are read piece by piece, as they are stored; what failures mean.

    no connection, connection lost, 408, 429, 5xx ──▶ Interrupted    worth another attempt
    404, 412, 416                                 ──▶ NotFound       no such version of an object
    other answers                                 ──▶ UserError      another attempt is of no use

An object that the store holds gzipped comes packed when `Accept-Encoding` allows gzip: checksums
are those of the packed bytes, and nothing is unpacked here.
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
    """The server has no such object, or no longer this version of it."""


class Interrupted(Exception):
    """The connection was lost or the server is busy: worth another attempt.

    Attributes:
        response: The server's answer, which may ask for a pause; None where there was none.
        gained: Whether the attempt was not in vain: then those before it no longer count.
    """

    def __init__(self, reason: object, response: BaseHTTPResponse | None = None) -> None:
        super().__init__(_one_line(reason))
        self.response = response
        self.gained = False


RETRIES = Retry(total=5, backoff_factor=0.5, backoff_jitter=0.5, retry_after_max=120)
"""Six attempts with pauses of 0, 1, 2, 4 and 8 s and up to half a second, or the one asked for."""


class _Session(requests.Session):
    def get_redirect_target(self, resp: requests.Response) -> None:
        """Of no answer: to follow it, requests would read its whole body."""


class Http:
    """Connections to servers, by the proxies that the environment names.

    Args:
        retries: How many attempts may fail in a row, and the pauses between them.
        silence_seconds: A connection over which nothing comes for so long counts as lost.
        follows_redirects: Whether they are followed, as web servers need them and stores do not;
            never from https to http.
        authorization: Host, with its port where a URL has one -> what to show it as Authorization;
            other hosts, which a redirect may lead to, see nothing of it.
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
        """Ask for what is behind a URL.

        Args:
            url: http or https, path and query quoted.
            first_byte: Where to begin.
            headers: Of the request; by default the object is wanted as it is, not packed.

        Yields:
            The answer, whose body `read` reads; status 206 where it begins at `first_byte`, 200
            where it begins at 0.

        Raises:
            Interrupted, NotFound: As the classes say, also while the answer is read.
            UserError: An answer that another attempt would not mend; says what to do.
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
        # A redirect may lead to what is no URL at all.
        except (requests.RequestException, ValueError) as error:
            raise _refusal(url, error) from error
        with response:
            _check(response, first_byte)
            try:
                yield response
            except HTTPError as error:
                raise Interrupted(error) from error

    def _ask(self, url: str, headers: Mapping[str, str]) -> requests.Response:
        """The answer, whose body is not read; of a redirect it never is."""
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
        """Call a function until it is not `Interrupted`.

        Args:
            task: What it does, for messages.
            attempt: The function.

        Raises:
            UserError: Too many attempts failed in a row; says what to do.
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
    """The bytes of a body that have come, as they are stored and at most so many; none at the end.

    Raises:
        HTTPError: The connection was lost, which `Http.get` makes Interrupted.
    """
    piece: bytes = response.raw.read1(most, decode_content=False)
    return piece


def _check(response: requests.Response, first_byte: int) -> None:
    """Refuse answers without the object, or with another part of it."""
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
    """Credentials of the URL itself alone: netrc has some for any host that is named."""
    user, password = get_auth_from_url(request.url or "")
    return HTTPBasicAuth(user, password)(request) if user or password else request


def _one_line(reason: object) -> str:
    """The innermost of errors around errors; a server's words in it cannot steer a terminal."""
    first = next(iter(getattr(reason, "args", ())), None)
    for inner in (getattr(reason, "reason", None), first):
        if isinstance(inner, Exception):
            return _one_line(inner)
    text = first if isinstance(first, str) else str(reason)
    words = "".join(c if c.isprintable() else " " for c in text)[:200].strip()
    return words or type(reason).__name__

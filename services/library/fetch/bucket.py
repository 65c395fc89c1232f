"""A public bucket of Google Cloud Storage, read by its JSON API without credentials.

https://cloud.google.com/storage/docs/json_api/v1/objects. Answers are checked: their names must
    match the request before they are used.
"""

from __future__ import annotations

import base64
import dataclasses
import functools
import json
import os
import re
from collections.abc import Iterator
from urllib.parse import quote, urlencode

from rrl_agents.typed_json import decode, may_be_missing
from services.library.fetch.download import CHUNK_BYTES, Checksums, Files, RemoteFile
from services.library.fetch.http_retries import Http, NotFound, read
from services.shared.errors import UserError

PUBLIC_ENDPOINT = "https://storage.googleapis.com"

EMULATOR_VARIABLE = "STORAGE_EMULATOR_HOST"
"""Environment variable with another store, HOST:PORT or URL, as for Google's own clients."""

_CHECK = f"check --endpoint or {EMULATOR_VARIABLE}"

MAX_PAGES = 100
MAX_PAGE_BYTES = 16 << 20
"""A page has at most 1,000 objects of about 200 bytes in the requested fields."""

_FIELDS = "nextPageToken,prefixes,items(name,size,generation,md5Hash,crc32c,contentEncoding)"


@dataclasses.dataclass(frozen=True, kw_only=True)
class _Item:
    """An object as in the JSON API: numbers as digits, checksums in base64."""

    name: str
    size: str | int
    generation: str | int
    crc32c: str | None = may_be_missing(None)
    md5Hash: str | None = may_be_missing(None)
    contentEncoding: str | None = may_be_missing(None)


@dataclasses.dataclass(frozen=True, kw_only=True)
class _Page:
    """A page of a list."""

    items: tuple[_Item, ...] = may_be_missing(())
    prefixes: tuple[str, ...] = may_be_missing(())
    nextPageToken: str | None = may_be_missing(None)


class Bucket:
    """One bucket at one endpoint.

    Args:
        endpoint: Root of the API, from `parse_endpoint`.
        name: The bucket's name.
        http: The connections.
    """

    def __init__(self, endpoint: str, name: str, http: Http) -> None:
        self.endpoint = endpoint
        self.name = name
        self.http = http
        self._objects = f"{endpoint}/storage/v1/b/{quote(name, safe='')}/o"

    def objects(self, prefix: str) -> Files:
        """Objects whose names start with a prefix, by the rest of their names.

        Raises:
            UserError: There is no such bucket, or the answer is invalid.
        """
        items = [item for page in self._pages({"prefix": prefix}) for item in page.items]
        wanted = [item for item in items if item.name.startswith(prefix)]
        try:
            return {item.name[len(prefix) :]: self._remote(item) for item in wanted}
        except ValueError as error:
            raise self._distrust(str(error)) from error

    def folders(self, prefix: str) -> list[str]:
        """Folders one level below a prefix, without it and without a slash at the end.

        Raises:
            UserError: As `objects`.
        """
        pages = self._pages({"prefix": prefix, "delimiter": "/"})
        found = [name for page in pages for name in page.prefixes]
        return [name[len(prefix) :].rstrip("/") for name in found if name.startswith(prefix)]

    def _pages(self, query: dict[str, str]) -> Iterator[_Page]:
        query["fields"] = _FIELDS
        for _ in range(MAX_PAGES):
            ask = functools.partial(self._page, f"{self._objects}?{urlencode(query)}")
            page = self.http.retrying(f"list of {self.name}", ask)
            yield page
            if not page.nextPageToken:
                return
            query["pageToken"] = page.nextPageToken
        raise self._distrust(f"it lists more than {MAX_PAGES} pages")

    def _page(self, url: str) -> _Page:
        body = bytearray()
        try:
            with self.http.get(url) as response:
                while piece := read(response, CHUNK_BYTES):
                    body += piece
                    if len(body) > MAX_PAGE_BYTES:
                        raise ValueError(f"a list of more than {MAX_PAGE_BYTES} bytes")
            return decode(_Page, json.loads(body), "its list", ignore_unknown=True)
        except NotFound as error:
            raise UserError(
                f"there is no bucket {self.name} at {self.endpoint}; {_CHECK}"
            ) from error
        except (ValueError, RecursionError) as error:
            raise self._distrust(str(error)) from error

    def _remote(self, item: _Item) -> RemoteFile:
        query = urlencode({"alt": "media", "generation": item.generation})
        return RemoteFile(
            url=f"{self._objects}/{quote(item.name, safe='')}?{query}",
            generation=str(item.generation),
            content=Checksums(
                size=int(item.size), crc32c=_digest(item.crc32c), md5=_digest(item.md5Hash)
            ),
            is_packed=item.contentEncoding not in (None, "", "identity"),
        )

    def _distrust(self, what: str) -> UserError:
        return UserError(f"{self.endpoint} is not a valid store: {what}; {_CHECK}")


def parse_endpoint(text: str | None = None) -> str:
    """Parse the address of a store.

    Args:
        text: URL, or HOST:PORT as for emulators (then http); None for $STORAGE_EMULATOR_HOST, or
            Google's store.

    Returns:
        Scheme and host, without a slash at the end.

    Raises:
        UserError: It is invalid.
    """
    text = text or os.environ.get(EMULATOR_VARIABLE) or PUBLIC_ENDPOINT
    url = text if "://" in text else f"http://{text}"
    if re.fullmatch(r"https?://(\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9.-]+)(:[0-9]{1,5})?/?", url) is None:
        raise UserError(
            f"the endpoint {text[:200]!r} is not the address of a store; give http://HOST:PORT, or "
            f"leave it out for {PUBLIC_ENDPOINT}"
        )
    return url.rstrip("/")


def _digest(base64_text: str | None) -> str | None:
    """A digest from the JSON API, in hex."""
    return None if base64_text is None else base64.b64decode(base64_text, validate=True).hex()

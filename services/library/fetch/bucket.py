"""A public bucket of Google Cloud Storage, by its JSON API without credentials.

https://cloud.google.com/storage/docs/json_api/v1/objects. What a store answers is checked: names
and sizes in it decide nothing before they were matched against what was asked for.
"""

from __future__ import annotations

import dataclasses
import json
import re
from contextlib import AbstractContextManager
from typing import Any
from urllib.parse import quote, urlencode

from services.library.fetch.checksums import Checksums, digest_from_base64
from services.library.fetch.http import Http, NotThere, Reply
from services.library.fetch.retries import Interrupted, Patience
from services.shared.errors import UserError

PUBLIC_ENDPOINT = "https://storage.googleapis.com"

MAX_PAGES = 100
MAX_PAGE_BYTES = 16 << 20
"""A page has at most 1,000 objects of about 200 bytes in the fields asked for."""

_FIELDS = "name,size,generation,md5Hash,crc32c,contentEncoding"
_MAX_SIZE_BYTES = 5 << 40
"""The largest object there can be: 5 TiB."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class StoredObject:
    """One object of a bucket.

    Attributes:
        name: Its whole name, as the store tells it; no path to be trusted.
        generation: Which version of it, a number in digits.
        content: Size and checksums.
        is_packed: Whether the store holds it gzipped and would unpack it for browsers.
    """

    name: str
    generation: str
    content: Checksums
    is_packed: bool


@dataclasses.dataclass(frozen=True, kw_only=True)
class Listing:
    """What lies under a prefix.

    Attributes:
        objects: In the store's order.
        prefixes: Folders one level down, each with its slash; empty without a delimiter.
    """

    objects: tuple[StoredObject, ...]
    prefixes: tuple[str, ...]


class Bucket:
    """One bucket at one endpoint."""

    def __init__(self, endpoint: str, name: str, http: Http, patience: Patience) -> None:
        """Nothing is asked yet.

        Args:
            endpoint: Root of the API, as `parse_endpoint` gives it.
            name: The bucket's name.
            http: The connections.
            patience: For failures, of lists and of downloads.
        """
        self.endpoint = endpoint
        self.name = name
        self.patience = patience
        self._objects = f"{endpoint}/storage/v1/b/{quote(name, safe='')}/o"
        self._http = http

    def list_objects(self, prefix: str, *, folders: bool = False) -> Listing:
        """List what begins with a prefix.

        Args:
            prefix: Beginning of the names.
            folders: Stop at the next slash and tell the folders instead of what is in them.

        Raises:
            UserError: There is no such bucket, or the store answers nonsense.
        """
        query = {"prefix": prefix, "fields": f"nextPageToken,prefixes,items({_FIELDS})"}
        if folders:
            query["delimiter"] = "/"
        objects: list[StoredObject] = []
        prefixes: list[str] = []
        for _ in range(MAX_PAGES):
            try:
                page = self._json(f"{self._objects}?{urlencode(query)}")
            except NotThere as error:
                raise UserError(
                    f"there is no bucket {self.name} at {self.endpoint}; check --endpoint"
                ) from error
            objects += [self._object(item) for item in _list_of(page, "items", dict)]
            prefixes += _list_of(page, "prefixes", str)
            token = page.get("nextPageToken")
            if not token:
                return Listing(objects=tuple(objects), prefixes=tuple(prefixes))
            query["pageToken"] = str(token)
        raise UserError(
            f"{self.endpoint} lists more than {MAX_PAGES} pages under {self.name}/{prefix}; check "
            "--endpoint"
        )

    def stat(self, name: str) -> StoredObject:
        """What an object is now.

        Raises:
            UserError: It is gone, or the store answers nonsense.
        """
        url = f"{self._objects}/{quote(name, safe='')}?{urlencode({'fields': _FIELDS})}"
        try:
            found = self._object(self._json(url))
        except NotThere as error:
            raise UserError(f"{self.name}/{name} is no longer there; see --list") from error
        if found.name != name:
            raise self._nonsense(f"it tells of another object than {name}")
        return found

    def open(self, stored: StoredObject, first_byte: int) -> AbstractContextManager[Reply]:
        """Ask for the bytes of one generation of an object.

        Args:
            stored: Which.
            first_byte: Where to begin; the reply says where it does.

        Raises:
            Interrupted: No answer, or a busy store.
            NotThere: This generation is no longer there.
            UserError: Another answer.
        """
        query = urlencode({"alt": "media", "generation": stored.generation})
        url = f"{self._objects}/{quote(stored.name, safe='')}?{query}"
        return self._http.get(url, first_byte=first_byte, packed=stored.is_packed)

    def _json(self, url: str) -> dict[str, Any]:
        while True:
            try:
                text = self._body(url)
            except Interrupted as failure:
                self.patience.bear(failure, f"listing {self.name}")
                continue
            self.patience.renew()
            return self._decoded(text)

    def _body(self, url: str) -> bytes:
        body = bytearray()
        with self._http.get(url) as reply:
            while piece := reply.read():
                body += piece
                if len(body) > MAX_PAGE_BYTES:
                    raise self._nonsense(f"a list of more than {MAX_PAGE_BYTES} bytes")
        return bytes(body)

    def _decoded(self, text: bytes) -> dict[str, Any]:
        try:
            page = json.loads(text)
        except (ValueError, RecursionError) as error:
            raise self._nonsense("its list is no JSON") from error
        if not isinstance(page, dict):
            raise self._nonsense("its list is no JSON object")
        return page

    def _object(self, item: dict[str, Any]) -> StoredObject:
        try:
            return _stored_object(item)
        except (ValueError, TypeError, KeyError) as error:
            raise self._nonsense(f"an object's {error}") from error

    def _nonsense(self, what: str) -> UserError:
        return UserError(f"{self.endpoint} is no store to be trusted: {what}; check --endpoint")


def parse_endpoint(text: str) -> str:
    """Read where a store is.

    Args:
        text: URL, or HOST:PORT as emulators tell it (then http).

    Returns:
        Scheme and host, without a slash at the end.

    Raises:
        UserError: It is neither.
    """
    url = text if "://" in text else f"http://{text}"
    if re.fullmatch(r"https?://(\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9.-]+)(:[0-9]{1,5})?/?", url) is None:
        raise UserError(
            f"the endpoint {text[:200]!r} is no address of a store; give http://HOST:PORT, or "
            f"leave it out for {PUBLIC_ENDPOINT}"
        )
    return url.rstrip("/")


def _stored_object(item: dict[str, Any]) -> StoredObject:
    name, generation = item["name"], str(item["generation"])
    if not isinstance(name, str) or not 0 < len(name) <= 1024:
        raise ValueError("name is no text of 1 to 1024 characters")
    if re.fullmatch("[0-9]{1,20}", generation) is None:
        raise ValueError(f"generation is {generation[:80]!r}")
    return StoredObject(
        name=name,
        generation=generation,
        content=Checksums(
            size=_size(item["size"]),
            crc32c=_digest(item.get("crc32c")),
            md5=_digest(item.get("md5Hash")),
        ),
        is_packed=item.get("contentEncoding") not in (None, "", "identity"),
    )


def _size(value: object) -> int:
    # The JSON API writes 64-bit numbers as strings.
    if re.fullmatch("[0-9]{1,16}", str(value)) is None or int(str(value)) > _MAX_SIZE_BYTES:
        raise ValueError(f"size is {str(value)[:80]!r}")
    return int(str(value))


def _digest(value: object) -> str | None:
    if value is None:
        return None
    if not isinstance(value, str):
        raise ValueError("checksum is no text")
    return digest_from_base64(value)


def _list_of(page: dict[str, Any], name: str, kind: type) -> list[Any]:
    values = page.get(name, [])
    if not isinstance(values, list):
        return []
    return [value for value in values if isinstance(value, kind)]

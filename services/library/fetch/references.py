"""Downloads references that are URLs, a file or a folder, once.

https://HOST/path/policy.onnx     one file, whose size the server must announce
gs://BUCKET/path/policy.onnx      one object of a public bucket
gs://BUCKET/path/agent            a folder of one: one checkpoint of a Dopamine agent, otherwise
                                  the files in it, without those in subfolders
hf://ORG/REPO                     a repository of the Hugging Face Hub (`services.library.hub`)

CACHE/downloads/<key>/NAME    complete or absent; never downloaded again

The key depends on the URL; for gs:// and hf:// also on the store's endpoint, and for gs:// on the
checkpoint's number.
"""

from __future__ import annotations

import hashlib
import re
import shutil
from collections.abc import Iterable, Mapping
from pathlib import Path
from urllib.parse import unquote, urlsplit

from rich.console import Console

from rrl_agents.durable_files import make_folders, rename_whole
from services.library import hub
from services.library.fetch.bucket import Bucket, parse_endpoint
from services.library.fetch.download import (
    Files,
    RemoteFile,
    check_bounds,
    download_missing,
    web_file,
)
from services.library.fetch.http_retries import Http, NotFound
from services.library.fetch.progress import WorkProgress
from services.library.fetch.public_agents import checkpoints_of, choose
from services.shared.errors import UserError
from services.shared.locks import locked

_MAX_BYTES = 4 << 30
_LOCK_WAIT_SECONDS = 3600.0
_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.+-]{0,99}")


def download_reference(
    url: str, root: Path, *, number: int | None = None, http: Http | None = None
) -> Path:
    """Download the file or folder of a URL.

    Args:
        url: A URL as in the module docstring.
        root: Folder of all downloads; created if missing.
        number: Number of a Dopamine agent's checkpoint in a bucket; None for the newest.
        http: The connections.

    Returns:
        Its path. If it was downloaded before, the network is not used.

    Raises:
        UserError: The URL is invalid or unavailable, or the download is too large.
    """
    key = hashlib.sha256(_identity(url, number).encode()).hexdigest()[:16]
    place, unfinished = root / key, root / f".{key}.part"
    try:
        if not place.exists():
            make_folders(root)
            with locked(root / f".{key}.lock", wait_seconds=_LOCK_WAIT_SECONDS):
                if not place.exists():
                    _download(url, number, unfinished, http)
                    rename_whole(unfinished, place)
        (named,) = place.iterdir()
    except NotFound as error:
        raise UserError(f"{url}: there is nothing; check the URL") from error
    except OSError as error:
        raise UserError(f"{url}: {error.strerror or error}; {root} must be writable") from error
    return named


def _identity(url: str, number: int | None) -> str:
    """Identifies a download; refuses other kinds of URLs."""
    if url.startswith(hub.SCHEME):
        return repr((hub.hub_endpoint(), str(hub.parse_hub(url))))
    if re.match(r"(https?|gs)://", url) is None:
        raise UserError(f"{url}: give a URL of https://, http://, gs:// or hf://, or a path")
    if _NAME.fullmatch(_last_part(url)) is None:
        raise UserError(f"{url}: it must end in a name of letters, digits, '_', '.', '+' or '-'")
    return repr((parse_endpoint(), url, number)) if urlsplit(url).scheme == "gs" else url


def _last_part(url: str) -> str:
    return unquote(urlsplit(url).path).rstrip("/").rpartition("/")[2]


def _download(url: str, number: int | None, unfinished: Path, http: Http | None) -> None:
    """Download a file or folder into an empty folder, under its name."""
    digests: Mapping[str, str] = {}
    if url.startswith(hub.SCHEME):
        found = hub.hub_files(hub.parse_hub(url))
        http = http or hub.hub_http()
        name, files, digests = found.name, found.files, found.digests
    else:
        http = http or Http(follows_redirects=urlsplit(url).scheme != "gs")
        name = _last_part(url)
        files = _files(url, name, number, http)
    check_bounds(files, _MAX_BYTES, "download it with another tool, and give its path")
    folder = unfinished if [*files] == [name] else unfinished / name
    make_folders(folder)
    progress = WorkProgress(Console(stderr=True))
    with progress.bars:
        download_missing(http, files, folder, progress)
    hub.check_digests(folder, digests)
    # Partial files of an earlier attempt.
    _keep_only(folder, files)
    _keep_only(unfinished, [name])


def _keep_only(folder: Path, names: Iterable[str]) -> None:
    for left_over in {*folder.iterdir()} - {folder / name for name in names}:
        if left_over.is_dir():
            shutil.rmtree(left_over)
        else:
            left_over.unlink()


def _files(url: str, name: str, number: int | None, http: Http) -> Files:
    """The files to download; a single file has the URL's name."""
    parts = urlsplit(url)
    if parts.scheme == "gs":
        path = unquote(parts.path).strip("/")
        files = _in_bucket(Bucket(parse_endpoint(), parts.netloc, http), path, name, number)
    else:
        files = {name: http.retrying(name, lambda: _on_the_web(url, http))}
    if not files:
        raise NotFound
    return files


def _in_bucket(bucket: Bucket, path: str, name: str, number: int | None) -> Files:
    found = bucket.objects(path)
    if "" in found:
        return {name: found[""]}
    inside = {rest[1:]: remote for rest, remote in found.items() if rest.startswith("/")}
    checkpoints = checkpoints_of(inside)
    if number is None and not any(one.is_whole for one in checkpoints.values()):
        return {rest: remote for rest, remote in inside.items() if _NAME.fullmatch(rest)}
    return choose(checkpoints, number, f"gs://{bucket.name}/{path}").weights


def _on_the_web(url: str, http: Http) -> RemoteFile:
    with http.get(url) as response:
        return web_file(url, response.headers)

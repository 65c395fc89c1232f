"""References that are URLs: a file or a folder, downloaded once.

https://HOST/path/policy.onnx     one file, whose size the server must announce
gs://BUCKET/path/policy.onnx      one object of a public bucket
gs://BUCKET/path/agent            a folder of one: of a Dopamine agent one checkpoint, otherwise
                                  the files in it, without those of folders in it

CACHE/downloads/<key>/NAME    whole, or not there; not asked for again

The key is of the URL; of gs:// also of the store's endpoint and the checkpoint's number.
"""

from __future__ import annotations

import hashlib
import re
from pathlib import Path
from urllib.parse import unquote, urlsplit

from rich.console import Console

from rrl_agents.durable_files import make_folders, rename_whole
from services.library.fetch.bucket import Bucket, parse_endpoint
from services.library.fetch.download import (
    Files,
    RemoteFile,
    check_bounds,
    download_missing,
    web_file,
)
from services.library.fetch.http import Http, NotFound
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
    """A file or folder that a URL names, on this machine.

    Args:
        url: As above; its last part is the name.
        root: Folder of all downloads; made if missing.
        number: Which checkpoint of a Dopamine agent in a bucket; the newest when None.
        http: The connections.

    Returns:
        Where it is; where it was before, the network is not asked.

    Raises:
        UserError: It is no such URL, not there, cannot be had, or is too large; says what to do.
    """
    if re.match(r"(https?|gs)://", url) is None:
        raise UserError(f"{url}: give a URL of https://, http:// or gs://, or a path")
    is_object = urlsplit(url).scheme == "gs"
    what = repr((parse_endpoint(), url, number)) if is_object else url
    key = hashlib.sha256(what.encode()).hexdigest()[:16]
    name = unquote(urlsplit(url).path).rstrip("/").rpartition("/")[2]
    if _NAME.fullmatch(name) is None:
        raise UserError(f"{url}: it must end in a name of letters, digits, '_', '.', '+' or '-'")
    place, unfinished = root / key / name, root / f".{key}.part"
    if place.exists():
        return place
    http = http or Http(follows_redirects=not is_object)
    progress = WorkProgress(Console(stderr=True))
    try:
        make_folders(root)
        with locked(root / f".{key}.lock", wait_seconds=_LOCK_WAIT_SECONDS), progress.bars:
            if not place.exists():
                files = _files(url, name, number, http)
                folder = unfinished if [*files] == [name] else unfinished / name
                make_folders(folder)
                download_missing(http, files, folder, progress)
                for left_over in {*folder.iterdir()} - {folder / name for name in files}:
                    left_over.unlink()
                rename_whole(unfinished, root / key)
    except NotFound as error:
        raise UserError(f"{url}: there is nothing; check the URL") from error
    except OSError as error:
        raise UserError(f"{url}: {error.strerror or error}; {root} must be writable") from error
    return place


def _files(url: str, name: str, number: int | None, http: Http) -> Files:
    """What is to be downloaded; a single file has the URL's own name."""
    parts = urlsplit(url)
    if parts.scheme == "gs":
        path = unquote(parts.path).strip("/")
        files = _in_bucket(Bucket(parse_endpoint(), parts.netloc, http), path, name, number)
    else:
        files = {name: http.retrying(name, lambda: _on_the_web(url, http))}
    if not files:
        raise NotFound
    check_bounds(files, _MAX_BYTES, "download it with another tool, and give its path")
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

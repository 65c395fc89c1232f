"""References that are URLs: a file or a folder, downloaded once.

https://HOST/path/policy.onnx     one file, whose size the server must announce
gs://BUCKET/path/policy.onnx      one object of a public bucket
gs://BUCKET/path/agent            a folder of one: of a Dopamine agent one checkpoint, otherwise
                                  the files in it, without those of folders in it
hf://ORG/REPO                     a repository of the Hugging Face Hub (`services.library.hub`)

CACHE/downloads/<key>/NAME    whole, or not there; not asked for again

The key is of the URL; of gs:// and hf:// also of the store's endpoint, and of gs:// of the
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
        url: As above.
        root: Folder of all downloads; made if missing.
        number: Which checkpoint of a Dopamine agent in a bucket; the newest when None.
        http: The connections.

    Returns:
        Where it is; where it was before, the network is not asked.

    Raises:
        UserError: It is no such URL, not there, cannot be had, or is too large; says what to do.
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
    """What is one download; refuses what is no URL of these kinds."""
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
    """Bring a file or folder into a folder, under its name and alone."""
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
    # Parts of what an earlier attempt was announced.
    _keep_only(folder, files)
    _keep_only(unfinished, [name])


def _keep_only(folder: Path, names: Iterable[str]) -> None:
    for left_over in {*folder.iterdir()} - {folder / name for name in names}:
        if left_over.is_dir():
            shutil.rmtree(left_over)
        else:
            left_over.unlink()


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

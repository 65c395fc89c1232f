"""Teachers in repositories on the Hugging Face Hub: `hf://ORG/REPO[@REVISION][/PATH]`.

The Hub's library finds repositories, reads the user's token, and uploads; `fetch.download`
downloads, within announced sizes. A revision is a branch, tag or commit; its files are those of one
commit. HF_ENDPOINT, HF_TOKEN and `hf auth login` work as usual.
"""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import re
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import quote, unquote, urlsplit

from rrl_agents.checkpoints.model_files import MODEL_SUFFIXES
from rrl_agents.checkpoints.teacher_card import CARD_FILE, ONNX_SUFFIX, POLICY_FILES
from services.library.fetch.download import Checksums, Files, RemoteFile
from services.library.fetch.http_retries import Http
from services.shared.errors import UserError, printable, quoted
from services.shared.file_digest import file_sha256

if TYPE_CHECKING:
    from huggingface_hub.hf_api import RepoSibling

SCHEME = "hf://"
_PART = r"[A-Za-z0-9_][A-Za-z0-9_.+-]{0,99}"
_REFERENCE = re.compile(rf"hf://({_PART}/{_PART})(?:@([^/]{{1,200}}))?((?:/{_PART}){{0,8}})/?")
_LIST_SECONDS = 30.0
_SHA256_DIGITS = 64


@dataclasses.dataclass(frozen=True, kw_only=True)
class HubReference:
    """A location on the Hub.

    Attributes:
        repository: ORG/REPO.
        revision: Branch, tag or commit; None for the main branch.
        path: A file or folder in it; "" for all of it.
    """

    repository: str
    revision: str | None = None
    path: str = ""

    def __str__(self) -> str:
        """The form that `parse_hub` reads."""
        revision = "" if self.revision is None else f"@{quote(self.revision, safe='')}"
        return f"{SCHEME}{self.repository}{revision}{self.path and '/'}{self.path}"


@dataclasses.dataclass(frozen=True, kw_only=True)
class HubFiles:
    """The files of a reference.

    Attributes:
        name: Name of the file, or of the folder for several.
        files: Name -> remote file, all of one commit.
        digests: Name -> SHA-256 of the content; for a small file, SHA-1 of its git blob.
    """

    name: str
    files: Files
    digests: Mapping[str, str]


def parse_hub(text: str) -> HubReference:
    """Read a reference.

    Raises:
        UserError: it is invalid.
    """
    match = _REFERENCE.fullmatch(text)
    if match is None or ".." in text:
        raise UserError(f"{text}: give hf://ORG/REPO, hf://ORG/REPO@REVISION or hf://ORG/REPO/FILE")
    repository, revision, path = match.groups()
    return HubReference(
        repository=repository,
        revision=None if revision is None else unquote(revision),
        path=path.strip("/"),
    )


def hub_endpoint() -> str:
    """URL of the Hub.

    Raises:
        UserError: its library is not installed.
    """
    with _library():
        from huggingface_hub import constants
    return constants.ENDPOINT


def hub_http() -> Http:
    """Connections that send the user's token only to the Hub, not to its download hosts."""
    with _library():
        from huggingface_hub import get_token
    token = get_token()
    shown = {} if token is None else {urlsplit(hub_endpoint()).netloc: f"Bearer {token}"}
    return Http(follows_redirects=True, authorization=shown)


def hub_files(reference: HubReference) -> HubFiles:
    """Look up the files of a reference: a teacher's directory, or a single model file.

    Raises:
        UserError: it does not exist, is not visible with this token, or holds no teacher.
    """
    with _library(), _hub_errors(reference):
        from huggingface_hub import HfApi, hf_hub_url

        info = HfApi().model_info(
            reference.repository,
            revision=reference.revision,
            files_metadata=True,
            timeout=_LIST_SECONDS,
        )
    siblings = {sibling.rfilename: sibling for sibling in info.siblings or []}
    chosen = _chosen(reference, siblings)
    files, digests = {}, {}
    for path, sibling in chosen.items():
        name = path.rpartition("/")[2]
        digest = sibling.blob_id if sibling.lfs is None else sibling.lfs.sha256
        if sibling.size is None or digest is None or info.sha is None:
            raise UserError(f"{reference}: the Hub gives no size or digest of {name}")
        url = hf_hub_url(reference.repository, path, revision=info.sha, endpoint=hub_endpoint())
        files[name] = RemoteFile(url=url, content=Checksums(size=sibling.size))
        digests[name] = digest
    (only, *others) = files
    folder = (reference.path or reference.repository).rpartition("/")[2]
    is_file = not others and only != CARD_FILE
    return HubFiles(name=only if is_file else folder, files=files, digests=digests)


def check_digests(folder: Path, digests: Mapping[str, str]) -> None:
    """Compare files with the Hub's digests; those that differ are deleted.

    Args:
        folder: The folder.
        digests: As in `HubFiles`.

    Raises:
        UserError: one differs.
    """
    wrong = [name for name, wanted in digests.items() if _digest(folder / name, wanted) != wanted]
    for name in wrong:
        (folder / name).unlink()
    if wrong:
        raise UserError(
            f"{', '.join(wrong)}: the download differs from what the Hub announced, so it was "
            "deleted; run the same command again. If it fails again, something on the way "
            "changes it"
        )


def push_files(
    reference: HubReference, files: Iterable[Path], readme: str, *, private: bool
) -> str:
    """Upload a teacher to a repository as one commit; the repository is created if missing.

    Parameters of an earlier teacher, which would not fit the new card, are deleted.

    Args:
        reference: A repository.
        files: The files to upload, under their own names.
        readme: Its README.md.
        private: Whether a new repository is private, and an existing one must be.

    Returns:
        URL of the commit.

    Raises:
        UserError: the Hub refuses, e.g. without a token with write access; or the repository is
            public, but `private` is set.
    """
    with _library(), _hub_errors(reference):
        from huggingface_hub import CommitOperationAdd, CommitOperationDelete, HfApi

        api = HfApi()
        api.create_repo(reference.repository, private=private, exist_ok=True)
        there = api.model_info(reference.repository, timeout=_LIST_SECONDS)
        if private and not there.private:
            raise UserError(
                f"{reference} is public, and nothing was uploaded; make it private in its settings "
                "on the Hub, choose another name, or leave out --private"
            )
        contents: dict[str, Path | bytes] = {file.name: file for file in files}
        contents["README.md"] = readme.encode()
        names = {sibling.rfilename for sibling in there.siblings or []}
        outdated = names.intersection(POLICY_FILES).difference(contents)
        commit = api.create_commit(
            reference.repository,
            [
                *(CommitOperationAdd(name, content) for name, content in contents.items()),
                *(CommitOperationDelete(name) for name in sorted(outdated)),
            ],
            commit_message="Teacher by rrl-agents",
        )
    return str(commit.commit_url)


def _chosen(reference: HubReference, siblings: Mapping[str, RepoSibling]) -> dict[str, RepoSibling]:
    """The files of a teacher: its directory's, or the only model."""
    if reference.path in siblings:
        return {reference.path: siblings[reference.path]}
    prefix = reference.path and f"{reference.path}/"
    inside = {
        path: sibling
        for path, sibling in siblings.items()
        if path.startswith(prefix) and re.fullmatch(_PART, path[len(prefix) :])
    }
    if f"{prefix}{CARD_FILE}" in inside:
        wanted = [f"{prefix}{name}" for name in (CARD_FILE, *POLICY_FILES)]
        return {path: inside[path] for path in wanted if path in inside}
    models = [path for path in inside if Path(path).suffix.lower() in _MODEL_SUFFIXES]
    if len(models) == 1:
        return {models[0]: inside[models[0]]}
    if models:
        repository = dataclasses.replace(reference, path=min(models))
        names = ", ".join(sorted(models)[:10])
        raise UserError(f"{reference} has several models ({names}); name one: {repository}")
    raise UserError(
        f"{reference} holds no teacher: looked for a file of that name, {CARD_FILE} of a teacher's "
        f"directory, and a model ({', '.join(sorted(_MODEL_SUFFIXES))})"
    )


_MODEL_SUFFIXES = MODEL_SUFFIXES | {ONNX_SUFFIX}


def _digest(file: Path, like: str) -> str:
    """SHA-256 of a file's content; or its git blob SHA-1, if `like` is one."""
    if len(like) == _SHA256_DIGITS:
        return file_sha256(file)
    content = file.read_bytes()
    return hashlib.sha1(b"blob %d\0%b" % (len(content), content)).hexdigest()


@contextlib.contextmanager
def _library() -> Iterator[None]:
    """Advise what to install if the Hub's library is missing."""
    try:
        yield
    except ModuleNotFoundError as error:
        if error.name != "huggingface_hub":
            raise
        raise UserError(
            "hf:// needs the package huggingface_hub, which is not in this environment: run "
            "`pip install huggingface_hub`"
        ) from error


@contextlib.contextmanager
def _hub_errors(reference: HubReference) -> Iterator[None]:
    """Convert errors of the Hub's library into one line that says what to do."""
    from huggingface_hub.errors import (
        GatedRepoError,
        HfHubHTTPError,
        HFValidationError,
        LocalTokenNotFoundError,
        OfflineModeIsEnabled,
        RepositoryNotFoundError,
        RevisionNotFoundError,
    )

    name = quoted(str(reference))
    try:
        yield
    except RevisionNotFoundError as error:
        raise UserError(f"{name}: there is no such revision in this repository") from error
    except GatedRepoError as error:
        raise UserError(
            f"{name}: access needs its owner's approval; request it on its page, then run "
            "`hf auth login`"
        ) from error
    except (RepositoryNotFoundError, LocalTokenNotFoundError) as error:
        raise UserError(
            f"{name}: there is no such repository, or it is private and the token may not use it; "
            "check the name, and `hf auth login` or HF_TOKEN"
        ) from error
    except OfflineModeIsEnabled as error:
        raise UserError(f"{name}: HF_HUB_OFFLINE forbids access to the Hub; unset it") from error
    except HfHubHTTPError as error:
        status = error.response.status_code
        advice = ", with a token that may do this" if status in (401, 403) else ""
        words = printable(str(error.server_message or "")[:200])
        raise UserError(
            f"{name}: {hub_endpoint()} answers with status {status} {words}; try again{advice}"
        ) from error
    # A failed upload raises RuntimeError, with the reason as its cause.
    except (OSError, HFValidationError, RuntimeError) as error:
        reason = str(error.__cause__ or error) or type(error).__name__
        words = printable(reason.splitlines()[0][:200])
        raise UserError(
            f"{name}: the Hub cannot be reached ({words}); check the network"
        ) from error

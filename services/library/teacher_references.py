"""Opens references to teachers: as a directory, an entry point or an ensemble.

    Pong/dqn-bundled, pong_dqn     a name of the store
    exported/my-student            a teacher's directory: itself
    dqn/Pong/1, .../ckpt.399       a Dopamine agent (its newest checkpoint), or one checkpoint
    ppo-LunarLander.zip, dqn.pth, dqn.cleanrl_model
                                   a model of Stable-Baselines3, PyTorch or CleanRL
    policy.onnx                    an ONNX file
    perciatelli44.pb               a frozen graph of TensorFlow
    https://.., gs://BUCKET/..     any of these, downloaded once
    hf://ORG/REPO[@REVISION][/..]  a teacher's directory, or a model, of the Hugging Face Hub
    my_package:make_teacher        an entry point: a Python policy of the user's own
    ensemble:mean:A,B              several of these combined

Foreign files are imported once into CACHE/imported/<key>/ and found there the next time. The key is
the SHA-256 of all files that are read, their names and the user's hints.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import NewType

from rrl_agents.checkpoints.fetched_source import fetched_game
from rrl_agents.checkpoints.find_checkpoint import find_checkpoint
from rrl_agents.checkpoints.hints import NO_HINTS, Hints
from rrl_agents.checkpoints.model_files import is_frozen_graph, is_model_file
from rrl_agents.checkpoints.teacher_card import (
    CARD_FILE,
    ONNX_SUFFIX,
    POLICY_FILES,
    is_teacher_directory,
)
from rrl_agents.durable_files import make_folders, rename_whole
from rrl_agents.ensembles import Ensemble, parse_ensemble
from services.library.catalogue import locate, packaged_teacher
from services.library.confined import run_confined
from services.library.places import cache_directory, imported_directory
from services.shared.errors import UserError, user_errors
from services.shared.file_digest import file_sha256
from services.shared.locks import locked

EntryPoint = NewType("EntryPoint", str)
"""`module:factory` of a Python policy."""

_FORMAT = 1
"""Format of imported directories; a new number imports everything again."""

_MAX_BYTES = 4 << 30
_LOCK_FILE = ".import.lock"
_LOCK_WAIT_SECONDS = 900.0


def open_reference(reference: str, *, store: Path | None = None) -> Path | EntryPoint | Ensemble:
    """Open a reference.

    Args:
        reference: A name of the store, a path, a URL, an entry point, or an ensemble. A name takes
            precedence over a path (`./pong_dqn` is the path), and an existing path over an entry
            point.
        store: Folder of imported teachers; None for the cache's.

    Returns:
        A teacher's directory, the entry point, or the ensemble, whose members are not opened.

    Raises:
        UserError: There is nothing of that name, or it cannot be imported because it is damaged,
            unsafe or ambiguous.
    """
    with user_errors():
        ensemble = parse_ensemble(reference)
    if ensemble is not None:
        return ensemble
    located = _located(reference)
    path = Path(located)
    if not path.exists() and _is_entry_point(located):
        return EntryPoint(located)
    if path.is_dir() and is_teacher_directory(path):
        return path
    return import_reference(reference, store=store)


def import_reference(
    reference: str,
    hints: Hints = NO_HINTS,
    *,
    number: int | None = None,
    name: str | None = None,
    store: Path | None = None,
) -> Path:
    """Import foreign files, or a teacher's directory with other hints.

    Args:
        reference: A name of the store, a path or a URL.
        hints: Facts that the user adds.
        number: Number of a Dopamine agent's checkpoint; None for the newest.
        name: Its name, GAME/NAME or NAME; its card has NAME. None takes the name in its files.
        store: As for `open_reference`.

    Returns:
        Its directory in the store.

    Raises:
        UserError: As `open_reference`; or the hints contradict the files.
    """
    with user_errors((ValueError, OSError)):
        if parse_ensemble(reference) is not None:
            raise ValueError(f"{reference} has no files: import its teachers, and name them in it")
        source = _source(reference, number)
        packaged = packaged_teacher(reference)
        if packaged is not None:
            hints = dataclasses.replace(hints, game=hints.game or packaged.game)
        said = {"hints": dataclasses.asdict(hints), "name": name}
        directory = (store or imported_directory()) / source.key(said)
        if not (directory / CARD_FILE).is_file():
            _import(source, said, directory)
        return directory


@dataclasses.dataclass(frozen=True, kw_only=True)
class _Source:
    """Files to import.

    Attributes:
        file: The file or folder to give to the importer.
        files: All files that are read.
        place: Facts for its card from its location: the agent's folder, and its game.
    """

    file: Path
    files: tuple[Path, ...]
    place: tuple[str | None, ...] = ()

    def key(self, said: Mapping[str, object]) -> str:
        """Digest of its files and of everything else in its card; refuses too large files."""
        names = [file.name for file in self.files]
        size = sum(file.stat().st_size for file in self.files)
        if size > _MAX_BYTES:
            raise ValueError(f"{self.file}: {size} bytes to import, at most {_MAX_BYTES} are read")
        digest = hashlib.sha256(json.dumps([_FORMAT, self.place, names, said]).encode())
        for file in self.files:
            digest.update(bytes.fromhex(file_sha256(file)))
        return digest.hexdigest()


def _located(reference: str, number: int | None = None) -> str:
    """Resolve names and URLs to a path or an entry point."""
    if "://" not in reference:
        return locate(reference)
    # Imported here, because the rest needs no network.
    from services.library.fetch.references import download_reference

    return str(download_reference(reference, cache_directory() / "downloads", number=number))


def _source(reference: str, number: int | None) -> _Source:
    path = Path(_located(reference, number))
    is_onnx = path.suffix.lower() == ONNX_SUFFIX and path.is_file()
    is_file = is_onnx or is_frozen_graph(path) or is_model_file(path)
    if is_file or is_teacher_directory(path):
        if number is not None:
            raise ValueError(
                f"{reference} has no numbered checkpoints; leave out the number {number}"
            )
        parts = [path] if is_file else [path / name for name in (CARD_FILE, *POLICY_FILES)]
        return _Source(file=path, files=tuple(part for part in parts if part.is_file()))
    if not path.exists() and not path.with_name(f"{path.name}.index").exists():
        raise ValueError(
            f"no teacher {reference!r}: looked for a name (`rrl teacher list` shows them), a "
            f"directory with {CARD_FILE}, a Dopamine agent's directory, ckpt.N or tf_ckpt-N.index "
            "file, a model of Stable-Baselines3, PyTorch or CleanRL, and an ONNX file at "
            f"{path.absolute()}"
        )
    checkpoint = find_checkpoint(path, number)
    place = (checkpoint.agent.name, fetched_game(checkpoint.agent))
    return _Source(file=checkpoint.file, files=checkpoint.files, place=place)


def _import(source: _Source, said: Mapping[str, object], directory: Path) -> None:
    """Import once, atomically, for this and other processes."""
    store = directory.parent
    try:
        make_folders(store)
        (store / _LOCK_FILE).touch()
    except OSError as error:
        raise UserError(
            f"{source.file} is to be imported, and {store} cannot be written ({error.strerror}): "
            "give RRL_CACHE a folder that can be, or run `rrl teacher import` where it can, with "
            "the same RRL_CACHE"
        ) from error
    with locked(store / _LOCK_FILE, wait_seconds=_LOCK_WAIT_SECONDS):
        if (directory / CARD_FILE).is_file():
            return
        # No other process is importing, so temporary names were left behind by a crash.
        for left in store.glob(".*.tmp"):
            shutil.rmtree(left, ignore_errors=True)
        unfinished = store / f".{directory.name}.tmp"
        try:
            run_confined(
                "rrl_agents.checkpoints.import_foreign:import_foreign",
                {"source": source.file, "destination": unfinished, **said},
                subject=source.file,
            )
            if source.key(said) != directory.name:
                raise UserError(f"{source.file} changed while it was read; try again")
            rename_whole(unfinished, directory)
        finally:
            shutil.rmtree(unfinished, ignore_errors=True)


def _is_entry_point(text: str) -> bool:
    module, colon, factory = text.partition(":")
    return bool(colon) and all(part.isidentifier() for part in (*module.split("."), factory))

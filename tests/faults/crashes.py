"""What a kill, or a power loss, would leave of a folder at each step of what writes it.

    with recorded(folder, into) as crashes:
        write(folder)
    crashes.kills, crashes.power_losses     folders, as they would be found

A step is a call of this process that changes the file system: Python's audit events name all but
`fsync`, which is wrapped. What is there just before a step is what a kill at that moment leaves.

A power loss leaves less, since what was not flushed may be lost, and in any order. Two extremes
stand for the rest: names are all there and unflushed content is not; and nothing at all is there
that was not flushed, names included. What native code writes between two steps is taken as not
flushed, even where it flushes it.
"""

from __future__ import annotations

import contextlib
import dataclasses
import os
import shutil
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

_CHANGES = frozenset(
    ("open", "os.mkdir", "os.rename", "os.remove", "os.rmdir", "os.link", "os.symlink")
)
_WRITES = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC


@dataclasses.dataclass
class Crashes:
    """What would be left, without what equals another.

    Attributes:
        kills: Folders as kills leave them, in the order of the steps.
        power_losses: Folders as power losses leave them, in the order of the steps.
        after: Of a power loss once all is done, in both extremes.
        steps: How many steps there were.
    """

    kills: list[Path] = dataclasses.field(default_factory=list)
    power_losses: list[Path] = dataclasses.field(default_factory=list)
    after: list[Path] = dataclasses.field(default_factory=list)
    steps: int = 0


@contextlib.contextmanager
def recorded(folder: Path, into: Path) -> Iterator[Crashes]:
    """Record what would be left of a folder, whose present content is taken as flushed.

    Args:
        folder: What the body writes to.
        into: An empty folder for what would be left.
    """
    recorder = _Recorder(folder.absolute(), into)
    fsync = os.fsync

    def noted_fsync(descriptor: Any) -> None:
        number = descriptor if isinstance(descriptor, int) else descriptor.fileno()
        recorder.step()
        fsync(number)
        recorder.flushed(number)

    global _listener
    os.fsync = noted_fsync
    _listener = recorder.heard
    try:
        yield recorder.crashes
    finally:
        _listener = None
        os.fsync = fsync
    recorder.end()


class _Recorder:
    def __init__(self, folder: Path, into: Path) -> None:
        self._folder, self._into = folder, into
        self._lock = threading.RLock()
        self._seen: dict[Any, Path] = {}
        # Of inodes: what of their content or names is on disk.
        self._files: dict[int, bytes] = {}
        self._names: dict[int, dict[str, tuple[int, bool]]] = {}
        self.crashes = Crashes()
        for path in (folder, *folder.rglob("*")):
            self._note(path)

    def heard(self, event: str, arguments: tuple[Any, ...]) -> None:
        """Take notice of an audit event, before it happens."""
        if event not in _CHANGES:
            return
        if event == "open" and not (isinstance(arguments[2], int) and arguments[2] & _WRITES):
            return
        paths = [one for one in arguments[:2] if isinstance(one, str | bytes | os.PathLike)]
        directories = [one for one in arguments[1:] if isinstance(one, int) and one >= 0]
        if not any(self._is_ours(path, directories) for path in paths):
            return
        self.step()
        if event == "os.remove":
            self._forget(paths[0], directories)

    def step(self) -> None:
        """Keep what would be left now."""
        with self._lock:
            self.crashes.steps += 1
            tree = _tree(self._folder)
            self._keep(tree, self.crashes.kills)
            self._keep(self._with_all_names(self._folder), self.crashes.power_losses)
            self._keep(self._as_flushed(_inode(self._folder)), self.crashes.power_losses)

    def flushed(self, descriptor: int) -> None:
        """Note what a file or folder holds now as being on disk."""
        with self._lock:
            path = Path(os.readlink(f"/proc/self/fd/{descriptor}"))
            if path == self._folder or self._folder in path.parents:
                self._note(path)

    def end(self) -> None:
        """Keep what would be left of what is done."""
        with self._lock:
            self.step()
            for tree in (
                self._with_all_names(self._folder),
                self._as_flushed(_inode(self._folder)),
            ):
                self.crashes.after.append(self._seen[_hashable(tree)])

    def _is_ours(self, path: Any, directories: list[int]) -> bool:
        full = _full_path(path, directories)
        return full is not None and (full == self._folder or self._folder in full.parents)

    def _forget(self, path: Any, directories: list[int]) -> None:
        # Its inode may be another file's next.
        full = _full_path(path, directories)
        with self._lock, contextlib.suppress(OSError):
            if full is not None and full.stat().st_nlink == 1:
                self._files.pop(_inode(full), None)

    def _note(self, path: Path) -> None:
        if path.is_dir():
            self._names[_inode(path)] = {
                entry.name: (entry.inode(), entry.is_dir()) for entry in os.scandir(path)
            }
        else:
            self._files[_inode(path)] = path.read_bytes()

    def _with_all_names(self, folder: Path) -> dict[str, Any]:
        left: dict[str, Any] = {}
        with contextlib.suppress(FileNotFoundError):
            for entry in os.scandir(folder):
                left[entry.name] = (
                    self._with_all_names(Path(entry.path))
                    if entry.is_dir()
                    else self._files.get(entry.inode(), b"")
                )
        return left

    def _as_flushed(self, inode: int) -> dict[str, Any]:
        return {
            name: self._as_flushed(its) if is_folder else self._files.get(its, b"")
            for name, (its, is_folder) in self._names.get(inode, {}).items()
        }

    def _keep(self, tree: dict[str, Any], kept: list[Path]) -> None:
        key = _hashable(tree)
        if key not in self._seen:
            self._seen[key] = self._into / f"{len(self._seen):04d}"
            _write(tree, self._seen[key])
        if self._seen[key] not in kept:
            kept.append(self._seen[key])


def _full_path(path: Any, directories: list[int]) -> Path | None:
    text = os.fsdecode(path)
    if os.path.isabs(text) or not directories:
        return Path(text).absolute()
    with contextlib.suppress(OSError):
        return Path(os.readlink(f"/proc/self/fd/{directories[0]}")) / text
    return None


def _inode(path: Path) -> int:
    return path.stat().st_ino


def _tree(folder: Path) -> dict[str, Any]:
    left: dict[str, Any] = {}
    # Native code may remove files while they are read.
    with contextlib.suppress(FileNotFoundError):
        for entry in os.scandir(folder):
            with contextlib.suppress(FileNotFoundError):
                left[entry.name] = (
                    _tree(Path(entry.path)) if entry.is_dir() else Path(entry.path).read_bytes()
                )
    return left


def _hashable(tree: dict[str, Any]) -> Any:
    return tuple(
        (name, _hashable(one) if isinstance(one, dict) else one)
        for name, one in sorted(tree.items())
    )


def _write(tree: dict[str, Any], folder: Path) -> None:
    shutil.rmtree(folder, ignore_errors=True)
    os.makedirs(folder)
    for name, one in tree.items():
        if isinstance(one, dict):
            _write(one, folder / name)
        else:
            (folder / name).write_bytes(one)


_listener: Callable[[str, tuple[Any, ...]], None] | None = None
_hearing = threading.local()


def _hear(event: str, arguments: tuple[Any, ...]) -> None:
    # A hook stays until the process ends: it does nothing between recordings, nor for its own.
    if _listener is None or getattr(_hearing, "now", False):
        return
    _hearing.now = True
    try:
        _listener(event, arguments)
    finally:
        _hearing.now = False


sys.addaudithook(_hear)

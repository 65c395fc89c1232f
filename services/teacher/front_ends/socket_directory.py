"""A folder of a server's own for its sockets, gone with the server whichever way it ends.

A server that is killed leaves its folder; the next one of the same user removes it. Which folders
are in use their locks say, which the system frees when a process ends.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
import tempfile
from pathlib import Path

_PREFIX = "rrl-sockets-"


class SocketDirectory:
    """A new folder that only this user may enter.

    Args:
        parent: Where; None for the user's runtime directory, else the one for temporary files.

    Raises:
        OSError: It cannot be made there.
    """

    def __init__(self, parent: Path | None = None) -> None:
        if parent is None:
            runtime = os.environ.get("XDG_RUNTIME_DIR", "")
            parent = Path(runtime if os.access(runtime, os.W_OK) else tempfile.gettempdir())
        _remove_abandoned(parent)
        held: int | None = None
        while held is None:
            self.path = Path(tempfile.mkdtemp(prefix=_PREFIX, dir=parent))
            # None where another server took it for an abandoned one before it was locked.
            held = _lock(self.path)
        self._held: int | None = held

    def close(self) -> None:
        """Remove it; a second call does nothing."""
        if self._held is not None:
            shutil.rmtree(self.path, ignore_errors=True)
            os.close(self._held)
            self._held = None


def _remove_abandoned(parent: Path) -> None:
    for path in parent.glob(f"{_PREFIX}*"):
        with contextlib.suppress(OSError):
            if path.lstat().st_uid == os.getuid() and (held := _lock(path)) is not None:
                # Whatever else somebody keeps under such a name stays.
                for entry in [*path.iterdir()]:
                    if entry.is_socket():
                        entry.unlink()
                os.close(held)
                path.rmdir()


def _lock(path: Path) -> int | None:
    """Lock a folder while the descriptor is open; None where it is gone, or another's."""
    try:
        held = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
    except OSError:
        return None
    try:
        fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
        if path.exists():
            return held
    except OSError:
        pass
    os.close(held)
    return None

"""A disk with too little room, for this process alone."""

from __future__ import annotations

import contextlib
import resource
from collections.abc import Iterator


@contextlib.contextmanager
def files_of_at_most(count: int) -> Iterator[None]:
    """Let no file of this process grow beyond `count` bytes: writing fails as on a full disk.

    Python ignores the signal that comes with it. Keep it short: the test run's own output is a
    file, too.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (count, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))

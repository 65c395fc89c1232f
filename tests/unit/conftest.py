from __future__ import annotations

import logging
import sys
import threading
from collections.abc import Iterator

import pytest


@pytest.fixture
def restored_logging() -> Iterator[None]:
    """Undoes what `setup_logging` does to the process."""
    root, ours = logging.getLogger(), logging.getLogger("services")
    handlers, level, our_level = root.handlers[:], root.level, ours.level
    hook, thread_hook = sys.excepthook, threading.excepthook
    yield
    root.handlers[:], root.level, ours.level = handlers, level, our_level
    logging.captureWarnings(False)
    sys.excepthook, threading.excepthook = hook, thread_hook

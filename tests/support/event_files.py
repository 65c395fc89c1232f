"""TensorBoard's own reader of event files, without TensorFlow, whose import takes 15 s of CPU."""

from __future__ import annotations

import sys
import types
from pathlib import Path

from tensorboard.backend.event_processing.event_accumulator import EventAccumulator


def read_events(run: Path) -> EventAccumulator:
    """All that the event files of a run's metrics folder show."""
    # TensorBoard looks for a module of this name, and then reads with Python of its own.
    name = "tensorboard.compat.notf"
    sys.modules.setdefault(name, types.ModuleType(name))
    accumulator = EventAccumulator(str(run / "metrics"))
    accumulator.Reload()
    return accumulator

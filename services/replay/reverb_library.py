"""Reverb, without Keras: TensorFlow, which Reverb stands on, imports Keras, which neither needs.

TensorFlow 2.15 imports Keras eagerly, and continues where that fails. Keras and the pandas that it
imports take 2 to 4 of the 13 to 17 seconds of CPU at the start of a process with Reverb, and 50 MB;
`tf.keras` imports it when it is first used.
"""

from __future__ import annotations

import sys

if not {"tensorflow", "keras"} & sys.modules.keys():
    # The import system takes None for a module that is not there.
    sys.modules["keras.src"] = None  # type: ignore[assignment]
    try:
        import tensorflow  # noqa: F401
    finally:
        del sys.modules["keras.src"]

import reverb

__all__ = ["reverb"]

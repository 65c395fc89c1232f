"""TensorFlow, which Reverb stands on, without Keras, which neither needs.

TensorFlow 2.15 imports Keras eagerly, and continues where that fails. Keras and the pandas that it
imports take 2 to 4 of the 13 to 17 seconds of CPU at the start of a process with Reverb, and 50 MB.
"""

from __future__ import annotations

import sys


def import_tensorflow() -> None:
    """Import TensorFlow without Keras; `tf.keras` imports it when somebody asks for it.

    Call it before the first import of Reverb; later calls do nothing.
    """
    if "tensorflow" in sys.modules or "keras" in sys.modules:
        return
    # The import system takes None for a module that is not there.
    sys.modules["keras.src"] = None  # type: ignore[assignment]
    try:
        import tensorflow  # noqa: F401
    finally:
        del sys.modules["keras.src"]

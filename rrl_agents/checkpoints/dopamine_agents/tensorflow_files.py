"""Reads the variables of a TensorFlow checkpoint with TensorFlow, if that is installed.

TensorFlow's reader does not defend against hostile files, so agents are imported in a confined
process (`services/library/confined.py`). This module only checks that the index announces no more
than the data files hold.
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

from rrl_agents.checkpoints.dopamine_agents.layers import online_leaves


def leaves_of_tensorflow(prefix: Path) -> dict[str, Any]:
    """The leaves of a TensorFlow agent's acting network.

    Args:
        prefix: Path of the checkpoint without suffixes, e.g. `.../tf_ckpt-199`.

    Returns:
        Linen name -> array as stored.

    Raises:
        ImportError: TensorFlow is not installed.
        ValueError: The files have no network or several, or are smaller than the index announces.
        Exception: They are missing, truncated or damaged; one of TensorFlow's classes.
    """
    import tensorflow

    reader = tensorflow.train.load_checkpoint(str(prefix))
    shapes, dtypes = reader.get_variable_to_shape_map(), reader.get_variable_to_dtype_map()
    names = online_leaves(shapes)
    announced = sum(math.prod(shapes[name]) * dtypes[name].size for name in names.values())
    stored = sum(file.stat().st_size for file in prefix.parent.glob(f"{prefix.name}.data-*"))
    if announced > stored:
        raise ValueError(
            f"{prefix.name}: {announced} bytes of variables in {stored} bytes of data files; copy "
            "all its files again"
        )
    return {leaf: reader.get_tensor(name) for leaf, name in names.items()}

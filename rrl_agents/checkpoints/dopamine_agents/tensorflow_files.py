"""Variables of a TensorFlow checkpoint, read by TensorFlow where it is installed.

TensorFlow's reader is made for its own files, not for hostile ones: agents are imported in a
confined process (`services/library/confined.py`). What is checked here is that the index announces
no more than lies in the data files.
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

from rrl_agents.checkpoints.dopamine_agents.layers import online_leaves


def leaves_of_tensorflow(prefix: Path) -> dict[str, Any]:
    """The leaves of the network that a TensorFlow agent acts by.

    Args:
        prefix: Path of the checkpoint without its endings, e.g. `.../tf_ckpt-199`.

    Returns:
        Linen name -> array as it is stored.

    Raises:
        ImportError: TensorFlow is not installed.
        ValueError: The files hold no network or several, or cannot hold what the index announces.
        Exception: They are missing, cut off or damaged; of a class of TensorFlow's.
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

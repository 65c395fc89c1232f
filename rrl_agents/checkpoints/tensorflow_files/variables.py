"""Variables of a TensorFlow checkpoint, read by TensorFlow where it is installed.

TensorFlow's reader is made for its own files, not for hostile ones: agents are imported in a
confined process (`services/library/confined.py`). What is checked here is that the index announces
no more than lies in the data files.
"""

from __future__ import annotations

import contextlib
import math
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Any

from numpy.typing import NDArray


def open_variables(prefix: Path) -> tuple[Any, list[str]]:
    """Open a checkpoint.

    Args:
        prefix: Path of the checkpoint without its endings, e.g. `.../tf_ckpt-199`.

    Returns:
        TensorFlow's reader, and the names of all variables.

    Raises:
        ValueError: TensorFlow is not installed, or the index is missing or damaged.
    """
    try:
        import tensorflow
    except ImportError:
        raise ValueError(
            f"{prefix}: only TensorFlow reads these files, and it is not installed here. Run `rrl "
            "teacher import` where it is (pip install '.[train]'), and bring the directory that it "
            "makes"
        ) from None
    with _errors(prefix):
        reader = tensorflow.train.load_checkpoint(str(prefix))
        return reader, sorted(reader.get_variable_to_shape_map())


def read_variables(prefix: Path, reader: Any, names: Collection[str]) -> dict[str, NDArray[Any]]:
    """Read some variables.

    Args:
        prefix: Path of the checkpoint without its endings.
        reader: What `open_variables` gave.
        names: Which.

    Returns:
        Name -> array, as stored.

    Raises:
        ValueError: The files are damaged, or cannot hold what the index announces.
    """
    with _errors(prefix):
        shapes, dtypes = reader.get_variable_to_shape_map(), reader.get_variable_to_dtype_map()
        announced = sum(math.prod(shapes[name]) * dtypes[name].size for name in names)
        files = prefix.parent.glob(f"{prefix.name}.data-*")
        stored = sum(file.stat().st_size for file in files)
        if announced > stored:
            raise ValueError(f"{announced} bytes of variables in {stored} bytes of data files")
        return {name: reader.get_tensor(name) for name in names}


@contextlib.contextmanager
def _errors(prefix: Path) -> Iterator[None]:
    try:
        yield
    except MemoryError:
        raise
    except Exception as error:  # TensorFlow has a class of its own for each way to be damaged.
        reason = " ".join(str(error).split())[:500] or type(error).__name__
        raise ValueError(
            f"{prefix}: no whole TensorFlow checkpoint ({reason}); copy all its files again"
        ) from error

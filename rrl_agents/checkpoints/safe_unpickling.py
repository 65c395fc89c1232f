"""Read the pickles of Dopamine's agents without running what they ask for.

A pickle is a program: it names callables and calls them. Here no name resolves to the object that
it stands for. Every allowed name, of numpy, jax, flax and optax of all generations that wrote
checkpoints, becomes an inert class of its own, whose instances keep what the pickle gives them; any
other name is refused. What was kept is then read as data: dicts, lists, tuples, sets, numbers,
text, bytes and numpy arrays of numbers.

That bounds what a pickle does, not what it costs, nor how Python's unpickler fails on a damaged
one: lengths may be absurd, keys take days to hash, or nest so deep that Python itself breaks.
Agents are therefore imported in a confined process (`services/library/confined.py`).
"""

from __future__ import annotations

import io
import pickle
import re
from collections.abc import Callable
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

_NUMBER_TYPE = re.compile("[<>=|](b1|[iu][1248]|f[248])")


class _Made:
    """What a pickle made by an allowed name: it keeps what it is given.

    Attributes:
        kind: The name.
        args: What it was called with.
        items: Keys and values that were set afterwards.
        state: What BUILD gave it.
    """

    kind: ClassVar[str]
    args: tuple[Any, ...]
    items: list[tuple[Any, Any]]
    state: Any

    # In __new__, as unpickling by NEWOBJ calls no __init__.
    def __new__(cls, *args: Any) -> _Made:
        self = super().__new__(cls)
        self.args, self.items, self.state = args, [], None
        return self

    def __setitem__(self, key: Any, value: Any) -> None:
        self.items.append((key, value))

    def __setstate__(self, state: Any) -> None:
        self.state = state


def _array(state: Any) -> NDArray[Any]:
    """An array from what `numpy.ndarray.__reduce__` gives as state."""
    _, shape, dtype, is_fortran, raw = state
    return _laid_out(raw, dtype, shape, "F" if is_fortran else "C")


def _laid_out(raw: Any, dtype: Any, shape: Any, order: Any) -> NDArray[Any]:
    """A view of the pickle's bytes: numpy refuses a shape that they do not fill."""
    if not isinstance(dtype, np.dtype):
        raise ValueError("refused: an array whose type is not a plain numpy dtype")
    flat = np.frombuffer(memoryview(raw), dtype)
    return flat.reshape(shape, order="F" if order == "F" else "C")


def _scalar(dtype: Any, raw: Any) -> Any:
    return _laid_out(raw, dtype, (), "C")[()]


def _dtype(code: Any, state: Any) -> np.dtype[Any]:
    order = "=" if state is None else state[1]
    if not _NUMBER_TYPE.fullmatch(order + code):
        raise ValueError(
            f"refused: an array of type {code[:20]!r}; only arrays of numbers are read"
        )
    return np.dtype(order + code)


def _frozen_dict(args: Any, state: Any) -> Any:
    if args:
        return args[0]
    # The slots of flax's first versions: (None, {"_dict": ...}) or the dict alone.
    return (state[1] if isinstance(state, tuple) else state)["_dict"]


def _fields(made: _Made) -> Any:
    """An optimiser's state: the positional fields of a named tuple, or a dict of a dataclass's."""
    return _plain(made.args if made.state is None else made.state)


_MAKERS: dict[str, Callable[[_Made], Any]] = {
    "numpy.ndarray": _fields,  # An argument of those below, never called.
    "numpy.dtype": lambda made: _dtype(made.args[0], made.state),
    "numpy.core.multiarray._reconstruct": lambda made: _array(_plain(made.state)),
    "numpy.core.multiarray.scalar": lambda made: _scalar(*_plain(made.args)),
    "numpy.core.numeric._frombuffer": lambda made: _laid_out(*_plain(made.args)),
    # jax 0.3.14 to 0.3.25, then 0.4 on: called with numpy's own function, its arguments and state.
    # Before, device arrays were pickled as numpy's.
    "jax._src.device_array.reconstruct_device_array": lambda made: _array(_plain(made.args[2])),
    "jax._src.array._reconstruct_array": lambda made: _array(_plain(made.args[2])),
    "flax.core.frozen_dict.FrozenDict": lambda made: _frozen_dict(
        _plain(made.args), _plain(made.state)
    ),
    "collections.OrderedDict": lambda made: dict(_plain(made.items)),
    "builtins.set": lambda made: set(_plain(made.args[0])),
}
_STATE_PACKAGES = ("optax.", "flax.optim.")
"""Their classes hold the state of optimisers."""


def load_safely(data: bytes) -> Any:
    """Read one pickle.

    Args:
        data: Content of a file, nothing of which is trusted.

    Returns:
        The object, made of plain containers and numpy arrays.

    Raises:
        ValueError: It names what is not allowed; nothing was run.
        Exception: It is damaged; of nearly any class.
    """
    return _plain(_InertUnpickler(io.BytesIO(data)).load())


class _InertUnpickler(pickle.Unpickler):
    """Gives each allowed name a class that only keeps data, and that no other pickle meets."""

    def find_class(self, module: str, name: str, /) -> type[_Made]:
        # numpy 2 calls its own package so.
        kind = f"{module.replace('numpy._core', 'numpy.core')}.{name}"
        if kind not in _MAKERS and not module.startswith(_STATE_PACKAGES):
            asked = f"{module}.{name}"[:200]
            raise ValueError(
                f"refused: the pickle asks for {asked!r}, which nothing of Dopamine's needs; "
                "nothing was run. Take the checkpoint from a source you trust"
            )
        return type("_MadeByName", (_Made,), {"kind": kind})


def _plain(value: Any) -> Any:
    """What was kept, as plain containers and arrays."""
    if isinstance(value, _Made):
        return _MAKERS.get(value.kind, _fields)(value)
    if isinstance(value, dict):
        return {_plain(key): _plain(part) for key, part in value.items()}
    if isinstance(value, (list, tuple, set)):
        kind: Callable[[Any], Any] = type(value)
        return kind(_plain(part) for part in value)
    return value

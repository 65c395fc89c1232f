"""Reads pickles, such as those of Dopamine's agents, without running any code in them.

A pickle is a program: it names callables and calls them. Here no name resolves to its object. Every
allowed name becomes an inert class whose instances store their arguments and state; any other name
is refused. The stored values are then converted to data: dicts, lists, tuples, sets, numbers, text,
bytes and NumPy arrays of numbers. `load_safely` allows the names of NumPy, JAX, flax and optax in
all generations of Dopamine's checkpoints.

This limits what a pickle does, but not its cost or how Python's unpickler fails on a damaged one:
it may have absurd lengths, keys that take days to hash, or nesting that crashes Python. So agents
are imported in a confined process (`services/library/confined.py`).
"""

from __future__ import annotations

import io
import pickle
import re
from collections.abc import Callable, Mapping
from typing import Any, ClassVar, TypeAlias

import numpy as np
from numpy.typing import NDArray

_NUMBER_TYPE = re.compile("[<>=|](b1|[iu][1248]|f[248])")


class Made:
    """An inert object that a pickle made with an allowed name; it stores what it gets.

    Attributes:
        kind: The name.
        make: Converts it to data.
        args: Arguments of the call.
        items: Keys and values that were set afterwards.
        state: State from BUILD.
    """

    kind: ClassVar[str]
    make: ClassVar[Callable[[Made], Any]]
    args: tuple[Any, ...]
    items: list[tuple[Any, Any]]
    state: Any

    # In __new__, because NEWOBJ does not call __init__.
    def __new__(cls, *args: Any) -> Made:
        """Keep the arguments."""
        self = super().__new__(cls)
        self.args, self.items, self.state = args, [], None
        return self

    def __setitem__(self, key: Any, value: Any) -> None:
        """Keep an item of a dict."""
        self.items.append((key, value))

    def __setstate__(self, state: Any) -> None:
        """Keep the state."""
        self.state = state


def _array(state: Any) -> NDArray[Any]:
    """An array from the state of `numpy.ndarray.__reduce__`."""
    _, shape, dtype, is_fortran, raw = state
    return _laid_out(raw, dtype, shape, "F" if is_fortran else "C")


def _laid_out(raw: Any, dtype: Any, shape: Any, order: Any) -> NDArray[Any]:
    """A view of the pickle's bytes; NumPy refuses a shape that does not fit them."""
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
    # Slots of the first flax versions: (None, {"_dict": ...}) or only the dict.
    return (state[1] if isinstance(state, tuple) else state)["_dict"]


def _fields(made: Made) -> Any:
    """An optimiser's state: positional fields of a named tuple, or a dataclass's dict."""
    return plain(made.args if made.state is None else made.state)


Maker: TypeAlias = Callable[[Made], Any]
"""Converts a stored object to data."""

MAKERS: Mapping[str, Maker] = {
    "numpy.ndarray": _fields,  # Only an argument of those below, never called.
    "numpy.dtype": lambda made: _dtype(made.args[0], made.state),
    "numpy.core.multiarray._reconstruct": lambda made: _array(plain(made.state)),
    "numpy.core.multiarray.scalar": lambda made: _scalar(*plain(made.args)),
    "numpy.core.numeric._frombuffer": lambda made: _laid_out(*plain(made.args)),
    # jax 0.3.14 to 0.3.25, and 0.4 on: called with NumPy's function, its arguments and state.
    # Earlier, device arrays were pickled as NumPy's.
    "jax._src.device_array.reconstruct_device_array": lambda made: _array(plain(made.args[2])),
    "jax._src.array._reconstruct_array": lambda made: _array(plain(made.args[2])),
    "flax.core.frozen_dict.FrozenDict": lambda made: _frozen_dict(
        plain(made.args), plain(made.state)
    ),
    "collections.OrderedDict": lambda made: dict(plain(made.items)),
    "builtins.set": lambda made: set(plain(made.args[0])),
}
"""The allowed names in pickles of Dopamine and others with arrays."""

_STATE_PACKAGES = ("optax.", "flax.optim.")
"""Packages whose classes hold optimiser states."""


def load_safely(data: bytes) -> Any:
    """Read one pickle.

    Args:
        data: Untrusted content of a file.

    Returns:
        The object, made of plain containers and NumPy arrays.

    Raises:
        ValueError: It contains a name that is not allowed; nothing was run.
        Exception: It is damaged; of nearly any class.
    """
    return plain(InertUnpickler(data, _maker_of, _ADVICE).load())


_ADVICE = (
    "which nothing of Dopamine's needs; nothing was run. Take the checkpoint from a source you "
    "trust"
)


def _maker_of(kind: str) -> Maker | None:
    return _fields if kind.startswith(_STATE_PACKAGES) else MAKERS.get(kind)


class InertUnpickler(pickle.Unpickler):
    """Maps each allowed name to an inert class, separate for each pickle."""

    def __init__(self, data: bytes, maker_of: Callable[[str], Maker | None], advice: str) -> None:
        """Prepare to read one pickle.

        Args:
            data: The pickle; trailing bytes are ignored.
            maker_of: Returns the converter of an allowed name, `module.name`; None for all others.
            advice: Advice that ends the error for a name that is not allowed.
        """
        super().__init__(io.BytesIO(data))
        self._maker_of, self._advice = maker_of, advice

    def find_class(self, module: str, name: str, /) -> type[Made]:
        """Make a class for an allowed name.

        Raises:
            ValueError: It is not allowed.
        """
        # NumPy 2's name for its own package.
        kind = f"{module.replace('numpy._core', 'numpy.core')}.{name}"
        make = self._maker_of(kind)
        if make is None:
            asked = f"{module}.{name}"[:200]
            raise ValueError(f"refused: the pickle asks for {asked!r}, {self._advice}")
        return type("_MadeByName", (Made,), {"kind": kind, "make": lambda made: make(made)})


def plain(value: Any) -> Any:
    """Convert stored objects to plain containers and arrays."""
    if isinstance(value, Made):
        return value.make()
    if isinstance(value, dict):
        return {plain(key): plain(part) for key, part in value.items()}
    if isinstance(value, (list, tuple, set)):
        kind: Callable[[Any], Any] = type(value)
        return kind(plain(part) for part in value)
    return value

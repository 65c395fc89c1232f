"""Read the pickles of Dopamine's agents without running what they ask for.

A pickle is a program: it names callables and calls them. Here no name resolves to the object that
it stands for. Every allowed name, of numpy, jax, flax and optax of all generations that wrote
checkpoints, becomes an inert class of its own, whose instances keep what the pickle gives them; any
other name is refused. What was kept is then read as data: dicts, lists, tuples, sets, numbers,
text, bytes and numpy arrays of numbers.

That bounds what a pickle does, and its lengths and places are no larger than the file. It does not
bound what a pickle costs: keys may take days to hash, or nest so deep that Python itself breaks.
Agents are therefore imported in a confined process (`services/library/confined.py`).
"""

from __future__ import annotations

import io
import pickle
import pickletools
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from rrl_agents.checkpoints.bounded_files import read_bounded

MAX_PICKLE_BYTES = 2 << 30
"""Default bound of a file, 2 GiB: 30 times the 65 MB of a full-size DQN with both Adam moments."""

_NUMBER_TYPES = re.compile("b1|[iu][1248]|f[248]")
_BYTE_ORDERS = ("<", ">", "=", "|")


class RefusedError(ValueError):
    """A pickle asks for something that is not allowed."""


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


_Plain = Callable[[Any], Any]
"""Turns what was kept into data."""


def _array_of(state: Any) -> NDArray[Any]:
    """An array from what `numpy.ndarray.__reduce__` gives as state."""
    _, shape, dtype, is_fortran, raw = state
    return _laid_out(raw, dtype, shape, "F" if is_fortran else "C")


def _laid_out(raw: Any, dtype: Any, shape: Any, order: Any) -> NDArray[Any]:
    """A view of the pickle's bytes: numpy refuses a shape that they do not fill."""
    if not isinstance(dtype, np.dtype):
        raise RefusedError("refused: an array whose type is not a plain numpy dtype")
    flat = np.frombuffer(memoryview(raw), dtype)
    return flat.reshape(shape, order="F" if order == "F" else "C")


def _scalar(made: _Made, plain: _Plain) -> Any:
    dtype, raw = plain(made.args)
    return _laid_out(raw, dtype, (), "C")[()]


def _dtype(made: _Made, plain: _Plain) -> np.dtype[Any]:
    code = made.args[0]
    if not isinstance(code, str) or not _NUMBER_TYPES.fullmatch(code):
        # Only text is shown: a hostile nest of tuples may be endless when printed.
        shown = repr(code[:20]) if isinstance(code, str) else type(code).__name__
        raise RefusedError(f"refused: an array of type {shown}; only arrays of numbers are read")
    order = "=" if made.state is None else made.state[1]
    if order not in _BYTE_ORDERS:
        raise ValueError("an array of an unknown byte order")
    return np.dtype(order + code)


def _dict(made: _Made, plain: _Plain) -> dict[Any, Any]:
    # Python 3 sets the items afterwards; Python 2's OrderedDict came with them.
    return {**dict(*plain(made.args)), **dict(plain(made.items))}


def _frozen_dict(made: _Made, plain: _Plain) -> Any:
    if made.args:
        return plain(made.args[0])
    # The slots of flax's first versions: (None, {"_dict": ...}) or the dict alone.
    state = plain(made.state)
    return (state[1] if isinstance(state, tuple) else state)["_dict"]


def _latin_1_bytes(made: _Made, plain: _Plain) -> bytes:
    # Protocol 2 has no bytes: Python 3 writes them as text.
    text, encoding = plain(made.args)
    if encoding not in ("latin1", "latin-1"):
        raise ValueError("an encoding other than latin1")
    raw: bytes = text.encode("latin-1")
    return raw


def _never(made: _Made, plain: _Plain) -> Any:
    raise RefusedError(f"refused: the pickle calls {made.kind} itself; nothing was run")


def _fields(made: _Made, plain: _Plain) -> Any:
    """An optimiser's state: the positional fields of a named tuple, or a dict of a dataclass's."""
    return plain(made.args if made.state is None else made.state)


_MAKERS: dict[str, Callable[[_Made, _Plain], Any]] = {
    "numpy.ndarray": _never,
    "numpy.dtype": _dtype,
    "numpy.core.multiarray._reconstruct": lambda made, plain: _array_of(plain(made.state)),
    "numpy.core.multiarray.scalar": _scalar,
    "numpy.core.numeric._frombuffer": lambda made, plain: _laid_out(*plain(made.args)),
    # jax 0.3.14 to 0.3.25, then 0.4 on: called with numpy's own function, its arguments and state.
    # Before, device arrays were pickled as numpy's.
    "jax._src.device_array.reconstruct_device_array": lambda made, plain: _array_of(
        plain(made.args[2])
    ),
    "jax._src.array._reconstruct_array": lambda made, plain: _array_of(plain(made.args[2])),
    "flax.core.frozen_dict.FrozenDict": _frozen_dict,
    "collections.OrderedDict": _dict,
    "builtins.dict": _dict,
    "builtins.bytes": lambda made, plain: b"".join(plain(made.args)),
    "builtins.bytearray": lambda made, plain: b"".join(plain(made.args)),
    "builtins.set": lambda made, plain: set(*plain(made.args)),
    "_codecs.encode": _latin_1_bytes,
}
_STATE_PACKAGES = ("optax.", "flax.optim.")
"""Their classes hold the state of optimisers."""

_OTHER_NAMES = {
    "numpy._core.multiarray": "numpy.core.multiarray",
    "numpy._core.numeric": "numpy.core.numeric",
    # As protocol 2 writes it.
    "__builtin__": "builtins",
}


def load_safely(path: Path, max_bytes: int = MAX_PICKLE_BYTES) -> Any:
    """Read one pickle file.

    Args:
        path: The file.
        max_bytes: Largest file that is read, in bytes.

    Returns:
        The object, made of plain containers and numpy arrays.

    Raises:
        ValueError: When the file can't be read, is too large, truncated, damaged, or names
            anything that is not allowed; the message starts with the path.
    """
    data = read_bounded(path, max_bytes, what="a Dopamine agent's checkpoint")
    try:
        return loads_safely(data)
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from error


def is_text_pickle(path: Path) -> bool:
    """Whether a file is no pickle of protocol 2 to 5: Python 2 wrote protocol 0, which is text.

    Raises:
        ValueError: When the file can't be read.
    """
    try:
        with path.open("rb") as file:
            return file.read(1) != pickle.PROTO
    except OSError as error:
        raise ValueError(f"{path}: cannot be read ({error.strerror}); check the path") from error


def loads_safely(data: bytes) -> Any:
    """Read one pickle; see `load_safely`.

    Raises:
        ValueError: When the data is truncated, damaged, or names what is not allowed.
    """
    _check_sizes(data)
    try:
        return _Conversion().plain(_InertUnpickler(io.BytesIO(data)).load())
    except (RefusedError, MemoryError):
        raise
    except RecursionError as error:
        raise ValueError("a pickle whose containers nest too deep or contain themselves") from error
    except Exception as error:  # Hostile input makes the unpickler raise nearly anything.
        raise ValueError(_damaged(error)) from error


def _check_sizes(data: bytes) -> None:
    """Hold the lengths and places that a pickle names against its size."""
    position = 0
    try:
        for opcode, argument, offset in pickletools.genops(data):  # Raises where bytes are missing.
            position = offset or 0
            # The memo is an array as long as its largest index.
            if opcode.name in ("PUT", "LONG_BINPUT") and int(argument or 0) > len(data):
                raise ValueError(f"memo index {argument} in {len(data)} bytes")
    except Exception as error:
        raise ValueError(_damaged(error, f" near byte {position}")) from error


def _damaged(error: Exception, where: str = "") -> str:
    reason = " ".join(str(error)[:200].split()) or type(error).__name__
    return f"truncated or damaged pickle{where} ({reason}); copy it again from its source"


class _InertUnpickler(pickle.Unpickler):
    """Gives each allowed name a class that only keeps data, and that no other pickle meets."""

    def find_class(self, module: str, name: str, /) -> type[_Made]:
        kind = f"{_OTHER_NAMES.get(module, module)}.{name}"
        if kind not in _MAKERS and not module.startswith(_STATE_PACKAGES):
            asked = f"{module}.{name}"[:200]
            shown = asked if asked.isprintable() else ascii(asked)
            raise RefusedError(
                f"refused: the pickle asks for {shown}, which nothing of Dopamine's needs; "
                "nothing was run. Take the checkpoint from a source you trust"
            )
        return type("_MadeByName", (_Made,), {"kind": kind})


class _Conversion:
    """Turns what was kept into plain containers and arrays, shared parts once."""

    def __init__(self) -> None:
        # By id: all that is converted is held by the pickle's root.
        self._done: dict[int, Any] = {}

    def plain(self, value: Any) -> Any:
        if id(value) not in self._done:
            self._done[id(value)] = self._convert(value)
        return self._done[id(value)]

    def _convert(self, value: Any) -> Any:
        if isinstance(value, _Made):
            return _MAKERS.get(value.kind, _fields)(value, self.plain)
        if isinstance(value, type):
            raise RefusedError("refused: the pickle holds a callable as a value; nothing was run")
        if isinstance(value, dict):
            return {self.plain(key): self.plain(part) for key, part in value.items()}
        if isinstance(value, (list, tuple, set)):
            kind: Callable[[Any], Any] = type(value)
            return kind(self.plain(part) for part in value)
        return value

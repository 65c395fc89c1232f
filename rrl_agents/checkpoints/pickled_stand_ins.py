"""Inert stand-ins for what Dopamine's pickles name: they hold data and check it, nothing else.

An unpickler can do four things with them: call one (REDUCE), make an instance (NEWOBJ), give state
(BUILD), and pass one to another. Each therefore either checks its arguments or refuses. None can be
altered from a pickle: `Recipe` refuses state, and on the classes themselves BUILD finds an unbound
`__setstate__` that lacks an argument.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from typing import Any, NoReturn

import numpy as np
from numpy.typing import NDArray

MAX_DIMENSIONS = 32
"""As numpy 1's own limit."""

MAX_SIZE = 2**31
"""Bound of one dimension; huge ones would make the arithmetic on shapes slow."""

_NUMBER_TYPES = re.compile("b1|[iu][1248]|f[248]")
_BYTE_ORDERS = ("<", ">", "=", "|")


class RefusedError(ValueError):
    """A pickle asks for something that is not allowed."""


class Recipe:
    """A callable that a pickle may call, and that it can't change."""

    __slots__ = ("_make",)

    def __init__(self, make: Callable[..., Any]) -> None:
        """Wrap the function that REDUCE runs."""
        self._make = make

    def __call__(self, *args: Any) -> Any:
        """Run it."""
        return self._make(*args)

    def __setstate__(self, state: object) -> NoReturn:
        """Refuse: a pickle must not alter what later pickles will use."""
        raise RefusedError("refused: the pickle gives state to a callable; nothing was run")


class PickledDtype:
    """A numpy dtype being read; only numbers and booleans."""

    __slots__ = ("_code", "_order")

    def __init__(self, code: object) -> None:
        """Take a type code such as "f4"."""
        if not isinstance(code, str) or not _NUMBER_TYPES.fullmatch(code):
            # Only strings are shown: a hostile nest of tuples may be endless when printed.
            shown = repr(code[:20]) if isinstance(code, str) else type(code).__name__
            raise RefusedError(
                f"refused: an array of type {shown}; only arrays of numbers are read"
            )
        self._code = code
        self._order = "="

    def __setstate__(self, state: Any) -> None:
        """Take numpy's state: (version, byte order, subtype, names, fields, sizes...)."""
        _, order, subtype, names, fields = state[:5]
        if order not in _BYTE_ORDERS or (subtype, names, fields) != (None, None, None):
            raise RefusedError("refused: an array of a structured type; only numbers are read")
        self._order = order

    @property
    def dtype(self) -> np.dtype[Any]:
        """The real one."""
        return np.dtype(self._order + self._code)


class PickledArray:
    """A numpy array being read."""

    __slots__ = ("_array",)

    def __init__(self) -> None:
        """Begin without content, as `numpy.ndarray.__reduce__` has it."""
        self._array: NDArray[Any] | None = None

    def __setstate__(self, state: Any) -> None:
        """Take numpy's state: (version, shape, dtype, is Fortran-ordered, bytes)."""
        _, shape, dtype, fortran, raw = state
        self._array = _array(raw, dtype, shape, "F" if fortran else "C")

    @property
    def array(self) -> NDArray[Any]:
        """The real one, a read-only view of the pickle's bytes."""
        if self._array is None:
            raise ValueError("the pickle holds an array without content; copy it again")
        return self._array


class PickledFrozenDict:
    """A flax FrozenDict being read, from its constructor's argument or its slots."""

    __slots__ = ("mapping",)

    mapping: dict[Any, Any]

    # In __new__, as unpickling by NEWOBJ calls no __init__.
    def __new__(cls, mapping: object = None) -> PickledFrozenDict:
        """Take the dict that is frozen."""
        self = super().__new__(cls)
        self.mapping = {} if mapping is None else _checked_dict(mapping)
        return self

    def __setstate__(self, state: Any) -> None:
        """Take the slots of flax's first versions: (None, {"_dict": ...}) or the dict alone."""
        slots = state[1] if isinstance(state, tuple) else state
        self.mapping = _checked_dict(slots["_dict"])


class PickledState:
    """An optimiser's state of any class: positional fields (named tuples) or a dict of them."""

    __slots__ = ("content",)

    content: tuple[object, ...] | dict[Any, Any]

    # In __new__, as unpickling by NEWOBJ calls no __init__.
    def __new__(cls, *fields: object) -> PickledState:
        """Take the fields of a named tuple."""
        self = super().__new__(cls)
        self.content = fields
        return self

    def __setstate__(self, state: Any) -> None:
        """Take the fields of a dataclass."""
        self.content = _checked_dict(state)


def opened(value: Any) -> Any:
    """Replace a stand-in by what it holds, one level deep; other values stay."""
    if isinstance(value, PickledArray):
        return value.array
    if isinstance(value, PickledDtype):
        return value.dtype
    if isinstance(value, PickledFrozenDict):
        return value.mapping
    if isinstance(value, PickledState):
        return value.content
    if isinstance(value, (Recipe, type)):
        raise RefusedError("refused: the pickle holds a callable as a value; nothing was run")
    return value


def _dtype(code: object, align: object = False, copy: object = False) -> PickledDtype:
    return PickledDtype(code)


def _reconstruct(kind: object, shape: object, code: object) -> PickledArray:
    if kind is not NDARRAY:
        raise RefusedError("refused: an array of another class than numpy.ndarray")
    return PickledArray()


def _jax_array(begin: object, args: Any, state: Any, aval: object) -> PickledArray:
    if begin is not RECONSTRUCT:
        raise RefusedError("refused: a jax array that is not made by numpy's _reconstruct")
    array = _reconstruct(*args)
    array.__setstate__(state)
    return array


def _scalar(dtype: object, raw: object) -> Any:
    return _array(raw, dtype, (), "C")[()]


def _from_buffer(raw: object, dtype: object, shape: object, order: object) -> NDArray[Any]:
    return _array(raw, dtype, shape, order)


def _array(raw: object, dtype: object, shape: object, order: object) -> NDArray[Any]:
    """Lay bytes out; the lengths must agree, so no array is larger than the pickle."""
    if not isinstance(dtype, PickledDtype):
        raise RefusedError("refused: an array whose type is not a plain numpy dtype")
    if not isinstance(shape, tuple) or len(shape) > MAX_DIMENSIONS:
        raise ValueError("an array's shape is no short tuple")
    if not all(type(size) is int and 0 <= size <= MAX_SIZE for size in shape):
        raise ValueError(f"an array's shape holds something else than numbers up to {MAX_SIZE}")
    if not isinstance(raw, (bytes, bytearray)):
        raise ValueError("an array's content is not bytes")
    wanted = math.prod(shape) * dtype.dtype.itemsize
    if len(raw) != wanted:
        raise ValueError(f"an array of shape {shape} has {len(raw)} bytes, needs {wanted}")
    flat: NDArray[Any] = np.frombuffer(bytes(raw), dtype=dtype.dtype)
    return flat.reshape(shape, order="F") if order == "F" else flat.reshape(shape)


def _byte_array(raw: object = b"") -> bytes:
    if not isinstance(raw, bytes):
        raise RefusedError("refused: bytes or a bytearray of something else than bytes")
    return raw


def _latin_1_bytes(text: object, encoding: object) -> bytes:
    if not isinstance(text, str) or encoding not in ("latin1", "latin-1"):
        raise RefusedError("refused: an encoding other than latin1")
    return text.encode("latin-1")


def _ordered_dict(pairs: Any = ()) -> dict[Any, Any]:
    # Python 3 sets the items afterwards; Python 2's OrderedDict came with them.
    items = [(name, value) for name, value in pairs]
    if not all(isinstance(name, str) for name, _ in items):
        raise RefusedError("refused: an ordered dict whose keys are not text")
    return dict(items)


def _checked_dict(value: object) -> dict[Any, Any]:
    if not isinstance(value, dict):
        raise ValueError("a FrozenDict or an optimiser's state holds something else than a dict")
    return value


def _never(*args: object) -> NoReturn:
    raise RefusedError("refused: the pickle calls numpy.ndarray itself; nothing was run")


NDARRAY = Recipe(_never)
DTYPE = Recipe(_dtype)
RECONSTRUCT = Recipe(_reconstruct)
SCALAR = Recipe(_scalar)
FROM_BUFFER = Recipe(_from_buffer)
JAX_ARRAY = Recipe(_jax_array)
ORDERED_DICT = Recipe(_ordered_dict)
BYTE_ARRAY = Recipe(_byte_array)
LATIN_1_BYTES = Recipe(_latin_1_bytes)

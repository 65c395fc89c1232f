"""Read the pickles of Dopamine's JAX agents without running anything that they ask for.

A pickle is a program: it names callables and calls them. Here no name ever resolves to the object
it stands for. An allow-list maps the names of numpy, jax, flax and optax, of every generation that
wrote checkpoints, to inert stand-ins of this module that only hold data; any other name is refused.
Before that, the opcodes themselves are checked: only those that Python 3 writes for plain data, in
protocols 2 to 5, with memo indices no larger than the file could need, dict keys that are hashed at
once, and no more of all than an agent has (`pickled_sizes`).

What comes out are dicts, lists, tuples, numbers, strings, bytes and numpy arrays of numbers.
"""

from __future__ import annotations

import io
import pickle
import pickletools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from rrl_agents.checkpoints import pickled_stand_ins as stand_ins
from rrl_agents.checkpoints.bounded_files import read_bounded
from rrl_agents.checkpoints.pickled_sizes import SizedStack

MAX_PICKLE_BYTES = 2 << 30
"""Default bound of a file, 2 GiB: 30 times the 65 MB of a full-size DQN with both Adam moments."""

MAX_DEPTH = 64
"""Bound of nested containers; a real checkpoint has about eight."""

_OPCODES = frozenset(
    (
        "PROTO",
        "FRAME",
        "STOP",
        "MARK",
        "POP",
        "POP_MARK",
        "BINPUT",
        "LONG_BINPUT",
        "MEMOIZE",
        "BINGET",
        "LONG_BINGET",
        "NONE",
        "NEWTRUE",
        "NEWFALSE",
        "BININT",
        "BININT1",
        "BININT2",
        "LONG1",
        "LONG4",
        "BINFLOAT",
        "SHORT_BINUNICODE",
        "BINUNICODE",
        "BINUNICODE8",
        "SHORT_BINBYTES",
        "BINBYTES",
        "BINBYTES8",
        "BYTEARRAY8",
        "EMPTY_TUPLE",
        "TUPLE",
        "TUPLE1",
        "TUPLE2",
        "TUPLE3",
        "EMPTY_LIST",
        "APPEND",
        "APPENDS",
        "EMPTY_DICT",
        "SETITEM",
        "SETITEMS",
        "GLOBAL",
        "STACK_GLOBAL",
        "REDUCE",
        "NEWOBJ",
        "BUILD",
    )
)
"""What Python 3 writes for plain data; no persistent ids, extension codes, INST or OBJ."""

_KEY_TYPES = (str, bytes, int, float, np.generic, type(None))

_MEMO_OPCODES = frozenset(("BINPUT", "LONG_BINPUT", "MEMOIZE"))

_NUMPY_CORES = ("numpy.core", "numpy._core")
# Protocol 2 writes Python 2's name.
_BUILTINS = ("builtins", "__builtin__")
_ALLOWED: dict[tuple[str, str], Any] = {
    ("numpy", "ndarray"): stand_ins.NDARRAY,
    ("numpy", "dtype"): stand_ins.DTYPE,
    **{(f"{core}.multiarray", "_reconstruct"): stand_ins.RECONSTRUCT for core in _NUMPY_CORES},
    **{(f"{core}.multiarray", "scalar"): stand_ins.SCALAR for core in _NUMPY_CORES},
    **{(f"{core}.numeric", "_frombuffer"): stand_ins.FROM_BUFFER for core in _NUMPY_CORES},
    # jax 0.3.14 to 0.3.25, then 0.4 on; before, device arrays were pickled as numpy's.
    ("jax._src.device_array", "reconstruct_device_array"): stand_ins.JAX_ARRAY,
    ("jax._src.array", "_reconstruct_array"): stand_ins.JAX_ARRAY,
    ("flax.core.frozen_dict", "FrozenDict"): stand_ins.PickledFrozenDict,
    ("collections", "OrderedDict"): stand_ins.ORDERED_DICT,
    **{(builtins, "dict"): stand_ins.ORDERED_DICT for builtins in _BUILTINS},
    **{(builtins, "bytearray"): stand_ins.BYTE_ARRAY for builtins in _BUILTINS},
    # Protocol 2 has no bytes: Python 3 writes them as latin-1 text, or as bytes() when empty.
    **{(builtins, "bytes"): stand_ins.BYTE_ARRAY for builtins in _BUILTINS},
    ("_codecs", "encode"): stand_ins.LATIN_1_BYTES,
}
_STATE_PACKAGES = ("optax.", "flax.optim.")
"""Classes of these hold optimiser state: kept as a tuple of their fields or a dict."""


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
        return loads_safely(data, max_bytes)
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


def loads_safely(data: bytes, max_bytes: int = MAX_PICKLE_BYTES) -> Any:
    """Read one pickle; see `load_safely`.

    Args:
        data: The pickle.
        max_bytes: Most bytes that are read.

    Returns:
        The object, made of plain containers and numpy arrays.

    Raises:
        ValueError: When the data is too large, truncated, damaged, or names what is not allowed.
    """
    if len(data) > max_bytes:
        raise ValueError(f"larger than {max_bytes} bytes; this is no Dopamine agent's checkpoint")
    _check_opcodes(data)
    try:
        loaded = _InertUnpickler(io.BytesIO(data)).load()
    except stand_ins.RefusedError:
        raise
    except Exception as error:  # Hostile input makes the unpickler raise nearly anything.
        raise ValueError(_damaged(error)) from error
    return _Plain().convert(loaded, MAX_DEPTH)


class _InertUnpickler(pickle.Unpickler):
    """Resolves names to stand-ins only."""

    def find_class(self, module: str, name: str, /) -> Any:
        allowed = _ALLOWED.get((module, name))
        if allowed is not None:
            return allowed
        if module.startswith(_STATE_PACKAGES):
            return stand_ins.PickledState
        raise stand_ins.RefusedError(
            f"refused: the pickle asks for {_shown(module, name)}, which no Dopamine DQN "
            "checkpoint needs; nothing was run. Take the checkpoint from a source you trust"
        )


def _shown(module: str, name: str) -> str:
    """The name as it stands, or escaped when it would break the one line of an error."""
    asked = f"{module}.{name}"[:200]
    return asked if asked.isprintable() else ascii(asked)


def _check_opcodes(data: bytes) -> None:
    """Walk the pickle without executing it; raises ValueError at the first odd opcode."""
    position = memoized = 0
    stack = SizedStack()
    try:
        for opcode, argument, offset in pickletools.genops(data):
            position = len(data) if offset is None else offset
            if opcode.name not in _OPCODES:
                raise stand_ins.RefusedError(
                    f"refused: pickle opcode {opcode.name} at byte {position}, which no Dopamine "
                    "checkpoint has; nothing was run. Check that this is the right file"
                )
            # The memo is an array as long as its largest index, so a tiny file could ask for much
            # RAM; picklers count up from 0.
            if opcode.name == "LONG_BINPUT" and int(argument or 0) > memoized:
                raise ValueError(f"memo index {argument} after {memoized} entries")
            memoized += opcode.name in _MEMO_OPCODES
            stack.follow(opcode.name, argument)
    except stand_ins.RefusedError:
        raise
    except Exception as error:
        raise ValueError(_damaged(error, position)) from error


def _damaged(error: Exception, position: int | None = None) -> str:
    where = "" if position is None else f" near byte {position}"
    reason = " ".join(str(error)[:200].split()) or type(error).__name__
    return f"truncated or damaged pickle{where} ({reason}); copy it again from its source"


class _Plain:
    """Turns stand-ins into plain containers and arrays, shared parts once."""

    def __init__(self) -> None:
        self._done: dict[int, Any] = {}

    def convert(self, value: Any, depth: int) -> Any:
        """Convert one value; a container within itself runs out of depth."""
        if depth == 0:
            raise ValueError(
                f"containers nest deeper than {MAX_DEPTH} levels or contain themselves; this is no "
                "Dopamine agent's checkpoint"
            )
        if id(value) not in self._done:
            self._done[id(value)] = self._convert(value, depth - 1)
        return self._done[id(value)]

    def _convert(self, value: Any, depth: int) -> Any:
        value = stand_ins.opened(value)
        if isinstance(value, dict):
            return {_checked_key(key): self.convert(part, depth) for key, part in value.items()}
        if isinstance(value, (list, tuple)):
            kind: Callable[[Any], Any] = type(value)
            return kind(self.convert(part, depth) for part in value)
        return value


def _checked_key(key: Any) -> Any:
    """A key that can be hashed and compared quickly; its size has been checked before."""
    parts = key if isinstance(key, tuple) else (key,)
    for part in parts:
        if isinstance(part, tuple):
            _checked_key(part)
        elif not isinstance(part, _KEY_TYPES):
            raise ValueError(
                f"a dict has a key with a {type(part).__name__} in it; only text and numbers are "
                "read as keys. This is no Dopamine agent's checkpoint"
            )
    return key

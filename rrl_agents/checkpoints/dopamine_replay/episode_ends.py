"""Where episodes ended, as Dopamine pickles it: a set of row numbers.

Buffers of Dopamine 4.0.5 and later have it. A pickle is a program; like `safe_unpickling`, this
runs none: the opcodes are checked first, and the few names that such a set needs stand for inert
functions.
"""

from __future__ import annotations

import io
import pickle
import pickletools
import struct
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rrl_agents.checkpoints import pickled_stand_ins as stand_ins
from rrl_agents.checkpoints.dopamine_replay.gzip_stream import GzipStream

MAX_PICKLE_BYTES = 1 << 25
"""32 MiB: over a million ends."""

_ADVICE = "copy it again, or remove it: then only terminal rows end episodes"

_OPCODES = frozenset(
    (
        *("PROTO", "FRAME", "STOP", "MARK", "NONE", "NEWTRUE", "NEWFALSE"),
        *("BINPUT", "LONG_BINPUT", "MEMOIZE", "BINGET", "LONG_BINGET"),
        *("BININT", "BININT1", "BININT2", "LONG1"),
        *("SHORT_BINUNICODE", "BINUNICODE", "SHORT_BINBYTES", "BINBYTES"),
        *("EMPTY_TUPLE", "TUPLE", "TUPLE1", "TUPLE2", "TUPLE3", "EMPTY_LIST", "APPEND", "APPENDS"),
        *("EMPTY_SET", "ADDITEMS", "GLOBAL", "STACK_GLOBAL", "REDUCE", "BUILD"),
    )
)
"""What Python 3 writes for a set of numbers in protocols 2 to 5."""

_MEMO_OPCODES = frozenset(("BINPUT", "LONG_BINPUT", "MEMOIZE"))


def read_episode_ends(path: Path, capacity: int) -> NDArray[np.int64]:
    """The rows behind which an episode ended.

    Args:
        path: `episode_end_indices_ckpt.N.gz`.
        capacity: Rows of the buffer.

    Returns:
        int64 [E], ascending, in [0, capacity).

    Raises:
        ValueError: The file is damaged, too large, or holds anything but such numbers.
    """
    with GzipStream(path) as stream:
        (size,) = struct.unpack("<I", stream.trailer[4:])
        if size > MAX_PICKLE_BYTES:
            raise ValueError(f"{path}: {size} bytes, at most {MAX_PICKLE_BYTES} are read")
        stream.check_announced(size)
        data = stream.read(size)
        stream.finish()
    try:
        return _numbers(_loaded(data), capacity)
    except ValueError as error:
        raise ValueError(f"{path}: {error}; {_ADVICE}") from None


def _loaded(data: bytes) -> object:
    try:
        memoized = 0
        for opcode, argument, _ in pickletools.genops(data):
            # The memo is an array as long as its largest index: picklers count up from 0.
            is_leap = opcode.name == "LONG_BINPUT" and int(argument or 0) > memoized
            if opcode.name not in _OPCODES or is_leap:
                raise stand_ins.RefusedError(
                    f"refused: pickle opcode {opcode.name}, which no set of row numbers has; "
                    "nothing was run"
                )
            memoized += opcode.name in _MEMO_OPCODES
        return _InertUnpickler(io.BytesIO(data)).load()
    except stand_ins.RefusedError:
        raise
    except Exception as error:  # Hostile input makes the unpickler raise nearly anything.
        reason = " ".join(str(error)[:200].split()) or type(error).__name__
        raise ValueError(f"damaged pickle ({reason})") from None


def _numbers(loaded: object, capacity: int) -> NDArray[np.int64]:
    if not isinstance(loaded, (set, list)):
        raise ValueError(f"holds a {type(loaded).__name__}, not a set of row numbers")
    for value in loaded:
        is_number = isinstance(value, (int, np.integer)) and not isinstance(value, bool)
        if not is_number or not 0 <= value < capacity:
            raise ValueError(f"holds something else than row numbers below {capacity}")
    return np.sort(np.fromiter(map(int, loaded), np.int64, len(loaded)))


def _set(values: Any = ()) -> list[Any]:
    return list(values)


_CORES = ("numpy.core", "numpy._core")
# Protocol 2 writes Python 2's name, and bytes as latin-1 text.
_ALLOWED: dict[tuple[str, str], Any] = {
    ("numpy", "dtype"): stand_ins.DTYPE,
    **{(f"{core}.multiarray", "scalar"): stand_ins.SCALAR for core in _CORES},
    **{(builtins, "set"): stand_ins.Recipe(_set) for builtins in ("builtins", "__builtin__")},
    ("_codecs", "encode"): stand_ins.LATIN_1_BYTES,
}


class _InertUnpickler(pickle.Unpickler):
    """Resolves the names of a set of numbers to stand-ins, and no others."""

    def find_class(self, module: str, name: str, /) -> Any:
        try:
            return _ALLOWED[module, name]
        except KeyError:
            asked = ascii(f"{module}.{name}"[:200])
            raise stand_ins.RefusedError(
                f"refused: the pickle asks for {asked}, which no set of row numbers needs; "
                "nothing was run"
            ) from None

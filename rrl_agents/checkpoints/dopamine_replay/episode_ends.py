"""Where episodes ended, as Dopamine pickles it: a set of row numbers.

Buffers of Dopamine 4.0.5 and later have it. It is read outside the wall that agents are imported
behind, so Python's unpickler does not see it: the few opcodes that such a set needs are followed
here. Nothing is called by its name, nothing is hashed or printed that may nest, and what is kept
grows with the file, to some 0.3 GB at most.
"""

from __future__ import annotations

import pickletools
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rrl_agents.checkpoints.dopamine_replay.npy_column import opened_gzip, read_up_to

MAX_PICKLE_BYTES = 1 << 22
"""4 MiB: 200,000 ends, one in 5 of a million rows."""

_MOST_TEXT = 64
"""Longest name, or bytes of a number."""

_ADVICE = "copy it again, or remove it: then only terminal rows end episodes"

_VALUES = frozenset(
    (
        *("NONE", "NEWTRUE", "NEWFALSE", "BININT", "BININT1", "BININT2", "LONG1"),
        *("BINUNICODE", "SHORT_BINUNICODE", "SHORT_BINBYTES", "GLOBAL"),
    )
)
_TAKEN = {
    **{"TUPLE1": 1, "TUPLE2": 2, "TUPLE3": 3, "APPEND": 1},
    **{"STACK_GLOBAL": 2, "REDUCE": 2, "BUILD": 2},
}
"""How many values an opcode takes from the stack."""

_TAKEN_FROM_MARK = ("TUPLE", "APPENDS", "ADDITEMS")

# Protocol 2 writes Python 2's name.
_SETS = ("builtins set", "__builtin__ set")
_WHOLE_NUMBERS = ("i1", "i2", "i4", "i8", "u1", "u2", "u4", "u8")
_SCALARS = ("numpy.core.multiarray scalar", "numpy._core.multiarray scalar")


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
    with opened_gzip(path) as file:
        data = bytes(read_up_to(file, MAX_PICKLE_BYTES + 1))
    if len(data) > MAX_PICKLE_BYTES:
        raise ValueError(f"{path}: more than {MAX_PICKLE_BYTES} bytes; {_ADVICE}")
    try:
        ends = _unpickled(data)
    except _RefusedError as error:
        raise ValueError(f"{path}: refused: {error}; nothing was run; {_ADVICE}") from None
    except Exception as error:  # Hostile input breaks what follows it in nearly any way.
        reason = " ".join(str(error)[:200].split()) or type(error).__name__
        raise ValueError(f"{path}: damaged pickle ({reason}); {_ADVICE}") from None
    if not isinstance(ends, list) or not all(
        type(row) is int and 0 <= row < capacity for row in ends
    ):
        raise ValueError(
            f"{path}: holds something else than row numbers below {capacity}; {_ADVICE}"
        )
    return np.unique(np.array(ends, np.int64))


class _RefusedError(Exception):
    """The pickle asks for what no set of numbers needs."""


def _unpickled(data: bytes) -> object:
    """What a pickle holds; of a set, a list of its elements, and no truth values."""
    stack: list[Any] = []
    marks: list[int] = []
    memo: list[Any] = []
    for opcode, argument, _ in pickletools.genops(data):
        name = opcode.name
        if name in _VALUES:
            if isinstance(argument, (str, bytes)) and len(argument) > _MOST_TEXT:
                raise _RefusedError(f"{len(argument)} bytes of text")
            stack.append(argument)
        elif name in ("EMPTY_SET", "EMPTY_LIST"):
            stack.append([])
        elif name == "MARK":
            marks.append(len(stack))
        elif name in ("MEMOIZE", "BINPUT", "LONG_BINPUT"):
            if argument not in (None, len(memo)):
                raise _RefusedError(f"it keeps a value in place {argument}, not {len(memo)}")
            memo.append(stack[-1])
        elif name in ("BINGET", "LONG_BINGET"):
            stack.append(memo[int(argument or 0)])
        elif name in _TAKEN:
            taken = [stack.pop() for _ in range(_TAKEN[name])]
            _put_back(name, taken[::-1], stack)
        elif name in _TAKEN_FROM_MARK:
            start = marks.pop()
            taken = stack[start:]
            del stack[start:]
            _put_back(name, taken, stack)
        elif name not in ("PROTO", "FRAME", "STOP"):
            raise _RefusedError(f"pickle opcode {name}, which no set of row numbers has")
    (ends,) = stack
    return ends


def _put_back(name: str, taken: list[Any], stack: list[Any]) -> None:
    """Put on the stack what an opcode makes of what it took."""
    if name.startswith("TUPLE"):
        stack.append(tuple(taken))
    elif name == "STACK_GLOBAL":
        # Cut, as names of names would double without end.
        stack.append(" ".join(taken)[:_MOST_TEXT])
    elif name == "REDUCE":
        stack.append(_result(*taken))
    elif name == "BUILD":
        dtype, state = taken
        if not isinstance(dtype, np.dtype) or state[1] not in ("<", "|"):
            raise _RefusedError("numbers that are not little-endian")
        stack.append(dtype)
    else:
        stack[-1].extend(taken)


def _result(called: Any, arguments: Any) -> Any:
    """What a call that the pickle asks for would give."""
    if called in _SETS:
        (elements,) = arguments
        return elements
    if called == "numpy dtype":
        if arguments[0] not in _WHOLE_NUMBERS:
            raise _RefusedError("numbers that are not whole")
        return np.dtype("<" + arguments[0])
    if called in _SCALARS:
        dtype, raw = arguments
        if not isinstance(dtype, np.dtype):
            raise _RefusedError("a number of no type")
        return np.frombuffer(raw, dtype).item()
    if called == "_codecs encode":
        # Protocol 2 has no bytes: Python 3 writes them as text.
        return arguments[0].encode("latin-1")
    shown = ascii(called) if isinstance(called, str) else type(called).__name__
    raise _RefusedError(f"the pickle asks for {shown}")

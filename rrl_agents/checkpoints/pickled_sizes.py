"""What a pickle's dict keys are and how much it makes, told before the pickle is executed.

Python hashes a key by walking it, shared parts as often as they occur: forty nested pairs, each
holding the one before twice, are a key of some hundred bytes whose hash takes days. And numbers can
be chosen to have one hash, which makes a dict of a million keys as slow. So the stack of the
unpickler is followed with sizes in place of values, and keys may be text, numbers of 32 bits, and
small tuples of them. An empty list is one byte in a file and some hundred in memory, so what is
made is counted, too.
"""

from __future__ import annotations

from typing import Any

from rrl_agents.checkpoints.pickled_stand_ins import RefusedError

MAX_OPCODES = 10_000_000
"""Bound of a pickle's opcodes: of 400 iterations' logs, a float per episode, some 2 million."""

MAX_OBJECTS = 2_000_000
"""Bound of its containers and calls; those logs have some thousand."""

MAX_KEY_SIZE = 100
"""Bound of the values in one key, counted as often as they occur; real keys are strings."""

_LARGEST = 1_000_000
"""Where counting ends: sizes double with every byte or two of a hostile pickle."""

_NO_KEYS = ("LONG1", "LONG4", "BINFLOAT", "REDUCE", "NEWOBJ")
"""Opcodes that push what no key may hold: long numbers, and whatever a call gives."""

_OBJECTS = frozenset(
    ("MARK", "EMPTY_LIST", "EMPTY_DICT", "TUPLE", "TUPLE1", "TUPLE2", "TUPLE3", "REDUCE", "NEWOBJ")
)
"""Opcodes that make a container, begin one, or call something."""

_POPS = {
    "PROTO": 0,
    "FRAME": 0,
    "STOP": 0,
    "APPEND": 1,
    "BUILD": 1,
    "SETITEM": 2,
}
"""Opcodes that push nothing, and how much they pop."""

_REPLACES = {"TUPLE1": 1, "TUPLE2": 2, "TUPLE3": 3, "REDUCE": 2, "NEWOBJ": 2, "STACK_GLOBAL": 2}
"""Opcodes that push one value in place of so many; all others push one."""


class SizedStack:
    """The unpickler's stack and memo, each entry standing for the size of its value."""

    def __init__(self) -> None:
        """Begin empty."""
        # One list for each mark, as in Python's own pickle.py.
        self._stacks: list[list[int]] = [[]]
        self._memo: dict[int, int] = {}
        self._opcodes = self._objects = 0

    def follow(self, opcode: str, argument: Any) -> None:
        """Do to the sizes what an opcode does to the values.

        Args:
            opcode: Name of one of those that `safe_unpickling` lets through.
            argument: Its argument.

        Raises:
            RefusedError: When there are more opcodes, or more objects, than an agent has.
            ValueError: When a dict gets a key of more than `MAX_KEY_SIZE` values, or an odd one.
            LookupError: When the stack or the memo lacks what the opcode takes.
        """
        self._count(opcode)
        stack = self._stacks[-1]
        if opcode == "MARK":
            self._stacks.append([])
        elif opcode in ("BINPUT", "LONG_BINPUT"):
            self._memo[argument] = stack[-1]
        elif opcode == "MEMOIZE":
            self._memo[len(self._memo)] = stack[-1]
        elif opcode in ("BINGET", "LONG_BINGET"):
            stack.append(self._memo[argument])
        elif opcode == "POP" and stack:
            stack.pop()
        elif opcode in ("POP", "POP_MARK", "TUPLE", "APPENDS", "SETITEMS"):
            self._close_mark(opcode)
        elif opcode in _POPS:
            parts = _pop(stack, _POPS[opcode])
            if opcode == "SETITEM":
                _check_key(parts[0])
        else:
            parts = _pop(stack, _REPLACES.get(opcode, 0))
            stack.append(_LARGEST if opcode in _NO_KEYS else _size(parts, opcode))

    def _count(self, opcode: str) -> None:
        self._opcodes += 1
        self._objects += opcode in _OBJECTS
        if self._opcodes > MAX_OPCODES or self._objects > MAX_OBJECTS:
            raise RefusedError(
                f"refused: the pickle has more than {MAX_OPCODES:,} opcodes, or {MAX_OBJECTS:,} "
                "that make containers; this is no Dopamine agent's checkpoint"
            )

    def _close_mark(self, opcode: str) -> None:
        parts = self._stacks.pop()
        stack = self._stacks[-1]
        if opcode == "TUPLE":
            stack.append(_size(parts, opcode))
        if opcode == "SETITEMS":
            for size in parts[::2]:
                _check_key(size)


def _pop(stack: list[int], count: int) -> list[int]:
    if count > len(stack):
        raise IndexError("the stack is empty")
    start = len(stack) - count
    parts = stack[start:]
    del stack[start:]
    return parts


def _size(parts: list[int], opcode: str) -> int:
    return min(1 + sum(parts), _LARGEST) if opcode.startswith("TUPLE") else 1


def _check_key(size: int) -> None:
    if size > MAX_KEY_SIZE:
        raise ValueError("a dict has a key that is neither text nor a small number")

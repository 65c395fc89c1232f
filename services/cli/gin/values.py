"""The values that gin gives the released code's parameters: bound ones, and defaults.

Whoever turns them into settings of ours asks for them one by one. What was bound and nobody asked
for has no part in the run; nothing is dropped without a word.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator

from services.cli.gin.names import PARAMETERS, parameter_name, reference_name
from services.cli.gin.parsing import COMMAND_LINE, Binding, Reference
from services.shared.errors import UserError


class Values:
    """What every parameter is set to.

    Args:
        bindings: In their order; of two of one parameter the later counts.

    Raises:
        UserError: a binding names no parameter, or asks for what rrl does not do.
    """

    def __init__(self, bindings: Iterable[Binding]) -> None:
        self._bound = {parameter_name(binding): binding for binding in bindings}
        self._asked: set[str] = set()
        self._notes: list[str] = []
        for name, binding in self._bound.items():
            how = PARAMETERS[name]
            if how.fixed is not None and not _same(binding.value, how.default):
                raise UserError(
                    f"{binding.where}: {name} = {_shown(binding.value)} cannot be had: {how.fixed}"
                )

    def is_bound(self, name: str) -> bool:
        """Whether a parameter has been given a value."""
        return name in self._bound

    def is_from_command_line(self, name: str) -> bool:
        """Whether a parameter was bound on the command line itself, and not in a file."""
        return name in self._bound and self._bound[name].origin == COMMAND_LINE

    def where(self, name: str) -> str:
        """Where a parameter got its value, for messages."""
        return self._bound[name].where if name in self._bound else "the released code's default"

    def number(self, name: str) -> float:
        """A finite number."""
        value = self._value(name)
        if isinstance(value, bool) or not isinstance(value, int | float) or not _is_finite(value):
            raise self._wrong(name, "a finite number")
        return float(value)

    def whole(self, name: str) -> int:
        """A whole number; 1e6 is one."""
        value = self.number(name)
        if value != int(value):
            raise self._wrong(name, "a whole number")
        return int(value)

    def flag(self, name: str) -> bool:
        """True or False."""
        value = self._value(name)
        if not isinstance(value, bool):
            raise self._wrong(name, "True or False")
        return value

    def wholes(self, name: str) -> tuple[int, ...]:
        """Several whole numbers."""
        value = self._value(name)
        if not isinstance(value, list | tuple) or not all(type(one) is int for one in value):
            raise self._wrong(name, "a tuple of whole numbers")
        return tuple(value)

    def text(self, name: str) -> str | None:
        """A text, or None."""
        value = self._value(name)
        if value is not None and not isinstance(value, str):
            raise self._wrong(name, "a text in quotes")
        return value

    def optional_number(self, name: str) -> float | None:
        """A finite number, or None."""
        return None if self._value(name) is None else self.number(name)

    def reference(self, name: str) -> str:
        """Name of the network or schedule that a reference stands for."""
        value = self._value(name)
        if not isinstance(value, Reference):
            raise self._wrong(name, "a reference, @NAME")
        return reference_name(value, self.where(name))

    def refuse(self, name: str, why: str) -> UserError:
        """The error to raise for a value that rrl does not do."""
        return UserError(
            f"{self.where(name)}: {name} = {_shown(self._value(name))} cannot be had: {why}"
        )

    def note(self, text: str) -> None:
        """Keep what the user should know of how a value was taken."""
        self._notes.append(text)

    def notes(self) -> Iterator[str]:
        """What was noted, then what has no part in the run, with the reason."""
        yield from self._notes
        for name, binding in self._bound.items():
            idle = PARAMETERS[name].idle
            if idle is not None:
                yield f"{name} = {_shown(binding.value)} has no part here: {idle}"
            elif PARAMETERS[name].fixed is None and name not in self._asked:
                yield f"{name} = {_shown(binding.value)} has no part in what --agent does"

    def _value(self, name: str) -> object:
        self._asked.add(name)
        return self._bound[name].value if name in self._bound else PARAMETERS[name].default

    def _wrong(self, name: str, wanted: str) -> UserError:
        return UserError(
            f"{self.where(name)}: {name} is {_shown(self._value(name))}; give {wanted}"
        )


def _same(value: object, default: object) -> bool:
    if isinstance(value, list):
        value = tuple(value)
    return value == default and isinstance(value, bool) == isinstance(default, bool)


def _is_finite(value: int | float) -> bool:
    try:
        return math.isfinite(float(value))
    except OverflowError:
        # A whole number beyond the largest float.
        return False


def _shown(value: object) -> str:
    text = f"@{value.name}" if isinstance(value, Reference) else repr(value)
    return text if len(text) <= 80 else f"{text[:80]}..."

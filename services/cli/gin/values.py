"""The values of parameters: bound ones, and the released code's defaults."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rrl_agents.typed_json import Misfit, fitted
from services.cli.gin.names import PARAMETERS
from services.cli.gin.reading import Bound
from services.shared.errors import UserError

_SHOWN = 80


class Values:
    """What every parameter is set to.

    Attributes:
        notes: What the user should know of how values were taken.
    """

    def __init__(self, bound: Mapping[str, Bound]) -> None:
        """Takes what gin binds."""
        self._bound = bound
        self._read: set[str] = set()
        self.notes: list[str] = []

    def __getitem__(self, name: str) -> Any:
        """The value of a parameter; of one that has choices, what the chosen one stands for.

        Raises:
            UserError: it is of another type than the default, or none of the choices.
        """
        self._read.add(name)
        how, value = PARAMETERS[name], self._value(name)
        # Gin files write 1e6 for a whole number.
        whole = int(value) if type(value) is float and value.is_integer() else value
        try:
            found = fitted(type(how.default), whole)
        except Misfit:
            raise self.refuse(name, f"give a value like {_shown(how.default)}") from None
        if how.choices is None:
            return found
        if found in how.choices:
            return how.choices[found]
        choices = " or ".join(map(_shown, how.choices))
        if name in self._bound or len(how.choices) > 1:
            raise self.refuse(name, f"give {choices}")
        self.notes.append(
            f"{name} is {choices}, which nothing binds; the released code's default is "
            f"{_shown(value)}"
        )
        return next(iter(how.choices.values()))

    def is_bound(self, name: str) -> bool:
        """Whether a parameter has been given a value."""
        return name in self._bound

    def where(self, name: str) -> str:
        """Where a parameter got its value."""
        return self._bound[name].where if name in self._bound else "the released code's default"

    def refuse(self, name: str, advice: str) -> UserError:
        """The error to raise for a value that rrl does not do."""
        shown = _shown(self._value(name))
        return UserError(f"{self.where(name)}: {name} = {shown} is not supported; {advice}")

    def unread(self) -> list[str]:
        """The parameters that are bound and have not been read."""
        return [name for name in self._bound if name not in self._read]

    def _value(self, name: str) -> object:
        return self._bound[name].value if name in self._bound else PARAMETERS[name].default


def _shown(value: object) -> str:
    text = value if isinstance(value, str) and value.startswith("@") else repr(value)
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}..."

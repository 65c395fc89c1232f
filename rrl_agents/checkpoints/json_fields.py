"""Strict reading of a JSON object: every field taken once, with its type, by name."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

from rrl_agents.checkpoints.sealed_json import unseal

T = TypeVar("T")


class JsonFields:
    """The fields of one JSON object that are not read yet.

    Each method takes one field; `finish` complains of what nobody took. All of them raise
    ValueError with the path of the field, e.g. "teacher card: score.episodes ...".
    """

    def __init__(self, value: object, where: str, prefix: str = "") -> None:
        """Wrap a decoded JSON value.

        Args:
            value: What `json.loads` gave; must be an object.
            where: What is being read, the start of every message.
            prefix: Path of the object within the document, "" at the top.

        Raises:
            ValueError: When the value is no object.
        """
        if not isinstance(value, dict):
            raise ValueError(f"{where}: {prefix or 'the document'} must be an object")
        self._left: dict[str, Any] = dict(value)
        self._where = where
        self._prefix = prefix

    @classmethod
    def unsealed(cls, text: str, where: str) -> JsonFields:
        """Decode a document of `sealed_json`.

        Args:
            text: The document.
            where: What is being read, the start of every message.

        Returns:
            Its fields.

        Raises:
            ValueError: When the text is no JSON object, or not as it was written.
        """
        try:
            return cls(unseal(text), where)
        except ValueError as error:
            raise ValueError(f"{where}: {error}") from error

    def text(self, name: str) -> str:
        """Take a string."""
        return self._take(name, _as_text, "a string")

    def whole(self, name: str) -> int:
        """Take a whole number; true and false are none."""
        return self._take(name, _as_whole, "a whole number")

    def number(self, name: str) -> float:
        """Take a number; true and false are none."""
        return self._take(name, _as_number, "a number")

    def truth(self, name: str) -> bool:
        """Take true or false."""
        return self._take(name, _as_truth, "true or false")

    def optional_whole(self, name: str) -> int | None:
        """Take a whole number or null."""
        return None if self.is_null(name) else self.whole(name)

    def optional_number(self, name: str) -> float | None:
        """Take a number or null."""
        return None if self.is_null(name) else self.number(name)

    def children(self, name: str) -> tuple[JsonFields, ...]:
        """Take a list of objects."""
        objects = self._take(name, _list_of(_as_object), "a list of objects")
        return tuple(
            JsonFields(value, self._where, f"{self._path(name)}[{index}]")
            for index, value in enumerate(objects)
        )

    def texts(self, name: str) -> tuple[str, ...]:
        """Take a list of strings."""
        return self._take(name, _list_of(_as_text), "a list of strings")

    def wholes(self, name: str) -> tuple[int, ...]:
        """Take a list of whole numbers."""
        return self._take(name, _list_of(_as_whole), "a list of whole numbers")

    def numbers(self, name: str) -> tuple[float, ...]:
        """Take a list of numbers."""
        return self._take(name, _list_of(_as_number), "a list of numbers")

    def child(self, name: str) -> JsonFields:
        """Take an object."""
        return JsonFields(self._take(name, _as_object, "an object"), self._where, self._path(name))

    def has(self, name: str) -> bool:
        """Whether a field is there and not taken yet; for fields that older documents lack."""
        return name in self._left

    def is_null(self, name: str) -> bool:
        """Take a field if it is null, leave it for another method otherwise."""
        if name not in self._left or self._left[name] is not None:
            return False
        del self._left[name]
        return True

    def finish(self) -> None:
        """Refuse fields that were not taken."""
        if self._left:
            unknown = ", ".join(sorted(self._path(name) for name in self._left))
            raise ValueError(f"{self._where}: unknown field {unknown}; remove it")

    def _take(self, name: str, convert: Callable[[object], T], wanted: str) -> T:
        if name not in self._left:
            raise ValueError(f"{self._where}: field {self._path(name)} is missing")
        value = self._left.pop(name)
        try:
            return convert(value)
        except (TypeError, OverflowError):
            shown = repr(value)[:80]
            raise ValueError(
                f"{self._where}: field {self._path(name)} is {shown}; it must be {wanted}"
            ) from None

    def _path(self, name: str) -> str:
        return f"{self._prefix}.{name}" if self._prefix else name


def _as_text(value: object) -> str:
    if not isinstance(value, str):
        raise TypeError
    return value


def _as_whole(value: object) -> int:
    if isinstance(value, bool) or not isinstance(value, int):
        raise TypeError
    return value


def _as_number(value: object) -> float:
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise TypeError
    return float(value)


def _as_truth(value: object) -> bool:
    if not isinstance(value, bool):
        raise TypeError
    return value


def _as_object(value: object) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise TypeError
    return value


def _list_of(convert: Callable[[object], T]) -> Callable[[object], tuple[T, ...]]:
    def convert_all(value: object) -> tuple[T, ...]:
        if not isinstance(value, list):
            raise TypeError
        return tuple(convert(element) for element in value)

    return convert_all

"""A policy of the user's own package: `module:factory` becomes an object with a card.

The module is looked for where Python looks, and at last in the current directory, as for
`python -m`. Importing it runs the user's code: name only modules that you trust.
"""

from __future__ import annotations

import hashlib
import importlib
import operator
import reprlib
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar, cast

from rrl_agents.checkpoints.load_teacher import UNKNOWN_GAME
from rrl_agents.checkpoints.teacher_card import TeacherCard
from rrl_agents.teacher_policy_interface import ScoringPolicy
from services.teacher.config import ModelConfig

MAX_ACTIONS = 1 << 16
_SEE = "rrl_agents/teacher_policy_interface.py shows what a policy has"

T = TypeVar("T")


def make_policy(entry_point: str) -> ScoringPolicy:
    """Import a module and call its factory.

    Args:
        entry_point: `module:factory`; the factory is called without arguments.

    Returns:
        What it made; nothing of it is checked yet.

    Raises:
        ValueError: There is no such module or factory, or one of them fails; says which.
    """
    module_name, _, factory_name = entry_point.partition(":")
    module = _import(entry_point, module_name)
    factory = getattr(module, factory_name, None)
    if not callable(factory):
        what = "has no" if factory is None else "has a value, not a function, of the name"
        raise ValueError(
            f"{entry_point}: the module {module_name} {what} {factory_name!r}; name a function "
            "that makes the policy, without arguments"
        )
    return cast(ScoringPolicy, _user_code(f"{entry_point}: the factory", factory))


def card_of_policy(policy: ScoringPolicy, entry_point: str, told: ModelConfig) -> TeacherCard:
    """What a policy says it is.

    Args:
        policy: What a factory made.
        entry_point: Where from.
        told: What the user says of it, which goes before what the policy says.

    Raises:
        ValueError: An attribute is missing, or of the wrong type or range; names it.
    """
    read = _Attributes(policy, entry_point)
    version = read.text("version")
    identity = f"{entry_point}\n{version}".encode()
    read.method("evaluate")
    card: dict[str, Any] = {
        "name": read.text("name"),
        "game": told.game or read.text("game") or UNKNOWN_GAME,
        "num_actions": read.whole("num_actions"),
        "observation_shape": read.wholes("observation_shape"),
        "observation_dtype": read.text("observation_dtype"),
        "output": told.output or read.text("output"),
        "temperature": read.optional_number("temperature"),
    }
    if told.temperature is not None or card["output"] != read.text("output"):
        card["temperature"] = told.temperature
    if card["num_actions"] > MAX_ACTIONS:
        raise read.wrong("num_actions", card["num_actions"], f"at most {MAX_ACTIONS}")
    try:
        return TeacherCard(
            **card,
            network=None,
            observation_order="as the policy takes it",
            made=f"a Python policy, {entry_point}, version {version}",
            parameters_sha256=hashlib.sha256(identity).hexdigest(),
        )
    except ValueError as error:
        raise ValueError(f"{entry_point}: {error}") from error


class _Attributes:
    """Reads a policy's attributes, which may be anything."""

    def __init__(self, policy: object, entry_point: str) -> None:
        self._policy = policy
        self._entry_point = entry_point

    def text(self, name: str) -> str:
        value = self._value(name, "a text")
        if not isinstance(value, str) or not value:
            raise self.wrong(name, value, "a text that is not empty")
        return value

    def whole(self, name: str) -> int:
        value = self._value(name, "a whole number")
        return self._as_whole(name, value)

    def wholes(self, name: str) -> tuple[int, ...]:
        wanted = "a tuple of whole numbers"
        value = self._value(name, wanted)
        if not isinstance(value, tuple | list) or len(value) > 16:
            raise self.wrong(name, value, wanted)
        return tuple(self._as_whole(name, element) for element in value)

    def optional_number(self, name: str) -> float | None:
        wanted = "a number, or None"
        value = self._value(name, wanted)
        if value is None:
            return None
        if isinstance(value, bool | str | bytes):
            raise self.wrong(name, value, wanted)
        try:
            return float(cast(Any, value))
        except (TypeError, ValueError, OverflowError) as error:
            raise self.wrong(name, value, wanted) from error

    def method(self, name: str) -> None:
        wanted = "a method, observations [B, ...] to scores float32 [B, A]"
        value = self._value(name, wanted)
        if not callable(value):
            raise self.wrong(name, value, wanted)

    def wrong(self, name: str, found: object, wanted: str) -> ValueError:
        return ValueError(
            f"{self._entry_point}: {name} is {reprlib.repr(found)}; it must be {wanted}"
        )

    def _value(self, name: str, wanted: str) -> object:
        missing = object()
        value = _user_code(
            f"{self._entry_point}: the attribute {name!r}",
            lambda: cast(object, getattr(self._policy, name, missing)),
        )
        if value is missing:
            raise ValueError(
                f"{self._entry_point}: {type(self._policy).__name__} has no attribute {name!r} "
                f"({wanted}); {_SEE}"
            )
        return value

    def _as_whole(self, name: str, value: Any) -> int:
        if isinstance(value, bool):
            raise self.wrong(name, value, "a whole number")
        try:
            return operator.index(value)
        except TypeError as error:
            raise self.wrong(name, value, "a whole number") from error


def _import(entry_point: str, module_name: str) -> object:
    here = str(Path.cwd())
    if here not in sys.path and "" not in sys.path:
        sys.path.append(here)
    try:
        return importlib.import_module(module_name)
    except ModuleNotFoundError as error:
        if error.name is None or not f"{module_name}.".startswith(f"{error.name}."):
            raise ValueError(
                f"{entry_point}: the module {module_name} needs {error.name}, which is not "
                "installed here"
            ) from error
        raise ValueError(
            f"{entry_point}: there is no module {error.name!r}; install your package into this "
            f"environment ({sys.prefix}), or start in the directory that holds it (now {here}). "
            "There is no path of this name either"
        ) from error
    except (Exception, SystemExit) as error:
        raise ValueError(
            f"{entry_point}: importing {module_name} failed ({type(error).__name__}: {error})"
        ) from error


def _user_code(what: str, call: Callable[[], T]) -> T:
    """Call what others wrote, which may raise anything."""
    try:
        return call()
    except (Exception, SystemExit) as error:
        raise ValueError(f"{what} failed ({type(error).__name__}: {error})") from error

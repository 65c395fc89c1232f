"""A policy from the user's own package: `module:factory` becomes an object with a card.

The module is imported from Python's path, or else from the current directory, as with `python -m`.
Importing it runs the user's code: name only modules that you trust.
"""

from __future__ import annotations

import dataclasses
import hashlib
import reprlib
from collections.abc import Callable
from typing import Any, TypeVar, cast

import numpy as np

from rrl_agents.checkpoints.hints import Hints
from rrl_agents.checkpoints.teacher_card import TeacherCard
from rrl_agents.plugins import import_module
from rrl_agents.teacher_policy_interface import ScoringPolicy
from rrl_agents.typed_json import Misfit, fitted, wanted
from rrl_client.spec import PolicySpec

_SEE = "rrl_agents/teacher_policy_interface.py shows what a policy has"

T = TypeVar("T")


def make_policy(entry_point: str) -> ScoringPolicy:
    """Import a module and call its factory.

    Args:
        entry_point: `module:factory`; the factory is called without arguments.

    Returns:
        The factory's result, unchecked.

    Raises:
        ValueError: There is no such module or factory, or one of them fails.
    """
    module_name, _, factory_name = entry_point.partition(":")
    module = import_module(module_name, entry_point)
    factory = getattr(module, factory_name, None)
    if not callable(factory):
        what = "has no" if factory is None else "has a value, not a function, of the name"
        raise ValueError(
            f"{entry_point}: the module {module_name} {what} {factory_name!r}; name a function "
            "that makes the policy, without arguments"
        )
    return cast(ScoringPolicy, _user_code(f"{entry_point}: the factory", factory))


def card_of_policy(policy: ScoringPolicy, entry_point: str) -> TeacherCard:
    """The card of a policy, from its attributes.

    Args:
        policy: The result of a factory.
        entry_point: Its origin.

    Raises:
        ValueError: An attribute is missing, or of the wrong type or range; names it.
    """
    said = {name: _attribute(policy, name, entry_point) for name in _ATTRIBUTES}
    version = said["version"]
    try:
        spec = Hints().applied_to(PolicySpec(**{name: said[name] for name in _SPEC}))
    except ValueError as error:
        raise ValueError(f"{entry_point}: {error}") from error
    return TeacherCard(
        **dataclasses.asdict(spec),
        name=said["name"],
        game=said["game"],
        network=None,
        observation_order="as the policy takes it",
        made=f"a Python policy, {entry_point}, version {version}",
        parameters_sha256=hashlib.sha256(f"{entry_point}\n{version}".encode()).hexdigest(),
    )


def _attribute(policy: object, name: str, entry_point: str) -> Any:
    """A policy's attribute, checked and converted to its required type."""
    kind, missing = _ATTRIBUTES[name], object()
    needed = {str: "a string that is not empty", object: "a method"}.get(kind) or wanted(kind)
    value = _user_code(
        f"{entry_point}: the attribute {name!r}",
        lambda: cast(object, getattr(policy, name, missing)),
    )
    if value is missing:
        raise ValueError(
            f"{entry_point}: {type(policy).__name__} has no attribute {name!r} ({needed}); {_SEE}"
        )
    try:
        found = fitted(kind, _plain(value))
        if found == "" or (name == "evaluate" and not callable(value)):
            raise Misfit
        return found
    except Misfit as error:
        raise ValueError(
            f"{entry_point}: {name} is {reprlib.repr(value)}; it must be {needed}"
        ) from error


def _plain(value: Any) -> Any:
    """NumPy numbers as Python numbers."""
    if isinstance(value, (tuple, list)):
        return [_plain(one) for one in value]
    return value.item() if isinstance(value, np.generic) else value


_SPEC = {
    "num_actions": int,
    "observation_shape": tuple[int, ...],
    "observation_dtype": str,
    "output": str,
    "temperature": float | None,
}
_ATTRIBUTES: dict[str, Any] = {
    "version": str,
    "name": str,
    "game": str,
    **_SPEC,
    "evaluate": object,
}
"""The attributes of a policy with their types (`rrl_agents.typed_json`); strings must not be
empty."""


def _user_code(what: str, call: Callable[[], T]) -> T:
    """Call user code, which may raise anything."""
    try:
        return call()
    except (Exception, SystemExit) as error:
        raise ValueError(f"{what} failed ({type(error).__name__}: {error})") from error

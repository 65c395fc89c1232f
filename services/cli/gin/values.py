"""The parameters that gin may bind, and the values that it gives them: bound ones, and defaults.

What was bound and is not read has no part in the run; `Values.notes` lists it.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Iterator, Mapping
from fnmatch import fnmatchcase
from typing import Any, TypeVar

from rrl_agents.typed_json import Misfit, fitted, wanted
from services.cli.gin.names import FIXED, IDLE, KINDS, NAMES, OLDER, SETTINGS
from services.cli.gin.reading import COMMAND_LINE, Binding, Reference
from services.launcher.settings import nearest
from services.shared.errors import UserError

_SHOWN = 80

_KINDS_IN_GIN = {
    bool: "True or False",
    str: "a text in quotes",
    Reference: "a reference, @NAME",
}

T = TypeVar("T")

_LAST_NAMES = tuple(dict.fromkeys(name.rpartition(".")[2] for name in NAMES))


@dataclasses.dataclass(frozen=True, kw_only=True)
class Parameter:
    """A parameter that gin may bind.

    Attributes:
        default: What the released code takes where nothing binds it.
        kind: Type of its values; `Reference` for the name of a network or schedule.
        settings: Settings of ours that take its value.
        why: What to say of a value that is not supported, or has no part here.
        has_part: Whether the value can matter here.
        is_fixed: Whether only the default is possible, whichever agent is trained.
    """

    default: object = None
    kind: Any = object
    settings: tuple[str, ...] = ()
    why: str = ""
    has_part: bool = True
    is_fixed: bool = False


def _parameters() -> Iterator[tuple[str, Parameter]]:
    for name, (default, *settings) in SETTINGS.items():
        kind = tuple[int, ...] if isinstance(default, tuple) else KINDS.get(name, type(default))
        yield name, Parameter(default=default, kind=kind, settings=tuple(map(str, settings)))
    for why, defaults in FIXED.items():
        for name, default in defaults.items():
            yield name, Parameter(default=default, why=why, is_fixed=True)
    for why, names in IDLE.items():
        for name in names:
            yield name, Parameter(why=why, has_part=False)


def _each(pattern: str) -> list[str]:
    of, _, parameter = pattern.rpartition(".")
    return [f"{name}.{parameter}" for name in _LAST_NAMES if fnmatchcase(name, of)]


PARAMETERS: Mapping[str, Parameter] = {
    name: parameter for pattern, parameter in _parameters() for name in _each(pattern)
}
"""Every parameter, as "Name.parameter"."""

_CONFIGURED = dict.fromkeys(name.partition(".")[0] for name in PARAMETERS)


class Values:
    """What every parameter is set to.

    Args:
        bindings: In their order; of two of one parameter the later counts.

    Raises:
        UserError: a binding names no parameter, or asks for what rrl does not do.
    """

    def __init__(self, bindings: Iterable[Binding]) -> None:
        self._bound = {parameter_name(binding): binding for binding in bindings}
        self._read: set[str] = set()
        self._notes: list[str] = []
        for name, binding in self._bound.items():
            how, value = PARAMETERS[name], binding.value
            value = tuple(value) if isinstance(value, list) else value
            # True equals 1 in Python.
            if how.is_fixed and (type(value) is bool, value) != (
                type(how.default) is bool,
                how.default,
            ):
                raise self.refuse(name, how.why)

    def __getitem__(self, name: str) -> Any:
        """The value of a parameter, as its kind has it; of a reference, what it names.

        Raises:
            UserError: it is of another kind.
        """
        self._read.add(name)
        how, value = PARAMETERS[name], self._value(name)
        # Gin files write 1e6 for a whole number.
        whole = int(value) if type(value) is float and value.is_integer() else value
        try:
            found = fitted(how.kind, whole)
        except Misfit:
            form = _KINDS_IN_GIN.get(how.kind) or wanted(how.kind).replace("nothing", "None")
            raise UserError(f"{self.where(name)}: {name} is {_shown(value)}; give {form}") from None
        return reference_name(found, self.where(name)) if how.kind is Reference else found

    def chosen(self, name: str, choices: Mapping[Any, T], why: str = "") -> T:
        """What one of a parameter's few possible values stands for; `why` there are no others.

        Raises:
            UserError: it is of another kind, or none of them.
        """
        value = self[name]
        if value not in choices:
            sign = "@" if PARAMETERS[name].kind is Reference else ""
            known = [f"{sign}{one}" if sign else repr(one) for one in choices]
            raise self.refuse(name, f"{why}{why and '; '}give {' or '.join(known)}")
        return choices[value]

    def is_bound(self, name: str) -> bool:
        """Whether a parameter has been given a value."""
        return name in self._bound

    def is_from_command_line(self, name: str) -> bool:
        """Whether a parameter was bound on the command line itself, and not in a file."""
        return name in self._bound and self._bound[name].origin == COMMAND_LINE

    def where(self, name: str) -> str:
        """Where a parameter got its value, for messages."""
        return self._bound[name].where if name in self._bound else "the released code's default"

    def refuse(self, name: str, why: str) -> UserError:
        """The error to raise for a value that rrl does not do."""
        shown = _shown(self._value(name))
        return UserError(f"{self.where(name)}: {name} = {shown} is not supported: {why}")

    def note(self, text: str) -> None:
        """Keep what the user should know of how a value was taken."""
        self._notes.append(text)

    def notes(self) -> Iterator[str]:
        """What was noted, then what has no part in the run, with the reason."""
        yield from self._notes
        for name, binding in self._bound.items():
            how, shown = PARAMETERS[name], _shown(binding.value)
            if not how.has_part:
                yield f"{name} = {shown} has no part here: {how.why}"
            elif not how.is_fixed and name not in self._read:
                yield f"{name} = {shown} has no part in what --agent does"

    def _value(self, name: str) -> object:
        return self._bound[name].value if name in self._bound else PARAMETERS[name].default


def _shown(value: object) -> str:
    text = f"@{value.name}" if isinstance(value, Reference) else repr(value)
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}..."


def _named(given: str) -> str | None:
    """The name that another is, with or without modules before it and of either generation."""
    present = ".".join(OLDER.get(part, part) for part in given.split("."))
    found = (name for name in NAMES if f".{name}".endswith(f".{present}"))
    return next((name.rpartition(".")[2] for name in found), None)


def parameter_name(binding: Binding) -> str:
    """The parameter that a binding is about, as `PARAMETERS` names it.

    Raises:
        UserError: there is no such parameter; names the nearest ones.
    """
    if not binding.parameter:
        raise UserError(
            f"{binding.where}: {binding.selector} = ... binds no parameter; write NAME.PARAMETER = "
            "VALUE (macros are unsupported)"
        )
    parameter = OLDER.get(binding.parameter, binding.parameter)
    present = f"{_named(binding.selector)}.{parameter}"
    if present in PARAMETERS:
        return present
    older = {
        f"{older}.{name.partition('.')[2]}": None
        for older, newer in OLDER.items()
        for name in PARAMETERS
        if name.startswith(f"{newer}.")
    }
    name = f"{binding.selector}.{binding.parameter}"
    like = nearest(name, {**PARAMETERS, **older})
    near = f"; did you mean {' or '.join(like)}?" if like else ""
    raise UserError(f"{binding.where}: the released code has no {name}{near}")


def reference_name(reference: Reference, where: str) -> str:
    """What a reference names, in the present generation's name.

    Raises:
        UserError: there is no such network or schedule; names the nearest ones.
    """
    if reference.called:
        raise UserError(
            f"{where}: @{reference.name}() is what the call gives; leave out the parentheses"
        )
    found = _named(reference.name)
    if found is not None and found not in _CONFIGURED:
        return found
    known = dict.fromkeys(name for name in _LAST_NAMES if name not in _CONFIGURED)
    like = nearest(reference.name.rpartition(".")[2], known)
    near = f"; near it are {', '.join(f'@{one}' for one in like)}" if like else ""
    raise UserError(f"{where}: rrl knows no @{reference.name} of the released code{near}")

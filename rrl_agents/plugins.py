"""Code of other packages: by name, `package:attribute`, or declared as entry points.

Importing runs code, so a name in a file (a run's settings, a teacher's card) is never enough: a
`package:attribute` must be allowed first, which the command line does for the names that its user
writes. Entry points of installed packages can be imported by name, because the user has installed
them. A `Registry` looks up both, beside the built-in entries.
"""

from __future__ import annotations

import functools
import importlib
import importlib.metadata
import re
import sys
from collections.abc import Iterator, Mapping, MutableMapping
from pathlib import Path
from typing import Any, Generic, TypeVar

VARIABLE = "RRL_PLUGINS"
"""Environment variable of the `rrl` command with names to allow, separated by commas."""

_NAME = r"[A-Za-z_]\w*(?:\.[A-Za-z_]\w*)*"
_REFERENCE = re.compile(rf"{_NAME}:{_NAME}")

EntryT = TypeVar("EntryT")

_allowed: set[str] = set()


def is_reference(name: str) -> bool:
    """Whether a name has the form `package:attribute`; both parts may have dots."""
    return _REFERENCE.fullmatch(name) is not None


def allow(*names: str) -> None:
    """Allow `load` to import these; names not like `package:attribute` are ignored."""
    _allowed.update(name for name in names if ":" in name)


def check_allowed(name: str) -> None:
    """Refuse a name that the user has not allowed.

    Raises:
        ValueError: It is not allowed; says how to allow it.
    """
    if name not in _allowed:
        raise ValueError(
            f"{name!r} is code of another package, which is only imported when you name it: if you "
            f"trust it, set {VARIABLE}={name} in the environment of this command"
        )


def load(reference: str) -> Any:
    """Import the object that a reference names.

    Args:
        reference: `package:attribute`.

    Raises:
        ValueError: It is not a reference, is not allowed, or there is no such module or attribute.
    """
    if not is_reference(reference):
        raise ValueError(f"{reference!r} is not a reference; write package:attribute")
    check_allowed(reference)
    return _resolve(reference)


def _resolve(reference: str) -> Any:
    module, _, attribute = reference.partition(":")
    found: Any = import_module(module, reference)
    try:
        return functools.reduce(getattr, attribute.split("."), found)
    except AttributeError as error:
        raise ValueError(f"{reference}: the module {module} has no {attribute!r}") from error


def import_module(name: str, reference: str) -> object:
    """Import a module from Python's path, or else from the current directory.

    Args:
        name: Of the module.
        reference: The reference, which starts every message.

    Raises:
        ValueError: There is no such module, or importing it fails.
    """
    here = str(Path.cwd())
    if here not in sys.path and "" not in sys.path:
        sys.path.append(here)
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        if error.name is None or not f"{name}.".startswith(f"{error.name}."):
            raise ValueError(
                f"{reference}: the module {name} needs {error.name}, which is not installed here"
            ) from error
        raise ValueError(
            f"{reference}: there is no module {error.name!r}; install your package into this "
            f"environment ({sys.prefix}), or start in the directory that holds it (now {here}). "
            "There is no path of this name either"
        ) from error
    except (Exception, SystemExit) as error:
        raise ValueError(
            f"{reference}: importing {name} failed ({type(error).__name__}: {error})"
        ) from error


@functools.cache
def declared(group: str) -> Mapping[str, str]:
    """The entry points of a group that installed packages declare: name -> reference."""
    found = importlib.metadata.entry_points(group=group)
    return {entry.name: entry.value for entry in sorted(found, key=lambda entry: entry.name)}


class Registry(MutableMapping[str, EntryT], Generic[EntryT]):
    """Entries by name: built in, declared by installed packages, or named as `package:attribute`.

    Entries are imported on access. Iterating gives the built-in and the declared names; a
    `package:attribute` can be looked up, but is not listed. A built-in name takes precedence over a
    declared one.
    """

    def __init__(self, group: str, kind: type[EntryT], built_in: Mapping[str, EntryT]) -> None:
        """Start with the built-in entries.

        Args:
            group: Group of the entry points, e.g. "rrl.networks".
            kind: Type of the entries.
            built_in: Name -> entry.
        """
        self._group = group
        self._kind = kind
        self._entries = dict(built_in)
        self._imported: dict[str, EntryT] = {}

    def __getitem__(self, name: str) -> EntryT:
        """The entry of a name.

        Raises:
            KeyError: There is no such entry.
            ValueError: It is code of another package that is not allowed, cannot be imported, or
                has the wrong type.
        """
        known = {**self._imported, **self._entries}
        if name in known:
            return known[name]
        if name in self._declared:
            found = _resolve(self._declared[name])
        elif is_reference(name):
            found = load(name)
        else:
            raise KeyError(name)
        if not isinstance(found, self._kind):
            kind = f"{self._kind.__module__}.{self._kind.__qualname__}"
            raise ValueError(f"{name} of {self._group} is a {type(found).__name__}, not a {kind}")
        self._imported[name] = found
        return found

    @property
    def _declared(self) -> Mapping[str, str]:
        return declared(self._group)

    @property
    def imported(self) -> Mapping[str, EntryT]:
        """The entries that are already imported."""
        return {**self._entries, **self._imported}

    def __contains__(self, name: object) -> bool:
        """Whether there may be an entry of that name; imports nothing."""
        is_known = name in self._entries or name in self._declared
        return is_known or (isinstance(name, str) and is_reference(name))

    def __iter__(self) -> Iterator[str]:
        """The built-in names, then the declared ones."""
        return iter(dict.fromkeys([*self._entries, *self._declared]))

    def __len__(self) -> int:
        """The number of names."""
        return sum(1 for _ in self)

    def __setitem__(self, name: str, entry: EntryT) -> None:
        """Add an entry as if it were built in."""
        self._entries[name] = entry

    def __delitem__(self, name: str) -> None:
        """Remove an added entry."""
        del self._entries[name]

"""Code of other packages by name: `package:attribute`, and what installed packages declare.

Importing runs code. So nothing is imported that merely stands in a file (a run's settings, a
teacher's card): a `package:attribute` must have been allowed before, which the command line does
for the ones that its user writes. What an installed package declares as an entry point may be
imported by its name; the user has installed it. Both are looked up in a `Registry`, beside what is
built in.
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
    """Whether a name has the form of `package:attribute`; both may have dots."""
    return _REFERENCE.fullmatch(name) is not None


def allow(*names: str) -> None:
    """Let `load` import these; what is no `package:attribute` or `package:id` is passed over."""
    _allowed.update(name for name in names if ":" in name)


def check_allowed(name: str) -> None:
    """Refuse what the user has not named.

    Raises:
        ValueError: With how to allow it.
    """
    if name not in _allowed:
        raise ValueError(
            f"{name!r} is code of another package, which is only imported when you name it: if you "
            f"trust it, set {VARIABLE}={name} in the environment of this command"
        )


def load(reference: str) -> Any:
    """Import what a reference names.

    Args:
        reference: `package:attribute`.

    Raises:
        ValueError: It is none, is not allowed, or there is no such module or attribute; says which.
    """
    if not is_reference(reference):
        raise ValueError(f"{reference!r} is no reference; write package:attribute")
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
    """Import a module from where Python looks, and at last from the current directory.

    Args:
        name: Of the module.
        reference: What names it; begins every message.

    Raises:
        ValueError: There is no such module, or it fails; says why.
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
    """What installed packages declare as entry points of a group: name -> reference."""
    found = importlib.metadata.entry_points(group=group)
    return {entry.name: entry.value for entry in sorted(found, key=lambda entry: entry.name)}


class Registry(MutableMapping[str, EntryT], Generic[EntryT]):
    """Entries by name: built in, declared by installed packages, or named as `package:attribute`.

    Only what is asked for is imported. The names are the built-in ones and the declared ones; a
    `package:attribute` is no name of the list, and found all the same. A built-in name goes before
    a declared one.
    """

    def __init__(self, group: str, kind: type[EntryT], built_in: Mapping[str, EntryT]) -> None:
        """Begin with what is built in.

        Args:
            group: Of the entry points that packages declare, e.g. "rrl.networks".
            kind: What each entry is.
            built_in: Name -> entry.
        """
        self._group = group
        self._kind = kind
        self._entries = dict(built_in)
        self._imported: dict[str, EntryT] = {}

    def __getitem__(self, name: str) -> EntryT:
        """The entry of a name.

        Raises:
            KeyError: There is none.
            ValueError: It is code of another package that was not allowed, cannot be imported, or
                is something else.
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
        """The entries that nothing has to be imported for any more."""
        return {**self._entries, **self._imported}

    def __contains__(self, name: object) -> bool:
        """Whether there may be an entry of that name; nothing is imported."""
        is_known = name in self._entries or name in self._declared
        return is_known or (isinstance(name, str) and is_reference(name))

    def __iter__(self) -> Iterator[str]:
        """The built-in names, then the declared ones."""
        return iter(dict.fromkeys([*self._entries, *self._declared]))

    def __len__(self) -> int:
        """How many names there are."""
        return sum(1 for _ in self)

    def __setitem__(self, name: str, entry: EntryT) -> None:
        """Add an entry as if it were built in."""
        self._entries[name] = entry

    def __delitem__(self, name: str) -> None:
        """Take away what was added."""
        del self._entries[name]

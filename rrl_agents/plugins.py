"""Code of other packages by name: `package:attribute`, and what installed packages declare.

Importing runs code. So nothing is imported that merely stands in a file (a run's settings, a
teacher's card): a `package:attribute` must have been allowed before, which the command line does
for the ones that its user writes. What an installed package declares as an entry point may be
imported by its name; the user has installed it.
"""

from __future__ import annotations

import functools
import importlib
import importlib.metadata
import re
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

VARIABLE = "RRL_PLUGINS"
"""Environment variable of the `rrl` command with names to allow, separated by commas."""

_NAME = r"[A-Za-z_]\w*(?:\.[A-Za-z_]\w*)*"
_REFERENCE = re.compile(rf"{_NAME}:{_NAME}")

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
    module, _, attribute = reference.partition(":")
    return attribute_of(import_module(module, reference), attribute, reference)


def attribute_of(module: object, attribute: str, reference: str) -> Any:
    """What stands in a module under a name, which may have dots.

    Raises:
        ValueError: There is no such attribute.
    """
    try:
        return functools.reduce(getattr, attribute.split("."), module)
    except AttributeError as error:
        name = reference.partition(":")[0]
        raise ValueError(f"{reference}: the module {name} has no {attribute!r}") from error


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

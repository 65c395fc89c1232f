"""Gin files and single bindings, in their order, as one list of bindings without macros.

An included file is looked for beside the file that includes it, and then from the current folder,
as gin does. "reincarnating_rl/configs/NAME.gin", the path in the released README's commands, stands
for the file of that name that comes with this package where there is no such file; no other name is
replaced.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from rrl_agents.checkpoints.bounded_files import read_bounded
from services.cli.gin.parsing import (
    COMMAND_LINE,
    Binding,
    Include,
    Macro,
    MacroDefinition,
    Statement,
    parse,
)
from services.launcher.settings import nearest
from services.shared.errors import UserError

SHIPPED = Path(__file__).parent / "configs"
"""Gin files of our own writing, with the names of the released code's."""

RELEASED_FOLDER = Path("reincarnating_rl/configs")
"""Where the released code's repository has them."""

MAX_BYTES = 64 * 1024
"""Upper bound of a gin file; the released code's have 3 KB."""

MAX_INCLUDES = 16
"""How deep files may include each other."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class GinText:
    """What was read.

    Attributes:
        bindings: In their order; of two of one parameter the later counts.
        notes: What the user should know of how they were read.
    """

    bindings: tuple[Binding, ...]
    notes: tuple[str, ...]


def read(files: Sequence[str], single: Sequence[str]) -> GinText:
    """Read gin files, and then single bindings, which so override them.

    Args:
        files: Paths.
        single: Texts like "Runner.num_iterations = 1".

    Raises:
        UserError: a file is missing, too large or no gin, or a macro is not defined.
    """
    notes: list[str] = []
    statements: list[Statement] = []
    for file in files:
        statements += _statements_of_file(_found(file, [Path()], notes), file, (), notes)
    for text in single:
        statements += _with_included(parse(text, COMMAND_LINE), [Path()], (), notes)
    macros = {one.name: one for one in statements if isinstance(one, MacroDefinition)}
    bindings = tuple(
        dataclasses.replace(one, value=_without_macros(one.value, macros, one.where, ()))
        for one in statements
        if isinstance(one, Binding)
    )
    values = [one.value for one in statements if not isinstance(one, Include)]
    used = {name for value in values for name in _named(value)}
    notes += [
        f"{one.where}: {name} = ... gives a macro that nothing uses; a binding is NAME.PARAMETER = "
        "VALUE"
        for name, one in macros.items()
        if name not in used
    ]
    return GinText(bindings=bindings, notes=tuple(notes))


def _statements_of_file(
    path: Path, name: str, including: tuple[Path, ...], notes: list[str]
) -> Iterator[Statement]:
    """Statements of a file and of those it includes.

    Args:
        path: Where it is.
        name: What the user calls it.
        including: Files that are being read, each of which includes the next.
        notes: Takes what the user should know.
    """
    here = path.resolve()
    if here in including or len(including) >= MAX_INCLUDES:
        chain = " includes ".join(map(str, [*including, here]))
        raise UserError(f"gin files include each other: {chain}")
    try:
        content = read_bounded(path, MAX_BYTES, what="a gin file").decode("utf-8")
    except ValueError as error:
        raise UserError(f"--gin_files: {error}") from error
    folders = [path.parent, Path()]
    yield from _with_included(parse(content, name), folders, (*including, here), notes)


def _with_included(
    statements: Sequence[Statement],
    folders: Sequence[Path],
    including: tuple[Path, ...],
    notes: list[str],
) -> Iterator[Statement]:
    """Statements with those of included files in the places of includes."""
    for one in statements:
        if isinstance(one, Include):
            path = _found(one.path, folders, notes)
            yield from _statements_of_file(path, one.path, including, notes)
        else:
            yield one


def _found(name: str, folders: Sequence[Path], notes: list[str]) -> Path:
    """The file of a name, in the first of some folders that has it."""
    for folder in folders:
        if (path := folder / name).exists():
            return path
    path, shipped = Path(name), SHIPPED / Path(name).name
    if path.parent.parts[-2:] == RELEASED_FOLDER.parts and shipped.is_file():
        notes.append(f"{name} is not there: reading the {path.name} that comes with rrl instead")
        return shipped
    looked = " or ".join(dict.fromkeys(str(folder.absolute()) for folder in folders))
    raise UserError(f"--gin_files: {name} is not there (looked in {looked}); {_shipped(path)}")


def _shipped(path: Path) -> str:
    """What rrl ships in place of a file that is missing."""
    known = {one.stem: one for one in sorted(SHIPPED.glob("*.gin"))}
    like = (
        [path.stem] if path.stem in known and path.suffix == ".gin" else nearest(path.stem, known)
    )
    near = " or ".join(f"{RELEASED_FOLDER / one}.gin" for one in like)
    advice = f"for the released code's, give {near}" if near else "it is none of the released code"
    return f"{advice}; rrl ships {', '.join(one.name for one in known.values())}"


def _named(value: object) -> Iterator[str]:
    """Names of the macros in a value."""
    if isinstance(value, Macro):
        yield value.name
    elif isinstance(value, list | tuple):
        for one in value:
            yield from _named(one)


def _without_macros(
    value: object, macros: Mapping[str, MacroDefinition], where: str, within: tuple[str, ...]
) -> object:
    if isinstance(value, Macro):
        if value.name in within:
            raise UserError(f"{where}: the macro %{value.name} is defined by itself")
        if value.name not in macros:
            like = nearest(value.name, macros)
            near = f"; did you mean %{like[0]}?" if like else ""
            raise UserError(f"{where}: nothing defines the macro %{value.name}{near}")
        return _without_macros(macros[value.name].value, macros, where, (*within, value.name))
    if isinstance(value, list | tuple):
        return type(value)(_without_macros(one, macros, where, within) for one in value)
    return value

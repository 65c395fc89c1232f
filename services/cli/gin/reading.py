"""Gin files and single bindings, in their order, as one list of bindings without macros.

gin-config's own parser reads the text. Its delegate here keeps the names of references and macros,
so nothing is imported, looked up or run, and gin's global state is not touched. `import` statements
are skipped; scopes, which the released code of Agarwal et al., 2022, does not use, are refused.

An included file is looked for beside the file that includes it, and then from the current folder,
as gin does. "reincarnating_rl/configs/NAME.gin", the path in the released README's commands, stands
for the file of that name that comes with this package where there is no such file; no other name is
replaced.
"""

from __future__ import annotations

import dataclasses
import tokenize
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from gin import config_parser

from rrl_agents.checkpoints.bounded_files import read_bounded
from services.launcher.settings import nearest
from services.shared.errors import UserError

SHIPPED = Path(__file__).parent / "configs"
"""Gin files of our own writing, with the names of the released code's."""

RELEASED_FOLDER = Path("reincarnating_rl/configs")
"""Where the released code's repository has them."""

COMMAND_LINE = "--gin_bindings"
"""Origin of a binding that stands in no file."""

MAX_BYTES = 64 * 1024
"""Upper bound of a gin file; the released code's have 3 KB."""

MAX_INCLUDES = 16
"""How deep files may include each other."""

_SHOWN = 120

# What gin's parser raises on text that is no gin.
_NO_GIN = (SyntaxError, ValueError, TypeError, StopIteration, RecursionError, tokenize.TokenError)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Reference:
    """`@name`: something of the released code itself.

    Attributes:
        name: Its name, with or without modules before it.
        called: Whether `()` stands after it.
    """

    name: str
    called: bool = False


@dataclasses.dataclass(frozen=True, kw_only=True)
class Macro:
    """`%name`: the value that `name = ...` gives elsewhere."""

    name: str


@dataclasses.dataclass(frozen=True, kw_only=True)
class Binding:
    """`selector.parameter = value`.

    Attributes:
        selector: Function or class, with or without modules before it.
        parameter: Of that.
        value: A number, text, boolean, None, container of these, or reference.
        origin: The file, or `COMMAND_LINE`.
        where: The same with the line, for messages.
    """

    selector: str
    parameter: str
    value: object
    origin: str
    where: str


def read(files: Sequence[str], single: Sequence[str]) -> tuple[list[Binding], list[str]]:
    """Read gin files, and then single bindings, which so override them.

    Args:
        files: Paths.
        single: Texts like "Runner.num_iterations = 1".

    Returns:
        The bindings in their order, of two of one parameter the later counts; and what the user
        should know of how they were read.

    Raises:
        UserError: a file is missing, too large or no gin, or a macro is not defined.
    """
    reader = _Reader()
    for file in files:
        reader.read_file(file, [Path()], ())
    for text in single:
        reader.read_text(text, COMMAND_LINE, [Path()], ())
    return reader.without_macros(), reader.notes


class _Delegate(config_parser.ParserDelegate):  # type: ignore[misc]
    def configurable_reference(self, scoped_configurable_name: str, evaluate: bool) -> Reference:
        return Reference(name=scoped_configurable_name, called=evaluate)

    def macro(self, macro_name: str) -> Macro:
        return Macro(name=macro_name)


class _Reader:
    def __init__(self) -> None:
        self.notes: list[str] = []
        self._bindings: list[Binding] = []
        self._macros: dict[str, Binding] = {}
        self._used: set[str] = set()

    def read_file(self, name: str, folders: Sequence[Path], including: tuple[Path, ...]) -> None:
        """Read a file and those it includes.

        Args:
            name: What the user calls it.
            folders: Where it is looked for.
            including: Files that are being read, each of which includes the next.
        """
        path = self._found(name, folders)
        here = path.resolve()
        if here in including or len(including) >= MAX_INCLUDES:
            chain = " includes ".join(map(str, [*including, here]))
            raise UserError(f"gin files include each other: {chain}")
        try:
            content = read_bounded(path, MAX_BYTES, what="a gin file").decode("utf-8")
        except ValueError as error:
            raise UserError(f"--gin_files: {error}") from error
        self.read_text(content, name, [path.parent, Path()], (*including, here))

    def read_text(
        self, text: str, origin: str, folders: Sequence[Path], including: tuple[Path, ...]
    ) -> None:
        """Read the text of a file, or a single binding."""
        for statement in _parsed(text, origin):
            if isinstance(statement, config_parser.IncludeStatement):
                self.read_file(statement.filename, folders, including)
            elif isinstance(statement, config_parser.BindingStatement):
                self._keep(statement, origin)

    def without_macros(self) -> list[Binding]:
        """The bindings; macros that none of them uses are noted."""
        found = [
            dataclasses.replace(one, value=self._resolved(one.value, one.where))
            for one in self._bindings
        ]
        self.notes += [
            f"{one.where}: {name} = ... gives a macro that nothing uses; a binding is "
            "NAME.PARAMETER = VALUE"
            for name, one in self._macros.items()
            if name not in self._used
        ]
        return found

    def _found(self, name: str, folders: Sequence[Path]) -> Path:
        for folder in folders:
            if (path := folder / name).exists():
                return path
        path, shipped = Path(name), SHIPPED / Path(name).name
        if path.parent.parts[-2:] == RELEASED_FOLDER.parts and shipped.is_file():
            self.notes.append(
                f"{name} is not there: reading the {path.name} that comes with rrl instead"
            )
            return shipped
        looked = " or ".join(dict.fromkeys(str(folder.absolute()) for folder in folders))
        raise UserError(f"--gin_files: {name} is not there (looked in {looked}); {_shipped(path)}")

    def _keep(self, statement: Any, origin: str) -> None:
        scope, selector, parameter = statement.scope, statement.selector, statement.arg_name
        line = "" if origin == COMMAND_LINE else f" line {statement.location.line_num}"
        found = Binding(
            selector=selector,
            parameter=parameter,
            value=statement.value,
            origin=origin,
            where=f"{origin}{line}",
        )
        if (selector, parameter) == ("macro", "value") and scope:
            self._macros[scope] = found
        elif not parameter:
            self._macros[f"{scope}/{selector}" if scope else selector] = found
        elif scope:
            raise UserError(
                f"{found.where}: {scope}/{selector}.{parameter} has the scope {scope!r}; the "
                f"released code uses no scopes: give {selector}.{parameter}"
            )
        else:
            self._bindings.append(found)

    def _resolved(self, value: object, where: str, within: tuple[str, ...] = ()) -> object:
        if isinstance(value, (list, tuple)):
            return type(value)(self._resolved(one, where, within) for one in value)
        if not isinstance(value, Macro):
            return value
        if value.name in within:
            raise UserError(f"{where}: the macro %{value.name} is defined by itself")
        if value.name not in self._macros:
            like = nearest(value.name, self._macros)
            near = f"; did you mean %{like[0]}?" if like else ""
            raise UserError(f"{where}: nothing defines the macro %{value.name}{near}")
        self._used.add(value.name)
        return self._resolved(self._macros[value.name].value, where, (*within, value.name))


def _parsed(text: str, origin: str) -> list[Any]:
    """Statements of gin's parser.

    Raises:
        UserError: it is no gin; says in which line.
    """
    try:
        return list(config_parser.ConfigParser(text, _Delegate()))
    except _NO_GIN as error:
        line, why = "", f"{type(error).__name__}: {error}"
        if isinstance(error, SyntaxError):
            if origin != COMMAND_LINE and error.lineno is not None:
                line = f" line {error.lineno}"
            why = str(error.msg).splitlines()[0]
            why += f": {error.text.strip()[:_SHOWN]!r}" if error.text else ""
        raise UserError(
            f"{origin}{line} is no gin ({why}); a binding is NAME.PARAMETER = VALUE, with quotes "
            "around a text"
        ) from error


def _shipped(path: Path) -> str:
    """What rrl ships in place of a file that is missing."""
    known = {one.stem: one for one in sorted(SHIPPED.glob("*.gin"))}
    exact = path.suffix == ".gin" and path.stem in known
    like = (path.stem,) if exact else nearest(path.stem, known)
    near = " or ".join(f"{RELEASED_FOLDER / one}.gin" for one in like)
    advice = f"for the released code's, give {near}" if near else "it is none of the released code"
    return f"{advice}; rrl ships {', '.join(one.name for one in known.values())}"

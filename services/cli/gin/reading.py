"""Gin files and single bindings, in their order, as one list of bindings.

gin-config's own parser reads the text. Its delegate here keeps the names of references, so nothing
is imported, looked up or run, and gin's global state is not touched. `import` statements are
skipped; includes, macros and scopes, which the released code of Agarwal et al., 2022, does not use,
are refused.

"reincarnating_rl/configs/NAME.gin", the path in the released README's commands, stands
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
        UserError: a file is missing, too large or no gin, or uses includes, macros or scopes.
    """
    reader = _Reader()
    for file in files:
        reader.read_file(file)
    for text in single:
        reader.read_text(text, COMMAND_LINE)
    return reader.bindings, reader.notes


class _Delegate(config_parser.ParserDelegate):  # type: ignore[misc]
    def configurable_reference(self, scoped_configurable_name: str, evaluate: bool) -> Reference:
        return Reference(name=scoped_configurable_name, called=evaluate)

    def macro(self, macro_name: str) -> object:
        raise ValueError(f"macros are unsupported: write the value of %{macro_name} in its place")


class _Reader:
    def __init__(self) -> None:
        self.notes: list[str] = []
        self.bindings: list[Binding] = []

    def read_file(self, name: str) -> None:
        """Read a file."""
        path = self._found(name)
        try:
            content = read_bounded(path, MAX_BYTES, what="a gin file").decode("utf-8")
        except ValueError as error:
            raise UserError(f"--gin_files: {error}") from error
        self.read_text(content, name)

    def read_text(self, text: str, origin: str) -> None:
        """Read the text of a file, or a single binding."""
        for statement in _parsed(text, origin):
            if isinstance(statement, config_parser.IncludeStatement):
                raise UserError(
                    f"{origin}: include is unsupported; give {statement.filename} as one more of "
                    "--gin_files"
                )
            if isinstance(statement, config_parser.BindingStatement):
                self._keep(statement, origin)

    def _found(self, name: str) -> Path:
        path, shipped = Path(name), SHIPPED / Path(name).name
        if path.exists():
            return path
        if path.parent.parts[-2:] == RELEASED_FOLDER.parts and shipped.is_file():
            self.notes.append(
                f"{name} is not there: reading the {path.name} that comes with rrl instead"
            )
            return shipped
        raise UserError(f"--gin_files: {name} is not there; {_shipped(path)}")

    def _keep(self, statement: Any, origin: str) -> None:
        scope, selector, parameter = statement.scope, statement.selector, statement.arg_name
        line = "" if origin == COMMAND_LINE else f" line {statement.location.line_num}"
        where = f"{origin}{line}"
        if scope:
            raise UserError(
                f"{where}: {scope}/{selector}.{parameter} has the scope {scope!r}; the "
                f"released code uses no scopes: give {selector}.{parameter}"
            )
        self.bindings.append(
            Binding(
                selector=selector,
                parameter=parameter,
                value=statement.value,
                origin=origin,
                where=where,
            )
        )


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

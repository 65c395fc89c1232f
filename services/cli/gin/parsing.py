"""Gin text as bindings: read by gin-config's own parser, which imports and runs nothing.

Of gin's language this takes bindings, blocks of them, references, macros and includes; `import`
statements are read over, as nothing of what they name is used. Scopes, which the released code of
Agarwal et al., 2022, has no use for, are refused.
"""

from __future__ import annotations

import dataclasses
import tokenize
from collections.abc import Iterator
from typing import Any

from gin import config_parser

from services.shared.errors import UserError

COMMAND_LINE = "--gin_bindings"
"""Origin of what stands in no file."""

_SHOWN = 120


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
        value: A number, text, boolean, None, container of these, reference or macro.
        origin: The file, or `COMMAND_LINE`.
        where: The same with the line, for messages.
    """

    selector: str
    parameter: str
    value: object
    origin: str
    where: str


@dataclasses.dataclass(frozen=True, kw_only=True)
class MacroDefinition:
    """`name = value`."""

    name: str
    value: object
    where: str


@dataclasses.dataclass(frozen=True, kw_only=True)
class Include:
    """`include 'path'`."""

    path: str
    where: str


Statement = Binding | MacroDefinition | Include


class _Delegate(config_parser.ParserDelegate):  # type: ignore[misc]
    """Keeps the names of references and macros; looks nothing up."""

    def configurable_reference(self, scoped_configurable_name: str, evaluate: bool) -> Reference:
        return Reference(name=scoped_configurable_name, called=evaluate)

    def macro(self, macro_name: str) -> Macro:
        return Macro(name=macro_name)


def parse(text: str, origin: str) -> list[Statement]:
    """Read gin text.

    Args:
        text: Of a file, or one binding.
        origin: What to call it in messages.

    Returns:
        Its statements, in their order.

    Raises:
        UserError: it is no gin, or has a scope; says in which line.
    """
    try:
        return list(_statements(text, origin))
    except SyntaxError as error:
        known = origin != COMMAND_LINE and error.lineno is not None
        line = f" line {error.lineno}" if known else ""
        shown = f": {error.text.strip()[:_SHOWN]!r}" if error.text else ""
        first = str(error.msg).splitlines()[0]
        raise UserError(
            f"{origin}{line} is no gin ({first}){shown}; a binding is NAME.PARAMETER = VALUE, with "
            "quotes around a text"
        ) from error
    # What the parser lets through of text that is no gin at all.
    except (ValueError, TypeError, StopIteration, RecursionError, tokenize.TokenError) as error:
        raise UserError(
            f"{origin} is no gin ({type(error).__name__}: {error}); a binding is NAME.PARAMETER = "
            "VALUE, with quotes around a text"
        ) from error


def _statements(text: str, origin: str) -> Iterator[Statement]:
    for statement in config_parser.ConfigParser(text, _Delegate()):
        line = "" if origin == COMMAND_LINE else f" line {statement.location.line_num}"
        where = f"{origin}{line}"
        if isinstance(statement, config_parser.IncludeStatement):
            yield Include(path=statement.filename, where=where)
        elif isinstance(statement, config_parser.BindingStatement):
            yield _bound(statement, origin, where)


def _bound(statement: Any, origin: str, where: str) -> Binding | MacroDefinition:
    scope, selector, parameter = statement.scope, statement.selector, statement.arg_name
    if not parameter:
        name = f"{scope}/{selector}" if scope else selector
        return MacroDefinition(name=name, value=statement.value, where=where)
    if (selector, parameter) == ("macro", "value") and scope:
        return MacroDefinition(name=scope, value=statement.value, where=where)
    if scope:
        raise UserError(
            f"{where}: {scope}/{selector}.{parameter} has the scope {scope!r}; the released code "
            f"uses no scopes, so that this changes nothing there: give {selector}.{parameter}"
        )
    return Binding(
        selector=selector,
        parameter=parameter,
        value=statement.value,
        origin=origin,
        where=where,
    )

"""Reads gin files and bindings into parameter values, with defaults for the rest.

gin-config's own parser reads the text. The delegate here only keeps the names of references:
nothing is imported, looked up or run, and gin's global state is untouched. `import` statements are
skipped; includes, macros and scopes, which the released files do not use, are refused.

If "reincarnating_rl/configs/NAME.gin", the path in the released README's commands, does not exist,
the file of that name that ships with this package is read instead. No other path is replaced.
"""

from __future__ import annotations

import dataclasses
import reprlib
import tokenize
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from gin import config_parser

from rrl_agents.checkpoints.bounded_files import read_bounded
from rrl_agents.typed_json import Misfit, fitted
from services.cli.gin.names import PARAMETERS, present_name
from services.launcher.settings import nearest
from services.shared.errors import UserError, user_errors

SHIPPED = Path(__file__).parent / "configs"
"""Our own gin files, named like the released ones."""

RELEASED_FOLDER = Path("reincarnating_rl/configs")
"""Their folder in the released repository."""

COMMAND_LINE = "--gin_bindings"
"""The origin of bindings given on the command line."""

MAX_BYTES = 64 * 1024
"""Upper bound of a gin file; the released ones have 3 KB."""

# What gin's parser raises on invalid text.
_NO_GIN = (SyntaxError, ValueError, TypeError, StopIteration, RecursionError, tokenize.TokenError)


@dataclasses.dataclass(frozen=True)
class Bound:
    """The value bound to a parameter.

    Attributes:
        value: A number, text, boolean, None, or container of these; "@NAME" for a reference.
        where: The file and its line, or `COMMAND_LINE`.
    """

    value: object
    where: str


def read(files: Sequence[str], single: Sequence[str]) -> dict[str, Bound]:
    """Read gin files, then single bindings, which override them.

    Args:
        files: Paths.
        single: Texts like "Runner.num_iterations = 1".

    Returns:
        Key of `PARAMETERS` -> its value; the later of two bindings wins.

    Raises:
        UserError: a file is missing, too large or invalid gin, or a binding names an unknown
            parameter.
    """
    bound: dict[str, Bound] = {}
    for file in files:
        with user_errors(prefix="--gin_files: "):
            text = read_bounded(_found(file), MAX_BYTES, what="a gin file").decode("utf-8")
        bound.update(_bindings(text, file))
    for text in single:
        bound.update(_bindings(text, COMMAND_LINE))
    return bound


class Values:
    """The values of all parameters.

    Attributes:
        notes: Notes for the user on how values were read.
    """

    def __init__(self, bound: Mapping[str, Bound]) -> None:
        """Take the bindings."""
        self._bound = bound
        self._read: set[str] = set()
        self.notes: list[str] = []

    def __getitem__(self, name: str) -> Any:
        """The value of a parameter; for one with choices, what the choice becomes in rrl.

        Raises:
            UserError: its type differs from the default's, or it is not one of the choices.
        """
        self._read.add(name)
        how, value = PARAMETERS[name], self._value(name)
        # Gin files write 1e6 for a whole number.
        whole = int(value) if type(value) is float and value.is_integer() else value
        try:
            found = fitted(type(how.default), whole)
        except Misfit:
            raise self.refuse(name, f"give a value like {_shown(how.default)}") from None
        if how.choices is None:
            return found
        if found in how.choices:
            return how.choices[found]
        choices = " or ".join(map(_shown, how.choices))
        if name in self._bound or len(how.choices) > 1:
            raise self.refuse(name, f"give {choices}")
        self.notes.append(
            f"{name} is {choices}, which nothing binds; the released code's default is "
            f"{_shown(value)}"
        )
        return next(iter(how.choices.values()))

    def is_bound(self, name: str) -> bool:
        """Whether a parameter is bound."""
        return name in self._bound

    def where(self, name: str) -> str:
        """Where a parameter got its value."""
        return self._bound[name].where if name in self._bound else "the released code's default"

    def refuse(self, name: str, advice: str) -> UserError:
        """The error to raise for an unsupported value."""
        shown = _shown(self._value(name))
        return UserError(f"{self.where(name)}: {name} = {shown} is not supported; {advice}")

    def unread(self) -> list[str]:
        """The bound parameters that were never read."""
        return [name for name in self._bound if name not in self._read]

    def _value(self, name: str) -> object:
        return self._bound[name].value if name in self._bound else PARAMETERS[name].default


def _shown(value: object) -> str:
    is_reference = isinstance(value, str) and value.startswith("@")
    return str(value) if is_reference else reprlib.repr(value)


class _Delegate(config_parser.ParserDelegate):  # type: ignore[misc]
    def configurable_reference(self, scoped_configurable_name: str, evaluate: bool) -> str:
        name = present_name(scoped_configurable_name.rpartition(".")[2])
        return f"@{name}()" if evaluate else f"@{name}"

    def macro(self, macro_name: str) -> object:
        raise UserError(
            f"--gin_bindings or --gin_files: %{macro_name} is a macro, which is unsupported; write "
            "the value in its place"
        )


def _found(name: str) -> Path:
    path, shipped = Path(name), SHIPPED / Path(name).name
    if path.exists():
        return path
    if path.parent.parts[-2:] == RELEASED_FOLDER.parts and shipped.is_file():
        return shipped
    known = ", ".join(sorted(one.name for one in SHIPPED.glob("*.gin")))
    raise UserError(
        f"--gin_files: {name} is not there; for the released code's files give "
        f"{RELEASED_FOLDER}/NAME, NAME one of {known}"
    )


def _bindings(text: str, origin: str) -> Iterator[tuple[str, Bound]]:
    try:
        statements = list(config_parser.ConfigParser(text, _Delegate()))
    except _NO_GIN as error:
        line = f" line {error.lineno}" if isinstance(error, SyntaxError) else ""
        raise UserError(
            f"{origin}{line} is not valid gin; a binding is NAME.PARAMETER = VALUE, with quotes "
            "around a text"
        ) from error
    for statement in statements:
        if isinstance(statement, config_parser.IncludeStatement):
            raise UserError(
                f"{origin}: include is unsupported; give {statement.filename} to --gin_files"
            )
        if isinstance(statement, config_parser.BindingStatement):
            where = origin
            if origin != COMMAND_LINE:
                where += f" line {statement.location.line_num}"
            yield _parameter_of(statement, where), Bound(statement.value, where)


def _parameter_of(statement: Any, where: str) -> str:
    """The parameter that a binding sets, as `PARAMETERS` names it."""
    scope = f"{statement.scope}/" if statement.scope else ""
    given = f"{scope}{statement.selector}.{statement.arg_name}".rstrip(".")
    owner, _, parameter = given.rpartition(".")
    name = present_name(f"{owner.rpartition('.')[2]}.{parameter}")
    if name in PARAMETERS and not scope:
        return name
    like = nearest(name, PARAMETERS)
    near = f"did you mean {' or '.join(like)}? Otherwise " if like else ""
    raise UserError(
        f"{where}: rrl has no setting for {given}; {near}leave it out (docs/gin.md names the table "
        "of all that is read)"
    )

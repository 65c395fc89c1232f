"""Tables as CSV files that anybody can read: a header, then a row per thing.

Rows are frozen dataclasses; a field is a column. Numbers are written so that they are read back
equal; nothing is an empty cell.
"""

from __future__ import annotations

import csv
import dataclasses
import io
import math
from collections.abc import Iterable
from pathlib import Path
from typing import Any, TypeVar, get_type_hints

from rrl_agents.checkpoints.bounded_files import read_bounded
from services.bench.folder import replace_text
from services.shared.errors import UserError, user_errors

MAX_FILE_BYTES = 256 * 2**20
"""Larger tables are refused; one of 10,000 runs has some tens of megabytes."""

RowT = TypeVar("RowT")


def write_rows(path: Path, kind: type[RowT], rows: Iterable[RowT]) -> None:
    """Write a table, whole or not at all.

    Args:
        path: The file; its folder is made.
        kind: Class of the rows: its fields are the columns.
        rows: In the order of the file.
    """
    names = [field.name for field in dataclasses.fields(_dataclass(kind))]
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(names)
    writer.writerows([_written(getattr(row, name)) for name in names] for row in rows)
    replace_text(path, text.getvalue())


def read_rows(path: Path, kind: type[RowT]) -> tuple[RowT, ...]:
    """Read a table.

    Args:
        path: The file.
        kind: Class of the rows; fields are text, whole or finite numbers, truths, or None.

    Raises:
        UserError: it is not there or too large, its columns are others, or a cell is no such value.
    """
    with user_errors():
        content = read_bounded(path, MAX_FILE_BYTES, what="a table of results")
    try:
        text = io.StringIO(content.decode("utf-8"), newline="")
        return tuple(_rows(csv.reader(text, strict=True), kind))
    except (ValueError, csv.Error) as error:
        raise UserError(f"{path} cannot be read ({error}); restore it") from error


def _rows(reader: Iterable[list[str]], kind: type[RowT]) -> Iterable[RowT]:
    types = get_type_hints(kind)
    lines = iter(reader)
    header = next(lines, [])
    if header != list(types):
        raise ValueError(f"its columns are {header}, not {list(types)}")
    for number, cells in enumerate(lines, start=2):
        if len(cells) != len(types):
            raise ValueError(f"line {number} has {len(cells)} cells, not {len(types)}")
        try:
            values = [_read(cell, hint) for cell, hint in zip(cells, types.values(), strict=True)]
        except ValueError as error:
            raise ValueError(f"line {number}: {error}") from error
        yield kind(*values)


def _written(value: object) -> str:
    if value is None:
        return ""
    # repr gives the shortest text that is read back as the same float.
    return repr(value) if isinstance(value, float) else str(value)


def _read(cell: str, hint: Any) -> object:
    alternatives = getattr(hint, "__args__", (hint,))
    if cell == "" and type(None) in alternatives:
        return None
    kind = alternatives[0]
    if kind is bool:
        if cell not in ("True", "False"):
            raise ValueError(f"{cell!r} is neither True nor False")
        return cell == "True"
    value = kind(cell)
    if isinstance(value, float) and not math.isfinite(value):
        raise ValueError(f"{cell!r} is not finite")
    return value


def _dataclass(kind: type[Any]) -> Any:
    return kind

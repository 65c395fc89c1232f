"""Tables as CSV files: a header, then a row per thing.

Rows are frozen dataclasses; a field is a column. Numbers are written so that they are read back
equal; None is an empty cell.
"""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterable
from pathlib import Path
from typing import TypeVar, get_type_hints

from rrl_agents.checkpoints.bounded_files import read_bounded
from rrl_agents.durable_files import make_folders, write_whole
from rrl_agents.typed_json import decode
from services.shared.errors import UserError, user_errors

MAX_FILE_BYTES = 256 * 2**20
"""Larger tables are refused; one of 10,000 runs has some tens of megabytes."""

_CONSTANTS = {"": None, "True": True, "False": False}

RowT = TypeVar("RowT")


def write_rows(path: Path, kind: type[RowT], rows: Iterable[RowT]) -> None:
    """Write a table, whole or not at all.

    Args:
        path: The file; its folder is made.
        kind: Class of the rows: its fields are the columns.
        rows: In the order of the file.
    """
    names = [*get_type_hints(kind)]
    text = io.StringIO()
    # csv writes None as an empty cell, and a float as the shortest text that is read back equal.
    writer = csv.writer(text, lineterminator="\n")
    writer.writerows([names, *([getattr(row, name) for name in names] for row in rows)])
    make_folders(path.parent)
    write_whole(path, text.getvalue())


def read_rows(path: Path, kind: type[RowT]) -> tuple[RowT, ...]:
    """Read a table.

    Args:
        path: The file.
        kind: Class of the rows; fields are text, whole or finite numbers, truths, or None.

    Raises:
        UserError: it is not there or too large, its columns are others, or a cell is no such value.
    """
    types = get_type_hints(kind)
    with user_errors():
        content = read_bounded(path, MAX_FILE_BYTES, what="a table of results")
    try:
        text = io.StringIO(content.decode("utf-8"), newline="")
        lines = csv.reader(text, strict=True)
        if (header := next(lines, [])) != [*types]:
            raise ValueError(f"its columns are {header}, not {[*types]}")
        rows = []
        for number, cells in enumerate(lines, start=2):
            if len(cells) != len(types):
                raise ValueError(f"line {number} has {len(cells)} cells, not {len(types)}")
            pairs = zip(types, cells, strict=True)
            row = {name: cell if types[name] is str else _value(cell) for name, cell in pairs}
            rows.append(decode(kind, row, f"line {number}"))
        return tuple(rows)
    except (ValueError, csv.Error) as error:
        raise UserError(f"{path} cannot be read ({error}); restore it") from error


def _value(cell: str) -> object:
    """The number, truth or None of a cell; other text stays, and is refused for its column."""
    if cell in _CONSTANTS:
        return _CONSTANTS[cell]
    try:
        return json.loads(cell)
    except (ValueError, RecursionError):
        return cell

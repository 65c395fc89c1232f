"""Markdown with texts from anywhere: none can end a table, start a link or steer a terminal."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

# What has a meaning in CommonMark, anywhere in a line; an underscore only at the edge of a word.
_MARKUP = re.compile(r"([\\`*{}\[\]<>()#|!~&]|(?<![^\W_])_|_(?![^\W_]))")


def one_line(text: str) -> str:
    """The text without line ends and without what would steer a terminal."""
    return " ".join("".join(c if c.isprintable() else " " for c in text).split())


def escaped(text: str) -> str:
    """One line without markup."""
    return _MARKUP.sub(r"\\\1", one_line(text))


def code_block(text: str) -> str:
    """One line of code."""
    # An indented block has no fence that the text could end.
    return f"    {one_line(text)}"


def table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A table; cells are Markdown.

    Args:
        header: Titles of the columns.
        rows: Each with as many cells.
    """
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)

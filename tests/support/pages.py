"""The pages of the documentation, their fenced blocks, and the commands in blocks of shell."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parents[2]
PAGES = sorted(
    [
        *ROOT.glob("*.md"),
        *(ROOT / "docs").rglob("*.md"),
        *(ROOT / "examples").rglob("*.md"),
        ROOT / "rrl_client" / "README.md",
    ]
)


class Block(NamedTuple):
    """A fenced block: its page, line, language and text."""

    page: str
    line: int
    language: str
    text: str

    def __str__(self) -> str:
        return f"{self.page}:{self.line}"


class Command(NamedTuple):
    """A command line, without its comment and with its continuation lines joined."""

    block: str
    page: str
    text: str

    def __str__(self) -> str:
        return f"{self.block}: {self.text}"

    @property
    def words(self) -> list[str]:
        return shlex.split(self.text)


def blocks(language: str) -> Iterator[Block]:
    """All blocks of a language, in the order of the pages."""
    for path in PAGES:
        text = path.read_text()
        for found in re.finditer(r"^( *)```(\w*)\n(.*?)^ *```", text, re.MULTILINE | re.DOTALL):
            if found[2] == language:
                line = text[: found.start()].count("\n") + 1
                yield Block(str(path.relative_to(ROOT)), line, found[2], found[3])


def commands() -> Iterator[Command]:
    """All commands in blocks of shell, in the order of the pages."""
    for block in blocks("sh"):
        for line in re.sub(r"\\\n\s*", " ", block.text).splitlines():
            # What may be left out stands in brackets.
            text = re.sub(r"\[(--[^\]]*)\]", r"\1", re.sub(r"(^|\s)#.*$", "", line)).strip()
            if text:
                yield Command(str(block), block.page, text)

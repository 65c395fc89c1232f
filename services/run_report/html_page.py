"""HTML pages of reports: single files that need no network, with inline images, light and dark."""

from __future__ import annotations

import base64
import html
from collections.abc import Sequence
from pathlib import Path
from typing import Any

PAGE_FILE = "index.html"

# The content security policy enforces this: the page loads nothing and runs no script. Wide tables
# scroll in their own boxes, so that the page itself never scrolls sideways.
_PAGE = """<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy"
 content="default-src 'none'; img-src data:; style-src 'unsafe-inline'">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{title}</title>
<style>
:root {{ color-scheme: light dark; }}
body {{ font: 16px/1.5 system-ui, sans-serif; max-width: 62rem; margin: auto; padding: 1rem;
 overflow-wrap: anywhere; }}
img {{ max-width: 100%; height: auto; background: #fff; }}
figure {{ margin: 1rem 0; }}
table {{ display: block; width: fit-content; max-width: 100%; overflow-x: auto;
 border-collapse: collapse; overflow-wrap: normal; }}
th, td {{ padding: .2rem .6rem; text-align: left; vertical-align: top;
 border-bottom: 1px solid #8886; }}
pre {{ white-space: pre-wrap; padding: .5rem; border: 1px solid #8886; }}
</style>
{body}
</html>
"""


def html_page(title: str, body: str) -> str:
    """Make a page.

    Args:
        title: Plain text.
        body: HTML.
    """
    return _PAGE.format(title=html.escape(title), body=body)


def inline_image(file: Path, alt: str) -> str:
    """An image as HTML with its bytes inline.

    Args:
        file: The image, .png or .gif.
        alt: Alternative text, plain.

    Raises:
        OSError: the file cannot be read.
    """
    data = base64.b64encode(file.read_bytes()).decode()
    kind = file.suffix.removeprefix(".")
    return f'<img src="data:image/{kind};base64,{data}" alt="{html.escape(alt)}">'


def markdown_page(title: str, text: str, folder: Path) -> str:
    """Make a page from Markdown.

    Args:
        title: Plain text.
        text: CommonMark with tables; HTML in it is shown as text.
        folder: Folder of the images that the text refers to.

    Raises:
        OSError: an image cannot be read.
    """
    # Imported here: launching a run imports this module, but needs Markdown only at the end.
    from markdown_it import MarkdownIt
    from markdown_it.token import Token

    parser = MarkdownIt("commonmark", {"html": False}).enable("table")

    def image(_: Any, tokens: Sequence[Token], index: int, *__: Any) -> str:
        token = tokens[index]
        return inline_image(folder / Path(str(token.attrs["src"])).name, token.content)

    parser.add_render_rule("image", image)
    return html_page(title, parser.render(text))

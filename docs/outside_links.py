"""An MkDocs hook: links to files outside docs/, which have no page, become paths."""

import re

_OUTSIDE = re.compile(r"\[([^\]]*)\]\((?:\.\./)+([\w./-]+)[^)]*\)")


def on_page_markdown(markdown: str, **_: object) -> str:
    """Replace "[text](../path)" by text and path, where the path is outside docs/."""
    return _OUTSIDE.sub(_as_path, markdown)


def _as_path(link: re.Match[str]) -> str:
    text, path = link.groups()
    if path.endswith(".md") and "/" not in path:
        return link[0]
    return f"`{path}`" if text in path else f"{text} (`{path}`)"

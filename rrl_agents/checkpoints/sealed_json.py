"""JSON documents with the SHA-256 of their content, so that changes are detected on reading.

The digest covers the content, not the text: indentation makes no difference. It detects accidental
changes; it does not prove who wrote a document.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Any, TypeVar

from rrl_agents.typed_json import decode

T = TypeVar("T")

SEAL = "sha256"
"""Field of the digest; content must not have a field of this name."""


def seal(content: Mapping[str, Any], *, indent: int | None = 2) -> str:
    """A document as text, with its digest, without a final newline.

    Args:
        content: JSON values by name; numbers are finite.
        indent: Spaces of one level; None for a single line.
    """
    return json.dumps({**content, SEAL: _digest(content)}, indent=indent, allow_nan=False)


def unseal(text: str) -> dict[str, Any]:
    """The content of a document from `seal`.

    Raises:
        ValueError: it is not a JSON object, has no digest, or has changed since it was written.
    """
    try:
        content = json.loads(text)
        if not isinstance(content, dict):
            raise ValueError("the document must be an object")
        found = content.pop(SEAL, None)
        expected = _digest(content)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"not valid JSON ({error})") from error
    if found is None:
        raise ValueError(f"it has no {SEAL}, so it cannot be verified")
    if found != expected:
        raise ValueError(f"it has changed since it was written: its {SEAL} does not match")
    return content


def decode_sealed(kind: type[T], text: str, where: str) -> T:
    """Decode a dataclass from the document of `seal(encode(it))`.

    Args:
        kind: The dataclass.
        text: The document.
        where: What is being read; starts every error message.

    Raises:
        ValueError: as `unseal` and `decode`.
    """
    try:
        content = unseal(text)
    except ValueError as error:
        raise ValueError(f"{where}: {error}") from error
    return decode(kind, content, where)


def _digest(content: Mapping[str, Any]) -> str:
    text = json.dumps(content, sort_keys=True, separators=(",", ":"), allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()

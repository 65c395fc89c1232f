"""Removes secrets from URLs in published texts: the command line of a run, its configuration."""

from __future__ import annotations

import re

_USER = re.compile(r"(?<=://)[^/?#\s]*@")
_QUERY = re.compile(r"(://[^?#\s]*)[?#]\S*")


def without_credentials(text: str) -> str:
    """A text without the secrets of its URLs: user, password, query and fragment.

    Text that follows a query without a space is removed with it, e.g. other teachers of an
    ensemble.
    """
    return _QUERY.sub(r"\1", _USER.sub("", text))

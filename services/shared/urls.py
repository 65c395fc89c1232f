"""URLs in what is published: the command line of a run, its configuration."""

from __future__ import annotations

import re

_USER = re.compile(r"(?<=://)[^/?#\s]*@")
_QUERY = re.compile(r"(://[^?#\s]*)[?#]\S*")


def without_credentials(text: str) -> str:
    """A text whose URLs have lost what may be secret: user, password, query and fragment.

    What follows a query without a space goes with it, as other teachers of an ensemble.
    """
    return _QUERY.sub(r"\1", _USER.sub("", text))

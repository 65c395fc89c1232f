"""Sealed documents: what was written comes back, and no other content is taken for it."""

from __future__ import annotations

import hashlib
import json
import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rrl_agents.checkpoints.sealed_json import SEAL, seal, unseal

VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)
CONTENTS = st.dictionaries(st.text().filter(lambda name: name != SEAL), VALUES, max_size=5)


@given(CONTENTS, st.sampled_from([None, 1, 2]))
def test_what_was_sealed_is_read_back(content: dict[str, Any], indent: int | None) -> None:
    assert unseal(seal(content, indent=indent)) == content


def test_the_digest_is_that_of_the_content_without_spaces_by_name() -> None:
    digest = hashlib.sha256(b'{"a":[1,2.5],"b":"x"}').hexdigest()
    assert json.loads(seal({"b": "x", "a": (1, 2.5)})) == {"a": [1, 2.5], "b": "x", SEAL: digest}


@given(CONTENTS, st.data())
def test_a_flipped_bit_gives_the_same_content_or_an_error(
    content: dict[str, Any], data: st.DataObject
) -> None:
    text = bytearray(seal(content).encode())
    bit = data.draw(st.integers(0, 8 * len(text) - 1))
    text[bit // 8] ^= 1 << bit % 8
    try:
        found = unseal(text.decode())
    except ValueError:
        return
    # E.g. a space of the indentation that became another one.
    assert found == content


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ('{"a": 1}', "has no sha256"),
        (seal({"a": 1}).replace("1", "2", 1), "changed since it was written"),
        (seal({"a": 1}).replace(SEAL, "shb256"), "has no sha256"),
        (seal({"a": 1}).replace('"a"', '"a": 3, "b"'), "changed since it was written"),
        ('{"sha256": null}', "has no sha256"),
        ('{"a": NaN, "sha256": "0"}', "not valid JSON"),
        ("[]", "must be an object"),
        ("", "not valid JSON"),
        ("[" * 100_000, "not valid JSON"),
    ],
)
def test_everything_else_is_refused_with_the_reason(text: str, reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        unseal(text)


def test_a_number_that_json_does_not_have_is_not_written() -> None:
    with pytest.raises(ValueError, match="not JSON compliant"):
        seal({"a": math.nan})

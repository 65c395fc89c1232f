"""Every dataclass of a document is written and read back, and nothing else is taken for one."""

from __future__ import annotations

import dataclasses
import enum
import json
from collections.abc import Mapping
from typing import Any, Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rrl_agents.typed_json import decode, encode, may_be_missing


class Stage(enum.Enum):
    FIRST = 1
    SECOND = 2


@dataclasses.dataclass(frozen=True)
class Inner:
    count: int
    share: float | None


@dataclasses.dataclass(frozen=True)
class Outer:
    name: str
    is_done: bool
    kind: Literal["a", "b"]
    stage: Stage
    inner: Inner
    several: tuple[Inner, ...]
    pair: tuple[float, float]
    digests: Mapping[str, str]
    named: Mapping[str, Inner]
    anything: object
    later: int = may_be_missing(7)

    def __post_init__(self) -> None:
        if self.name == "":
            raise ValueError("name is empty")


INNERS = st.builds(
    Inner, st.integers(), st.none() | st.floats(allow_nan=False, allow_infinity=False)
)
FINITE = st.floats(allow_nan=False, allow_infinity=False)
OUTERS = st.builds(
    Outer,
    name=st.text(min_size=1),
    is_done=st.booleans(),
    kind=st.sampled_from(("a", "b")),
    stage=st.sampled_from(Stage),
    inner=INNERS,
    several=st.lists(INNERS, max_size=3).map(tuple),
    pair=st.tuples(FINITE, FINITE),
    digests=st.dictionaries(st.text(), st.text(), max_size=3),
    named=st.dictionaries(st.text(), INNERS, max_size=3),
    anything=st.none() | st.booleans() | st.text(),
    later=st.integers(),
)
ONE = Outer(
    name="one",
    is_done=True,
    kind="a",
    stage=Stage.SECOND,
    inner=Inner(1, 0.5),
    several=(Inner(2, None),),
    pair=(0.0, 1.0),
    digests={"file": "00"},
    named={"three": Inner(3, None)},
    anything=None,
)


def changed(path: str, value: Any) -> Any:
    """The document of ONE with another value at a path."""
    document = json.loads(json.dumps(encode(ONE)))
    *names, last = path.split(".")
    place = document
    for name in names:
        place = place[int(name) if name.isdigit() else name]
    place[last] = value
    return document


@given(OUTERS)
def test_what_is_written_is_read_back(outer: Outer) -> None:
    assert decode(Outer, json.loads(json.dumps(encode(outer))), "note") == outer


@pytest.mark.parametrize(
    ("path", "value", "message"),
    [
        ("name", 3, "note: field name is 3; it must be a string"),
        ("is_done", 1, "note: field is_done is 1; it must be true or false"),
        ("inner.count", True, "note: field inner.count is True; it must be a whole number"),
        ("inner.count", 1.0, "note: field inner.count is 1.0; it must be a whole number"),
        ("inner.share", "much", "note: field inner.share is 'much'; it must be a finite number"),
        ("inner.share", 10**400, "it must be a finite number"),
        ("inner", None, "note: field inner is None; it must be an object"),
        ("several.0.count", None, r"note: field several\[0\].count is None; it must be a whole"),
        ("several", {}, "note: field several is {}; it must be a list, each an object"),
        (
            "pair",
            [1.0],
            r"note: field pair is \[1.0\]; it must be a list of 2, each a finite number",
        ),
        ("kind", "c", "note: field kind is 'c'; it must be one of 'a', 'b'"),
        ("stage", "LAST", "note: field stage is 'LAST'; it must be one of FIRST, SECOND"),
        ("stage", 1, "it must be one of FIRST, SECOND"),
        ("digests", {"file": 1}, "note: field digests.file is 1; it must be a string"),
        ("digests", [], r"note: field digests is \[\]; it must be an object"),
        ("named.three.count", "3", "note: field named.three.count is '3'; it must be a whole"),
        ("named.three", 3, "note: field named.three is 3; it must be an object"),
        ("named", [], r"note: field named is \[\]; it must be an object"),
        ("inner.coutn", 1, "note: unknown field inner.coutn; did you mean count?"),
        ("mood", 1, "note: unknown field mood; remove it"),
        ("name", "", "note: name is empty"),
    ],
)
def test_what_does_not_fit_is_named(path: str, value: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        decode(Outer, changed(path, value), "note")


def test_a_missing_field_is_named_unless_it_may_be_missing() -> None:
    document = encode(ONE)
    del document["later"]
    assert decode(Outer, document, "note") == ONE
    del document["inner"]["share"]
    with pytest.raises(ValueError, match="note: field inner.share is missing"):
        decode(Outer, document, "note")


@dataclasses.dataclass(frozen=True)
class Settings:
    inner: Inner
    seed: int
    names: tuple[str, ...] = ("a",)
    nested: Mapping[str, int] = dataclasses.field(default_factory=dict)


def test_a_document_that_is_older_than_a_field_takes_its_default_where_asked_to() -> None:
    document = {"inner": {"count": 1, "share": None}, "seed": 3}
    read = decode(Settings, document, "note", use_defaults=True)
    assert read == Settings(Inner(1, None), 3)
    with pytest.raises(ValueError, match="note: field names is missing"):
        decode(Settings, document, "note")
    with pytest.raises(ValueError, match="note: field inner.share is missing"):
        decode(Settings, {"inner": {"count": 1}, "seed": 3}, "note", use_defaults=True)
    with pytest.raises(ValueError, match="note: unknown field sed; did you mean seed"):
        decode(Settings, {"inner": document["inner"], "sed": 3}, "note", use_defaults=True)


def test_a_part_of_a_document_is_read_where_the_rest_is_not_asked_for() -> None:
    document = changed("mood", 1)
    assert decode(Outer, document, "note", ignore_unknown=True) == ONE


@dataclasses.dataclass(frozen=True)
class Nested:
    below: tuple[Nested, ...]


def test_a_document_that_is_nested_too_deeply_is_refused() -> None:
    document: dict[str, Any] = {"below": []}
    for _ in range(10_000):
        document = {"below": [document]}
    with pytest.raises(ValueError, match="note: nested too deeply"):
        decode(Nested, document, "note")

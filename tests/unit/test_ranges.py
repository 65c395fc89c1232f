from __future__ import annotations

import dataclasses
import math
from typing import Any

import pytest

from rrl_agents.ranges import check_known, check_ranges


@dataclasses.dataclass
class Config:
    number: Any = None
    word: str | None = None


@pytest.mark.parametrize(
    ("bounds", "fitting", "others", "allowed"),
    [
        ({"least": 1, "most": 3}, (1, 1.0, 2.5, 3), (0.5, 3.5), "at least 1 and at most 3"),
        ({"least": 1}, (1, 10**18), (0.5,), "at least 1"),
        ({"above": 0}, (0.1,), (0, -1), "above 0"),
        ({"least": 0, "below": 1}, (0, 0.5), (-0.1, 1), "at least 0 and below 1"),
        ({}, (-(10**18), 0), (), "that is finite"),
    ],
)
def test_what_is_out_of_a_range_or_no_number_is_named(
    bounds: dict[str, float], fitting: tuple[float, ...], others: tuple[float, ...], allowed: str
) -> None:
    for inside in (*fitting, None):
        check_ranges(Config(number=inside), "word", "number", **bounds)
    for number in (*others, math.nan, math.inf, -math.inf):
        with pytest.raises(ValueError, match=f"^number is {number}; use a number {allowed}$"):
            check_ranges(Config(number=number), "number", **bounds)


def test_an_unknown_word_is_answered_with_the_known_ones() -> None:
    for word in ("a", None):
        check_known(Config(word=word), "word", ("a", "b"))
    with pytest.raises(ValueError, match="word is 'c'; known are a, b"):
        check_known(Config(word="c"), "word", ("a", "b"))

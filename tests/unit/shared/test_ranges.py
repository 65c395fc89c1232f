from __future__ import annotations

import dataclasses
import math
from typing import Any

import pytest

from services.shared.ranges import check_above_zero, check_known, check_range


@dataclasses.dataclass
class Config:
    number: Any = None
    word: str | None = None


@pytest.mark.parametrize("number", [0.5, 3.5, math.nan, math.inf, -math.inf])
def test_what_is_out_of_a_range_or_no_number_is_named(number: float) -> None:
    for inside in (1, 1.0, 2.5, 3, None):
        check_range(Config(number=inside), "number", least=1, most=3)
    with pytest.raises(ValueError, match=f"number is {number}; give 1 to 3"):
        check_range(Config(number=number), "number", least=1, most=3)


def test_a_range_without_an_end_takes_no_infinity() -> None:
    check_range(Config(number=10**18), "number", least=1)
    with pytest.raises(ValueError, match="number is inf; give 1 or more"):
        check_range(Config(number=math.inf), "number", least=1)


@pytest.mark.parametrize("number", [0, -1, math.nan])
def test_what_is_not_above_zero_is_named(number: float) -> None:
    check_above_zero(Config(number=0.1), "number", "word")
    with pytest.raises(ValueError, match=f"number is {number}; it must be above 0"):
        check_above_zero(Config(number=number), "number")


def test_an_unknown_word_is_answered_with_the_known_ones() -> None:
    check_known(Config(word="a"), "word", ("a", "b"))
    with pytest.raises(ValueError, match="word is 'c'; known are a, b"):
        check_known(Config(word="c"), "word", ("a", "b"))

"""The schedules of JSRL's guide."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rrl_agents.schedules.guide_horizon import falling_share, shrinking_horizon


@given(
    st.integers(0, 10_000),
    st.floats(0.0, 0.99),
    st.integers(1, 10**6),
    st.lists(st.integers(0, 10**9), min_size=2, max_size=5).map(sorted),
)
def test_the_horizon_only_shrinks_and_comes_to_an_end(
    initial: int, decay: float, iteration: int, clocks: list[int]
) -> None:
    horizon = shrinking_horizon(initial_steps=initial, decay=decay, iteration_steps=iteration)
    seen = [horizon(clock) for clock in clocks]
    assert seen == sorted(seen, reverse=True)
    assert horizon(0) == initial
    # Rounding down takes at least one step away each time.
    assert horizon(initial * iteration) == 0


@given(st.floats(0.0, 1.0), st.integers(1, 10**7), st.integers(0, 10**8))
def test_the_share_stays_between_zero_and_where_it_began(
    initial: float, decay: int, clock: int
) -> None:
    share = falling_share(initial_share=initial, decay_steps=decay)(clock)
    assert 0.0 <= share <= initial
    assert clock < decay or share == 0.0


@pytest.mark.parametrize(
    "settings",
    [
        {"initial_steps": -1, "decay": 0.8, "iteration_steps": 1},
        {"initial_steps": 1, "decay": 1.0, "iteration_steps": 1},
        {"initial_steps": 1, "decay": 0.8, "iteration_steps": 0},
    ],
)
def test_horizons_that_never_end_are_refused(settings: dict[str, float]) -> None:
    with pytest.raises(ValueError, match="; use "):
        shrinking_horizon(**settings)  # type: ignore[arg-type]

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.launcher.progress_estimates import (
    Sample,
    StageProgress,
    extend_samples,
    format_duration,
    rate_per_second,
    seconds_left,
)


def stage(done: int, target: int) -> StageProgress:
    return StageProgress(name="online", unit="steps", done=done, target=target)


def test_the_rate_is_what_was_counted_over_the_time_it_took() -> None:
    samples = [Sample(10.0, 100), Sample(12.0, 900), Sample(14.0, 300)]
    assert rate_per_second(samples) == 50.0  # (300 - 100) / (14 - 10)


def test_one_look_or_two_at_the_same_time_give_no_rate() -> None:
    assert rate_per_second([]) is None
    assert rate_per_second([Sample(1.0, 5)]) is None
    assert rate_per_second([Sample(1.0, 5), Sample(1.0, 9)]) is None


def test_samples_older_than_the_window_are_forgotten() -> None:
    samples = (Sample(0.0, 0), Sample(5.0, 10), Sample(9.0, 20))
    # 15 - 10 = 5: the sample at 5 is just inside.
    assert extend_samples(samples, Sample(15.0, 30), 10.0) == (
        Sample(5.0, 10),
        Sample(9.0, 20),
        Sample(15.0, 30),
    )


def test_a_counter_that_fell_back_to_a_checkpoint_starts_the_rate_anew() -> None:
    samples = (Sample(0.0, 500), Sample(5.0, 1_000))
    assert extend_samples(samples, Sample(6.0, 700)) == (Sample(6.0, 700),)


def test_the_time_left_is_the_rest_at_the_rate() -> None:
    assert seconds_left(stage(400, 1_000), 20.0) == 30.0  # 600 / 20
    assert seconds_left(stage(1_000, 1_000), None) == 0.0
    assert seconds_left(stage(1_008, 1_000), 20.0) == 0.0


@pytest.mark.parametrize("rate", [None, 0.0])
def test_nobody_knows_the_time_left_of_a_stage_that_stands_still(rate: float | None) -> None:
    assert seconds_left(stage(400, 1_000), rate) is None


def test_a_stage_is_never_more_than_done() -> None:
    assert stage(250, 1_000).fraction == 0.25
    assert stage(1_008, 1_000).fraction == 1.0
    assert stage(0, 0).fraction == 1.0


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0.4, "0 s"),
        (59.4, "59 s"),
        (59.6, "1 min 00 s"),
        (185.0, "3 min 05 s"),
        (3_599.6, "1 h 00 min"),
        (7_640.0, "2 h 07 min"),  # 2 * 3600 + 7 * 60 + 20
    ],
)
def test_durations_read_naturally(seconds: float, text: str) -> None:
    assert format_duration(seconds) == text


@given(st.lists(st.tuples(st.floats(0.0, 10.0), st.integers(0, 100)), max_size=30))
def test_rates_of_a_growing_counter_are_never_negative(steps: list[tuple[float, int]]) -> None:
    samples: tuple[Sample, ...] = ()
    seconds, done = 0.0, 0
    for elapsed, counted in steps:
        seconds, done = seconds + elapsed, done + counted
        samples = extend_samples(samples, Sample(seconds, done), 20.0)
        rate = rate_per_second(samples)
        assert rate is None or rate >= 0.0
        assert all(seconds - sample.seconds <= 20.0 for sample in samples)

from __future__ import annotations

import pytest

from services.evaluator.cpu_share_limit import Pace


class Process:
    """A process with clocks of its own, which pauses pass."""

    def __init__(self) -> None:
        self.now = self.used = 0.0

    def work(self, seconds: float, *, elapsed: float | None = None) -> None:
        self.used += seconds
        self.now += seconds if elapsed is None else elapsed

    def wait(self, seconds: float) -> None:
        self.now += seconds

    def pace(self, cores: float) -> Pace:
        return Pace(cores, self.wait, processor_seconds=lambda: self.used, clock=lambda: self.now)


def test_a_step_is_followed_by_a_pause_that_makes_up_for_it() -> None:
    process = Process()
    pace = process.pace(0.4)
    process.work(0.1)
    # 0.1 s used, 0.04 s allowed so far: 0.06 s / 0.4 = 0.15 s more.
    assert pace()
    assert process.now == pytest.approx(0.25)
    assert not pace()
    assert process.now == pytest.approx(0.25)


def test_a_long_step_is_made_up_for_in_pauses_of_half_a_second() -> None:
    process = Process()
    pace = process.pace(0.5)
    process.work(2.0)
    pauses = 0
    while pace():
        pauses += 1
    # 2 s at half a core take 4 s, of which 2 are over.
    assert (pauses, process.now) == (4, 4.0)


@pytest.mark.parametrize("cores", [0.1, 0.4, 1.6])
def test_threads_together_keep_to_the_share(cores: float) -> None:
    process = Process()
    pace = process.pace(cores)
    while process.now < 60.0:
        # Two threads that compute at a time: 0.02 s in 0.01 s.
        process.work(0.02, elapsed=0.01)
        while pace():
            pass
    assert process.used <= cores * (process.now + 0.5) + 0.02
    assert process.used >= min(cores, 2.0) * process.now - 0.02


def test_a_busy_machine_is_no_licence_to_take_more_later() -> None:
    process = Process()
    pace = process.pace(0.4)
    # For a minute the process hardly ran.
    process.work(0.1, elapsed=60.0)
    assert not pace()
    began, used = process.now, process.used
    while process.now < began + 10.0:
        process.work(0.05)
        while pace():
            pass
    assert process.used - used <= 0.4 * (process.now - began + 0.5) + 0.05

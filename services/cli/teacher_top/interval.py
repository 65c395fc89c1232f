"""What a teacher service did between two looks at its metrics page.

Counters are read as Prometheus reads them: one that fell started again from 0.
"""

from __future__ import annotations

import dataclasses

from services.cli.metrics_pages.histogram import Histogram
from services.cli.metrics_pages.page import Page

TEACHER_STARTED = "rrl_teacher_start_time_seconds"


@dataclasses.dataclass(frozen=True, kw_only=True)
class Interval:
    """Two pages of one teacher.

    Attributes:
        before: The earlier; empty where it has restarted since.
        now: The later.
        seconds: Between them.
    """

    before: Page
    now: Page
    seconds: float

    def increase(self, name: str, **labels: str) -> float:
        """A counter's increase; what is not on a page counts as 0 there."""
        before, now = (page.value(name, **labels) or 0.0 for page in (self.before, self.now))
        return now - before if now >= before else now

    def histogram(self, name: str, **labels: str) -> Histogram:
        """The new values of the histograms with these labels."""
        now, before = (page.histogram(name, **labels) for page in (self.now, self.before))
        return now.since(before)


def teacher_interval(before: Page, now: Page, seconds: float) -> Interval:
    """Two pages of a teacher; one that restarted in between counts from nothing."""
    is_the_same = before.value(TEACHER_STARTED) == now.value(TEACHER_STARTED)
    return Interval(before=before if is_the_same else Page(), now=now, seconds=seconds)

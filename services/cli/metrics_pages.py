"""The metrics page of one role as numbers.

http://HOST:PORT/metrics ── fetch ──▶ text ── parse ──▶ Page ── since ──▶ Page of what is new
                             │                 └ ValueError: not in Prometheus's text format
                             └ OSError: nothing answers; ValueError: the answer is not a page
"""

from __future__ import annotations

import collections
import dataclasses
import http.client
import math
import time
from collections.abc import Mapping
from concurrent import futures

from prometheus_client.parser import text_string_to_metric_families
from prometheus_client.samples import Sample

from rrl_client.addresses import Address, parse_address
from services.shared.errors import UserError

ROLES = ("teacher", "replay", "learner", "actor", "evaluator", "importer")
"""The roles that have a metrics page."""

MAX_PAGE_BYTES = 8 * 2**20
"""Largest page read; a teacher's model takes about 20 KB."""

FETCH_TIMEOUT_SECONDS = 3.0

_READERS = 16

_COUNTED = ("_total", "_bucket", "_sum", "_count")
"""Suffixes of the samples that only grow: those of counters and histograms."""


@dataclasses.dataclass(frozen=True)
class Page:
    """One role's metrics page at one moment.

    Attributes:
        samples: By name, in the page's order.
        seconds: When it was read, on a monotonic clock.
    """

    samples: Mapping[str, tuple[Sample, ...]] = dataclasses.field(default_factory=dict)
    seconds: float = dataclasses.field(default_factory=time.monotonic)

    @property
    def role(self) -> str | None:
        """The role whose page it is; None for an unknown one."""
        return next((role for role in ROLES if f"rrl_{role}_info" in self.samples), None)

    def find(self, name: str, **labels: str) -> list[Sample]:
        """The samples of a name with these labels."""
        wanted = labels.items()
        return [sample for sample in self.samples.get(name, ()) if wanted <= sample.labels.items()]

    def value(self, name: str, **labels: str) -> float | None:
        """The sum of the samples with these labels; None if there are none or it is not finite."""
        found = self.find(name, **labels)
        total = sum(sample.value for sample in found)
        return total if found and math.isfinite(total) else None

    def total(self, name: str, **labels: str) -> float:
        """As `value`, with 0 instead of None."""
        return self.value(name, **labels) or 0.0

    def label_values(self, label: str, **labels: str) -> list[str]:
        """The values of a label among all samples with these labels, in the page's order."""
        found = (sample for name in self.samples for sample in self.find(name, **labels))
        return list(dict.fromkeys(s.labels[label] for s in found if label in s.labels))

    def quantile(self, name: str, q: float, **labels: str) -> float | None:
        """The value that a share `q` of a histogram's values stays at or below.

        Interpolates linearly within the bucket; the first bucket begins at 0, and beyond the last
        finite bound the answer is that bound. This is Prometheus's rule for classic histograms
        (`histogram_quantile`) of values at or above 0.

        Args:
            name: Name of the histogram; several with these labels count as one.
            q: Share of the values, 0 to 1.
            labels: Labels of the histogram.

        Returns:
            The value; None if the histogram is empty or missing.
        """
        counts: dict[float, float] = collections.defaultdict(float)
        for bucket in self.find(f"{name}_bucket", **labels):
            counts[float(bucket.labels["le"])] += bucket.value
        *bounds, last = sorted(counts) or [math.inf]
        if not counts[last] > 0 or not bounds:
            return None
        rank = q * counts[last]
        lower, below = 0.0, 0.0
        for bound in bounds:
            if counts[bound] >= rank:
                inside = counts[bound] - below
                return lower + (bound - lower) * ((rank - below) / inside if inside > 0 else 1.0)
            lower, below = bound, counts[bound]
        return lower

    def since(self, before: Page) -> Page:
        """The page with counters relative to an earlier page; gauges stay.

        As in Prometheus, a counter that fell was reset to 0.
        """
        earlier = {_series(one): one.value for found in before.samples.values() for one in found}

        def increase(sample: Sample) -> Sample:
            old = earlier.get(_series(sample), 0.0)
            if sample.value < old or not sample.name.endswith(_COUNTED):
                return sample
            return sample._replace(value=sample.value - old)

        return Page({name: tuple(map(increase, found)) for name, found in self.samples.items()})


def _series(sample: Sample) -> tuple[str, frozenset[tuple[str, str]]]:
    return sample.name, frozenset(sample.labels.items())


def fetch(address: Address, *, timeout_seconds: float = FETCH_TIMEOUT_SECONDS) -> str:
    """Read the text of a page.

    Raises:
        OSError: nothing answers there.
        ValueError: the answer is not a page.
    """
    connection = http.client.HTTPConnection(*address, timeout=timeout_seconds)
    try:
        connection.request("GET", "/metrics", headers={"Accept": "text/plain"})
        response = connection.getresponse()
        content = response.read(MAX_PAGE_BYTES + 1)
    except http.client.HTTPException as error:
        raise ValueError(f"it does not speak HTTP: {type(error).__name__}") from error
    finally:
        connection.close()
    if response.status != http.HTTPStatus.OK or len(content) > MAX_PAGE_BYTES:
        raise ValueError(f"HTTP status {response.status}, {len(content)} bytes")
    return content.decode("utf-8", "replace")


def parse(text: str) -> Page:
    """Read a page's text.

    Raises:
        ValueError: it is not in Prometheus's text format.
    """
    samples: dict[str, list[Sample]] = collections.defaultdict(list)
    try:
        for family in text_string_to_metric_families(text):
            for sample in family.samples:
                if sample.name.endswith("_bucket"):
                    float(sample.labels["le"])
                samples[sample.name].append(sample)
    except (ValueError, LookupError) as error:
        raise ValueError("it is not in Prometheus's text format") from error
    return Page({name: tuple(found) for name, found in samples.items()})


def read_pages(addresses: Mapping[str, Address]) -> dict[str, Page | None]:
    """Read pages in parallel; None for those that cannot be read."""
    with futures.ThreadPoolExecutor(_READERS, thread_name_prefix="pages") as readers:
        return dict(zip(addresses, readers.map(_read, addresses.values()), strict=True))


def page_address(text: str) -> Address:
    """Parse the address of a page: "http://HOST:PORT/metrics" or "HOST:PORT".

    Raises:
        UserError: it is neither.
    """
    bare = text.removeprefix("http://").rstrip("/").removesuffix("/metrics")
    try:
        return parse_address(bare)
    except ValueError as error:
        # The error of `parse_address` gives a gRPC port as its example.
        raise UserError(
            f"{text!r} is not a metrics page; write http://HOST:PORT/metrics or HOST:PORT, PORT 1 "
            "to 65535 (by default a teacher's is 9101)"
        ) from error


def _read(address: Address) -> Page | None:
    try:
        return parse(fetch(address))
    except (OSError, ValueError):
        return None

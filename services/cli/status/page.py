"""Metrics pages as numbers, for comparing two looks at them."""

from __future__ import annotations

import collections
import dataclasses
import math
from collections.abc import Mapping
from concurrent import futures

from prometheus_client.parser import text_string_to_metric_families
from prometheus_client.samples import Sample

from rrl_client.addresses import Address
from services.shared.addresses import parse_address
from services.shared.errors import UserError
from services.teacher.top.snapshot import fetch

ROLES = ("teacher", "replay", "learner", "actor", "evaluator", "importer")
"""Whose pages there are."""

_READERS = 16


@dataclasses.dataclass(frozen=True, kw_only=True)
class Page:
    """One role's page at one moment.

    Attributes:
        text: As it came.
        samples: By name.
    """

    text: str
    samples: Mapping[str, tuple[Sample, ...]]

    @property
    def role(self) -> str | None:
        """Whose page it is; None for a stranger's."""
        return next((role for role in ROLES if f"rrl_{role}_info" in self.samples), None)

    def value(self, name: str, **labels: str) -> float | None:
        """The sum of the samples with these labels; None where there are none."""
        wanted = labels.items()
        found = [s.value for s in self.samples.get(name, ()) if wanted <= s.labels.items()]
        return math.fsum(found) if found and all(map(math.isfinite, found)) else None

    def by(self, name: str, label: str) -> dict[str, float]:
        """The samples of a name, by the values of one label."""
        found = self.samples.get(name, ())
        values = {s.labels[label]: s.value for s in found if label in s.labels}
        return {key: value for key, value in values.items() if math.isfinite(value)}


def parse_page(text: str) -> Page:
    """Read a page's text.

    Raises:
        UserError: it is not in Prometheus's format.
    """
    samples: dict[str, list[Sample]] = collections.defaultdict(list)
    try:
        for family in text_string_to_metric_families(text):
            for sample in family.samples:
                samples[sample.name].append(sample)
    except (ValueError, LookupError) as error:
        raise UserError("the page is not in Prometheus's text format") from error
    return Page(text=text, samples={name: tuple(found) for name, found in samples.items()})


def read_pages(addresses: Mapping[str, Address]) -> dict[str, Page | None]:
    """Read pages, several at once; None for those that do not come."""
    with futures.ThreadPoolExecutor(_READERS, thread_name_prefix="pages") as readers:
        return dict(zip(addresses, readers.map(_read, addresses.values()), strict=True))


def page_address(text: str) -> Address:
    """Where a page is: "http://HOST:PORT/metrics" or "HOST:PORT".

    Raises:
        UserError: it is neither.
    """
    bare = text.removeprefix("http://").rstrip("/").removesuffix("/metrics")
    if "/" in bare:
        raise UserError(f"{text!r} is no metrics page; write http://HOST:PORT/metrics or HOST:PORT")
    return parse_address(bare)


def _read(address: Address) -> Page | None:
    try:
        return parse_page(fetch(address))
    except UserError:
        return None

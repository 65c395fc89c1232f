"""One scheme for the names of all metrics: `rrl_<role>_<what>_<unit>`, counters in `_total`."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.support.role_metrics import ROLES, families

SERVICES = Path(__file__).parents[2] / "services"

ROLE_OF_ROOM = {"recorded_data": "importer"}
"""Of rooms whose role has another name."""

FOREIGN_UNITS = ("_ms", "_milliseconds", "_minutes", "_hours", "_kb", "_mib", "_percent")
"""Prometheus's base units are seconds and bytes; shares are of 1."""


@pytest.mark.parametrize("role", ROLES)
def test_every_name_has_its_role_and_base_units(role: str, tmp_path: Path) -> None:
    found = families(role, tmp_path)
    assert found
    for family in found:
        assert re.fullmatch(rf"rrl_{role}(_[a-z0-9]+)+", family.name), family.name
        assert not family.name.endswith(FOREIGN_UNITS), family.name
        # Counters get their ending on the page.
        assert not family.name.endswith("_total"), family.name
        assert family.documentation.endswith("."), family.name


@pytest.mark.parametrize("role", ROLES)
def test_labels_are_few_and_small_words(role: str, tmp_path: Path) -> None:
    for family in families(role, tmp_path):
        for sample in family.samples:
            assert all(re.fullmatch("[a-z_]+", label) for label in sample.labels), sample
            assert len(sample.labels) <= 5


def test_no_name_is_anywhere_but_in_its_roles_module() -> None:
    """Counting calls a method; a name spelt twice could diverge."""
    made = re.compile(
        r'(?:gauge|counter|histogram|Family|Counter|Gauge|Histogram)s?\(\s*f?"(rrl_\w+)'
    )
    for file in SERVICES.rglob("*.py"):
        if "cli" in file.parts:
            continue
        for name in made.findall(file.read_text(encoding="utf-8")):
            role = name.split("_")[1]
            assert file.name == "metrics.py", (file, name)
            assert role == ROLE_OF_ROOM.get(file.parent.name, file.parent.name), (file, name)

"""The part of Prometheus' HTTP API that the check uses."""

from __future__ import annotations

import json
import math
import urllib.parse
import urllib.request
from pathlib import Path
from typing import Any

_TIMEOUT_SECONDS = 20.0

Samples = dict[float, float]
"""Value by Unix time."""


class Prometheus:
    """A client for one server.

    Args:
        url: Where it listens, without a path.
    """

    def __init__(self, url: str) -> None:
        self._url = url

    def values(self, expression: str) -> list[float]:
        """The current values of an expression, without NaN."""
        result = self._get("query", query=expression)["result"]
        numbers = [float(series["value"][1]) for series in result]
        return [number for number in numbers if not math.isnan(number)]

    def total(self, expression: str) -> float:
        """The sum of an expression's current values, 0 for none."""
        return sum(self.values(expression))

    def samples(self, selector: str, *, minutes: int) -> Samples:
        """Every scraped value of a selector that matches one series of a role."""
        result = self._get("query", query=f"{selector}[{minutes}m]")["result"]
        return {float(t): float(value) for series in result for t, value in series["values"]}

    def rules(self) -> list[str]:
        """Names of the loaded alert rules."""
        groups = self._get("rules")["groups"]
        return [rule["name"] for group in groups for rule in group["rules"]]

    def _get(self, what: str, **parameters: str) -> Any:
        url = f"{self._url}/api/v1/{what}?{urllib.parse.urlencode(parameters)}"
        with urllib.request.urlopen(url, timeout=_TIMEOUT_SECONDS) as answer:
            return json.load(answer)["data"]


def dashboard_queries(folder: Path) -> dict[str, list[str]]:
    """The queries of every panel of the dashboards in a folder, by the panel's title."""
    queries: dict[str, list[str]] = {}
    for file in sorted(folder.glob("*.json")):
        pending = list(json.loads(file.read_text())["panels"])
        while pending:
            panel = pending.pop(0)
            pending += panel.get("panels", [])
            asked = [target["expr"] for target in panel.get("targets", [])]
            if asked:
                queries.setdefault(panel["title"], []).extend(asked)
    return queries

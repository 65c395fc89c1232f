"""The teacher's memory limits carry what its settings let callers have it take."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from services.cli.teacher_serve import Limits, serve
from services.teacher.config import BatchingConfig
from tests.deploy.test_compose import arguments_of, text_of
from tests.deploy.test_kubernetes import OVERLAYS, container_of, words, workloads
from tests.support.teacher_memory import most_memory_bytes

_UNITS = {"Gi": 2**30, "Mi": 2**20, "g": 2**30, "m": 2**20}
_IMPORTER = 1
GUIDE = Path(__file__).parents[2] / "docs" / "operating.md"


def bytes_of(quantity: str) -> int:
    number, unit = re.fullmatch(r"(\d+)([A-Za-z]+)", quantity).groups()  # type: ignore[union-attr]
    return int(number) * _UNITS[unit]


def batching_of(flags: list[str]) -> BatchingConfig:
    """How a teacher that is started with these flags bounds what waits."""
    limits: Limits = arguments_of(serve, flags).get("limits", Limits())
    return limits.batching()


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_the_limit_on_kubernetes_carries_every_actor_of_the_overlay(
    overlay: str, tmp_path: Path
) -> None:
    teacher = container_of(workloads(overlay)["teacher"])
    clients = sum(workloads(overlay)[name]["spec"]["replicas"] for name in ("actor", "evaluator"))
    needed = most_memory_bytes(
        batching_of(words(overlay, "teacher", tmp_path)[2:]), streams=clients + _IMPORTER
    )
    assert bytes_of(teacher["resources"]["limits"]["memory"]) >= needed


def test_the_limit_of_compose_carries_its_actors_and_forty_clients_of_others() -> None:
    text = re.sub(r"\$\{\w+:-([^}]*)\}", r"\1", text_of("docker-compose.yml"))
    services: dict[str, Any] = yaml.safe_load(text)["services"]
    teacher = services["teacher"]
    clients = int(services["actor"]["deploy"]["replicas"]) + 1 + 40
    needed = most_memory_bytes(batching_of(teacher["command"][2:]), streams=clients)
    assert bytes_of(teacher["deploy"]["resources"]["limits"]["memory"]) >= needed


def test_the_guide_says_how_many_streams_the_usual_limit_carries() -> None:
    (said,) = re.findall(r"2 GiB are enough for (\d+) streams", GUIDE.read_text())
    assert most_memory_bytes(BatchingConfig(), streams=int(said)) <= 2 * 2**30
    assert most_memory_bytes(BatchingConfig(), streams=int(said) + 1) > 2 * 2**30

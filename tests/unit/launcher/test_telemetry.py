"""Counters that outlive a run's going back, and the page of a process that is not yet a role."""

from __future__ import annotations

import urllib.request
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import generate_latest
from prometheus_client.parser import text_string_to_metric_families

from services.launcher.telemetry import Telemetry, run_name, telemetry
from services.shared.addresses import free_port
from services.shared.metrics import (
    CumulativeIncrease,
    counter,
    counters,
    gauge,
    gauges,
    make_registry,
)
from tests.support.patience import PATIENCE_SECONDS

OPENER = urllib.request.build_opener(urllib.request.ProxyHandler({}))


pytestmark = pytest.mark.usefixtures("restored_logging")


@given(st.lists(st.integers(0, 100), min_size=1))
def test_rises_are_summed_and_neither_falls_nor_what_is_gone_back_to_are(values: list[int]) -> None:
    rises = CumulativeIncrease()
    totals = [rises.observe(value) for value in values]
    steps = zip(values, values[1:], strict=False)
    assert totals[-1] == rises.total == sum(max(later - earlier, 0) for earlier, later in steps)
    assert totals == sorted(totals) and totals[0] == 0
    rises.rebase(12)
    assert rises.observe(14) == totals[-1] + 2


def test_unknown_numbers_are_not_on_the_page() -> None:
    assert [sample.value for sample in gauge("rrl_x", "X.", None).samples] == []
    assert [sample.value for sample in gauge("rrl_x", "X.", 0.0).samples] == [0.0]
    assert [sample.name for sample in counter("rrl_x", "X.", 1).samples] == ["rrl_x_total"]
    labelled = gauges("rrl_x", "X.", "kind", {"a": 1, "b": 2}).samples
    assert [(sample.labels, sample.value) for sample in labelled] == [
        ({"kind": "a"}, 1),
        ({"kind": "b"}, 2),
    ]
    assert counters("rrl_x", "X.", "kind", {}).samples == []


def test_a_registry_tells_of_its_process_and_its_run() -> None:
    text = generate_latest(make_registry("actor", 'the "run"')).decode()
    samples = {
        sample.name: sample
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }
    assert samples["rrl_actor_info"].labels == {"run": 'the "run"'}
    assert samples["process_resident_memory_bytes"].value > 2**20
    assert not [name for name in samples if name.endswith("_created")]


def test_a_role_is_looked_at_before_it_works_and_no_more_after(tmp_path: Path) -> None:
    port = free_port()
    url = f"http://127.0.0.1:{port}/metrics"
    with telemetry("learner", Telemetry(metrics_port=port), run=tmp_path / "mine"):
        page = OPENER.open(url, timeout=PATIENCE_SECONDS).read().decode()
        assert 'rrl_learner_info{run="mine"} 1.0' in page
    with pytest.raises(OSError):
        OPENER.open(url, timeout=PATIENCE_SECONDS)


def test_a_run_is_called_by_its_flag_its_variable_or_its_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "folder"
    assert run_name(Telemetry(), folder) == "folder"
    assert run_name(Telemetry(), None) is None
    monkeypatch.setenv("RRL_RUN_NAME", "variable")
    assert run_name(Telemetry(), folder) == "variable"
    assert run_name(Telemetry(run_name="flag"), folder) == "flag"


def test_what_is_no_port_is_refused() -> None:
    with pytest.raises(ValueError, match="metrics_port is 70000"):
        Telemetry(metrics_port=70_000)

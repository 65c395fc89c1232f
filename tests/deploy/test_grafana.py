"""The dashboard as Grafana would read it: whole, laid out, and with queries that can be asked."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import yaml

GRAFANA = Path(__file__).parents[2] / "deploy" / "grafana"
DASHBOARD = json.loads((GRAFANA / "dashboards" / "rrl.json").read_text())
PANELS: list[dict[str, Any]] = DASHBOARD["panels"]
COLUMNS = 24


def queries() -> list[str]:
    return [target["expr"] for panel in PANELS for target in panel.get("targets", ())]


def datasource() -> dict[str, Any]:
    content = yaml.safe_load((GRAFANA / "provisioning/datasources/prometheus.yml").read_text())
    (found,) = content["datasources"]
    assert content["apiVersion"] == 1
    return dict(found)


def test_the_dashboard_has_a_name_of_its_own_and_no_numbers_of_another_grafana() -> None:
    assert DASHBOARD["uid"] == "rrl"
    assert DASHBOARD["schemaVersion"] >= 39
    assert "id" not in DASHBOARD
    assert not any("id" in panel for panel in PANELS)
    titles = [panel["title"] for panel in PANELS]
    assert len(titles) == len(set(titles))


def test_the_dashboard_shows_what_a_run_is_watched_by() -> None:
    titles = {panel["title"] for panel in PANELS}
    assert titles >= {
        "Frames/s",
        "Updates/s",
        "Replay ratio",
        "Score and λ",
        "Return of student, teacher and random play",
        "Latency",
        "Batch size",
        "Queue",
        "Rejected queries/s",
        "Unanswered queries",
        "Staleness in updates",
        "Fill of the tables",
        "Age of the newest checkpoint",
        "Memory",
    }


def test_every_panel_explains_itself_and_asks_the_datasource_that_is_set_up() -> None:
    source = datasource()
    for panel in PANELS:
        if panel["type"] == "row":
            continue
        assert panel["type"] in ("timeseries", "stat")
        assert panel["description"].endswith(".")
        assert panel["datasource"] == {"type": source["type"], "uid": source["uid"]}
        assert panel["fieldConfig"]["defaults"]["unit"]
        assert panel["targets"]
        names = [target["refId"] for target in panel["targets"]]
        assert len(names) == len(set(names))
        assert all(target["legendFormat"] for target in panel["targets"])


def test_queries_need_nothing_that_only_grafana_fills_in() -> None:
    assert len(queries()) >= 40
    assert len(DASHBOARD["templating"]["list"]) == 0
    for query in queries():
        assert "$" not in query
        # A minute holds a dozen samples: a rate over less could have nothing to go by.
        assert set(re.findall(r"\[(\w+)\]", query)) <= {"1m"}, query


def test_panels_lie_within_the_grid_and_not_on_one_another() -> None:
    taken: set[tuple[int, int]] = set()
    for panel in PANELS:
        place = panel["gridPos"]
        assert 0 <= place["x"] < place["x"] + place["w"] <= COLUMNS
        cells = {
            (place["x"] + column, place["y"] + line)
            for column in range(place["w"])
            for line in range(place["h"])
        }
        assert not cells & taken, panel["title"]
        taken |= cells


def test_the_provider_reads_the_folder_that_compose_mounts() -> None:
    content = yaml.safe_load((GRAFANA / "provisioning/dashboards/rrl.yml").read_text())
    (provider,) = content["providers"]
    folder = provider["options"]["path"]
    compose = yaml.safe_load((GRAFANA.parents[1] / "docker-compose.yml").read_text())
    mounts = compose["services"]["grafana"]["volumes"]
    assert f"./deploy/grafana/dashboards:{folder}:ro" in mounts
    assert "./deploy/grafana/provisioning:/etc/grafana/provisioning:ro" in mounts
    # The datasource is asked over the network inside, by the name of its service.
    assert datasource()["url"] == "http://prometheus:9090"
    assert "prometheus" in compose["services"]

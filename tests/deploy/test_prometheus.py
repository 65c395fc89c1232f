"""Prometheus's configuration and rules: valid, and of one mind with the code, compose and the docs.

promtool, where there is one (Debian's package `prometheus` has it), checks the syntax and runs the
rules' own tests; what can be seen in the text is checked everywhere.
"""

from __future__ import annotations

import ast
import re
import subprocess
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import yaml

from rrl_agents.types import Stage
from tests.support.programs import need
from tests.support.role_metrics import families

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / "deploy" / "prometheus"
DASHBOARDS = sorted((ROOT / "deploy" / "grafana" / "dashboards").glob("*.json"))
GUIDE = ROOT / "docs" / "operating.md"
ROLES = ("teacher", "replay", "learner", "actor", "evaluator")

# What the kinds of Prometheus's families put on a page, by the name of who makes them.
SUFFIXES = {
    "counter": ("_total",),
    "counters": ("_total",),
    "gauge": ("",),
    "gauges": ("",),
    "histogram": ("_bucket", "_sum", "_count"),
}
PROCESS_METRICS = {
    "process_cpu_seconds_total",
    "process_resident_memory_bytes",
    "process_start_time_seconds",
}
_NAME = re.compile(r"\b(?:rrl|process)_[a-z_]+\b")
_JOB = re.compile(r'\bjob=~?"([^"]+)"')
_STAGE = re.compile(r'\bstage(?:=~|!=|=)"([^"]+)"')


def metrics_of_the_code() -> set[str]:
    """Every name that a role can put on its page, read off the calls that make them."""
    names: set[str] = set()
    for module in (ROOT / "services").glob("*/*metrics.py"):
        for node in ast.walk(ast.parse(module.read_text())):
            if (
                not isinstance(node, ast.Call)
                or not isinstance(node.func, ast.Name)
                or not node.args
            ):
                continue
            name = node.args[0]
            if isinstance(name, ast.Constant) and str(name.value).startswith("rrl_"):
                names |= {f"{name.value}{suffix}" for suffix in SUFFIXES[node.func.id]}
    return names


def metrics_of_pages(folder: Path) -> set[str]:
    """Every name on the page of a role that has just started."""
    return {
        f"{family.name}{suffix}"
        for role in ROLES
        for family in families(role, folder)
        for suffix in SUFFIXES[family.type]
    }


def rules() -> list[dict[str, Any]]:
    content = yaml.safe_load((FOLDER / "alerts.yml").read_text())
    return [rule for group in content["groups"] for rule in group["rules"]]


def alerts() -> list[dict[str, Any]]:
    return [rule for rule in rules() if "alert" in rule]


def expressions() -> list[str]:
    """Of the rules and of every panel."""
    panels = [re.findall(r'"expr": "((?:[^"\\]|\\.)*)"', path.read_text()) for path in DASHBOARDS]
    return [
        *(str(rule["expr"]) for rule in rules()),
        *(text.replace('\\"', '"') for texts in panels for text in texts),
    ]


def found_in_expressions(pattern: re.Pattern[str]) -> set[str]:
    return {found for text in expressions() for found in pattern.findall(text)}


def in_alternatives(found: Iterable[str]) -> set[str]:
    """`a|b` of a matcher is a and b."""
    return {each for text in found for each in text.split("|")}


def promtool(*arguments: str) -> None:
    program = need("promtool", "Debian's package prometheus")
    done = subprocess.run([program, *arguments], cwd=FOLDER, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


def test_promtool_accepts_the_configuration_and_its_rules() -> None:
    promtool("check", "config", "prometheus.yml")


def test_every_alert_fires_when_it_should_and_keeps_quiet_when_it_should_not() -> None:
    promtool("test", "rules", "alerts_test.yml")


def test_every_alert_has_a_case_that_fires_and_one_that_does_not() -> None:
    cases = yaml.safe_load((FOLDER / "alerts_test.yml").read_text())["tests"]
    by_words = {tuple(case["name"].split()[:2]) for case in cases}
    names = {alert["alert"] for alert in alerts()}
    assert names == {name for name, _ in by_words}
    for name in names:
        assert {(name, "fires"), (name, "keeps")} <= by_words, name
    for case in cases:
        (sample,) = case["promql_expr_test"]
        assert bool(sample["exp_samples"]) == (case["name"].split()[1] == "fires"), case["name"]


def test_every_metric_that_is_asked_for_is_one_that_a_role_has(tmp_path: Path) -> None:
    asked = found_in_expressions(_NAME)
    assert len(asked) > 40
    assert asked <= metrics_of_the_code() | metrics_of_pages(tmp_path) | PROCESS_METRICS


def test_every_job_and_stage_that_is_asked_for_exists() -> None:
    config = yaml.safe_load((FOLDER / "prometheus.yml").read_text())
    jobs = {job["job_name"] for job in config["scrape_configs"]}
    assert jobs == set(ROLES)
    assert in_alternatives(found_in_expressions(_JOB)) <= jobs
    stages = {stage.name.lower() for stage in Stage}
    assert in_alternatives(found_in_expressions(_STAGE)) <= stages


def test_every_alert_says_how_bad_it_is_and_what_to_do() -> None:
    names = [alert["alert"] for alert in alerts()]
    assert len(names) == len(set(names)) >= 20
    for alert in alerts():
        assert alert["labels"]["severity"] in ("warning", "critical")
        assert set(alert["annotations"]) == {"summary", "description", "runbook"}
        assert alert["annotations"]["runbook"] == f"docs/operating.md#{alert['alert'].lower()}"


def test_every_alert_has_its_section_in_the_guide_and_no_other_has() -> None:
    headings = re.findall(r"^#+ ([A-Z][a-z]+(?:[A-Z][a-z]+)+)$", GUIDE.read_text(), re.MULTILINE)
    assert sorted(headings) == sorted(alert["alert"] for alert in alerts())


def compose_services() -> dict[str, Any]:
    text = (ROOT / "docker-compose.yml").read_text()
    filled_in = re.sub(r"\$\{\w+:-([^}]*)\}", r"\1", text)
    found: dict[str, Any] = yaml.safe_load(filled_in)["services"]
    return found


def test_every_role_is_read_at_the_port_that_compose_gives_it() -> None:
    config = yaml.safe_load((FOLDER / "prometheus.yml").read_text())
    for job in config["scrape_configs"]:
        (where,) = job.get("static_configs") or job["dns_sd_configs"]
        if "targets" in where:
            ((name, port),) = (target.split(":") for target in where["targets"])
        else:
            (name,), port = where["names"], where["port"]
        assert name == job["job_name"]
        assert f"--metrics-port={port}" in compose_services()[name]["command"]


def test_the_memory_limits_of_the_rules_are_those_of_compose() -> None:
    services = compose_services()
    limits = {
        rule["labels"]["job"]: rule["expr"]
        for rule in rules()
        if rule.get("record") == "job:memory_limit:bytes"
    }
    assert limits == {role: f"vector({_gibibytes(services[role])} * 1024 ^ 3)" for role in ROLES}


def _gibibytes(service: dict[str, Any]) -> int:
    found = re.fullmatch(r"(\d+)g", service["deploy"]["resources"]["limits"]["memory"])
    assert found is not None
    return int(found[1])

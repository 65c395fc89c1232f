"""Proxies of the environment: this machine is reached without, others are reported."""

from __future__ import annotations

import os

import pytest

from rrl_client import proxies
from rrl_client.proxies import reach_this_machine_directly, tell_of_proxy


@pytest.fixture(autouse=True)
def no_proxies(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("grpc_proxy", "https_proxy", "http_proxy", "no_grpc_proxy", "no_proxy"):
        # Set first, so that it is put back whatever the test leaves.
        monkeypatch.setenv(name, "")
        monkeypatch.delenv(name)
    monkeypatch.setattr(proxies, "_named", set())


def test_without_a_proxy_nothing_is_set() -> None:
    reach_this_machine_directly()
    assert "no_grpc_proxy" not in os.environ


@pytest.mark.parametrize("variable", ["grpc_proxy", "https_proxy", "http_proxy"])
def test_this_machine_is_an_exception_beside_the_users_own(
    monkeypatch: pytest.MonkeyPatch, variable: str
) -> None:
    monkeypatch.setenv(variable, "http://proxy.example:3128")
    monkeypatch.setenv("no_proxy", ".cluster, localhost")
    for _ in range(2):
        reach_this_machine_directly()
        assert dict(os.environ)["no_grpc_proxy"] == ".cluster,localhost,127.0.0.1,::1"
    # What other programs read is left alone.
    assert os.environ.get("no_proxy") == ".cluster, localhost"


def test_a_proxy_in_between_is_told_once_by_its_variable(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    tell_of_proxy("teacher.example")
    assert not caplog.records
    monkeypatch.setenv("http_proxy", "http://proxy.example:3128")
    monkeypatch.setenv("no_proxy", ".cluster")
    tell_of_proxy("teacher.cluster")
    assert not caplog.records
    tell_of_proxy("teacher.example")
    tell_of_proxy("teacher.example")
    (record,) = caplog.records
    assert (
        "connections to teacher.example go through the proxy that http_proxy names" in caplog.text
    )
    assert record.levelname == "WARNING"

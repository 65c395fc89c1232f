from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from rrl_client import AsyncTeacherClient, ClientSecurity, TeacherClient
from rrl_client.channel import (
    CHANNEL_OPTIONS,
    LONGEST_BACKOFF_SECONDS,
    backoff_seconds,
    count_replicas,
    parse_addresses,
)


@pytest.mark.parametrize(
    ("given", "found"),
    [
        ("127.0.0.1:50051", ("127.0.0.1:50051",)),
        ("a:1, b:2", ("a:1", "b:2")),
        (["a:1", "b:2", "a:1"], ("a:1", "b:2")),
        ("unix:/run/teacher", ("unix:/run/teacher",)),
        ("dns:///teacher:50051", ("dns:///teacher:50051",)),
        ("dns:teacher:50051", ("dns:teacher:50051",)),
        ("dns://[::1]:53/teacher:50051", ("dns://[::1]:53/teacher:50051",)),
        ("ipv6:[::1]:50051", ("ipv6:[::1]:50051",)),
        ("ipv4:127.0.0.1:1,127.0.0.2:2", ("ipv4:127.0.0.1:1,127.0.0.2:2",)),
        (["ipv6:[::1]:1,[::2]:2"], ("ipv6:[::1]:1,[::2]:2",)),
        ("xds:///teacher", ("xds:///teacher",)),
        ("[::1]:50051", ("[::1]:50051",)),
    ],
)
def test_addresses_come_alone_with_commas_or_as_a_sequence(
    given: str | list[str], found: tuple[str, ...]
) -> None:
    assert parse_addresses(given) == found


@pytest.mark.parametrize(
    "given",
    [
        *("", "a:1,,b:2", [], "teacher", "::1:50051", "http://teacher:50051", ["a:1", "50784"]),
        *("dns:///teacher", "dns:///::1:50051", "ipv4:127.0.0.1", "ipv4:127.0.0.1:1,127.0.0.2"),
    ],
)
def test_what_is_no_address_is_refused_where_it_is_written(given: str | list[str]) -> None:
    with pytest.raises(ValueError, match="HOST:PORT"):
        parse_addresses(given)
    with pytest.raises(ValueError, match="HOST:PORT"):
        TeacherClient(given)


def test_a_unix_socket_has_a_path_and_stands_alone() -> None:
    with pytest.raises(ValueError, match="unix:/"):
        parse_addresses("unix:")
    with pytest.raises(ValueError, match="replicas"):
        parse_addresses(["127.0.0.1:1", "unix:/run/teacher"])


def test_a_plain_address_is_one_replica_and_a_name_as_many_as_it_has_addresses() -> None:
    assert count_replicas("127.0.0.1:50051") == 1
    assert count_replicas("dns:///127.0.0.1:50051") == 1
    assert count_replicas("dns:///no.such.name.invalid:50051") == 1


def test_waiting_times_double_up_to_a_limit() -> None:
    # 0.1, 0.2, 0.4 ... 2 s; a teacher's own 0.02 s: 0.02, 0.04; its 30 s are kept.
    assert [backoff_seconds(attempts) for attempts in (1, 2, 3)] == [0.1, 0.2, 0.4]
    assert backoff_seconds(10**6) == LONGEST_BACKOFF_SECONDS == 2.0
    assert [backoff_seconds(attempts, 0.02) for attempts in (1, 2)] == [0.02, 0.04]
    assert backoff_seconds(3, 30.0) == 30.0


def test_grpc_balances_over_the_replicas_that_answer() -> None:
    config = json.loads(dict(CHANNEL_OPTIONS)["grpc.service_config"])
    assert config["loadBalancingConfig"] == [{"round_robin": {}}]
    assert config["healthCheckConfig"] == {"serviceName": "rrl.teacher.v1.Teacher.Evaluate"}


@pytest.mark.parametrize("kind", [TeacherClient, AsyncTeacherClient])
@pytest.mark.parametrize("timeout_seconds", [0.0, -1.0, float("nan")])
def test_a_timeout_out_of_range_is_refused(kind: Any, timeout_seconds: float) -> None:
    with pytest.raises(ValueError, match=f"timeout_seconds is {timeout_seconds}"):
        kind("127.0.0.1:1", timeout_seconds=timeout_seconds)


@pytest.mark.parametrize("kind", [TeacherClient, AsyncTeacherClient])
def test_security_that_cannot_be_used_is_refused_where_it_is_given(
    kind: Any, tmp_path: Path
) -> None:
    with pytest.raises(ValueError, match="no-such-file"):
        kind("a:1", security=ClientSecurity(root_certificates=tmp_path / "no-such-file"))
    with pytest.raises(ValueError, match="unencrypted"):
        kind("teacher.example:1", security=ClientSecurity(token="a-token-of-some-length"))

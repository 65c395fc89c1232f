from __future__ import annotations

import hypothesis.strategies as st
from hypothesis import given

from services.cli.actor_index import resolve_index


@given(st.integers(0, 1000), st.text())
def test_a_given_number_is_taken(index: int, host_name: str) -> None:
    assert resolve_index(index, host_name) == index


def test_the_number_of_a_host_is_always_the_same() -> None:
    # SHA-256 of "actor-7" begins with a520652b; modulo 2^31 the highest bit falls off.
    assert resolve_index("auto", "actor-7") == 0x2520652B
    assert resolve_index("auto") == resolve_index("auto")


@given(st.text())
def test_the_number_of_a_host_fits(host_name: str) -> None:
    assert 0 <= resolve_index("auto", host_name) < 2**31


def test_a_thousand_hosts_have_numbers_of_their_own() -> None:
    assert len({resolve_index("auto", f"rrl-actor-{number}") for number in range(1000)}) == 1000


def test_shards_get_about_equally_many_of_them() -> None:
    # 1,000 actors on 4 shards: 250 each, give or take four standard deviations of 13.7.
    shards = [resolve_index("auto", f"rrl-actor-{number}") % 4 for number in range(1000)]
    assert all(abs(shards.count(shard) - 250) < 55 for shard in range(4))

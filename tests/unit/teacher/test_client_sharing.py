"""Connections that several clients hold: made once, given back by the last."""

from __future__ import annotations

import threading

import pytest

from rrl_client.sharing import Sharing


def test_the_first_makes_them_and_the_last_gets_them_to_close() -> None:
    sharing: Sharing[list[int]] = Sharing()
    made = sharing.join("key", list)
    assert sharing.join("key", list) is made
    assert sharing.leave("key") is None
    assert sharing.leave("key") is made
    assert sharing.join("key", list) is not made


def test_other_keys_have_connections_of_their_own() -> None:
    sharing: Sharing[list[int]] = Sharing()
    assert sharing.join("one", list) is not sharing.join("other", list)


def test_what_cannot_be_made_is_not_held() -> None:
    sharing: Sharing[list[int]] = Sharing()

    def fail() -> list[int]:
        raise ValueError("no such file")

    with pytest.raises(ValueError, match="no such file"):
        sharing.join("key", fail)
    made = sharing.join("key", list)
    assert sharing.leave("key") is made


def test_many_threads_make_one() -> None:
    sharing: Sharing[list[int]] = Sharing()
    found: list[list[int]] = []
    threads = [
        threading.Thread(target=lambda: found.append(sharing.join("key", list))) for _ in range(16)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len({id(made) for made in found}) == 1
    assert [sharing.leave("key") is None for _ in range(16)] == [True] * 15 + [False]

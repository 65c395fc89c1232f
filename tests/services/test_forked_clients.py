"""Processes forked beside an open client: a clear error there, right answers in the parent."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.services.test_teacher_service import PixelSums, make_server
from tests.support.patience import PATIENCE_SECONDS

ROOT = Path(__file__).parents[2]

PROGRAM = """
import asyncio, multiprocessing, sys, threading, time
import numpy as np
from rrl_client.security import make_channel
from rrl_client import AsyncTeacherClient
from rrl_client import TeacherClient, TeacherError

address, shared_memory = sys.argv[1], sys.argv[2] == "True"
states = np.arange(6 * 50, dtype=np.uint8).reshape(50, 2, 3) % 200

def rows_of(answer):
    return answer.action_values[:, 0].tolist()

def right(first, count):
    return states[first : first + count].sum(axis=(1, 2)).astype(float).tolist()

async def ask_in_a_loop():
    async with AsyncTeacherClient(address, shared_memory=shared_memory) as client:
        await client.evaluate(states[:1])

def refused(ask):
    try:
        ask()
    except (TeacherError, RuntimeError) as error:
        return "spawn" in str(error)
    return False

def child(client, results):
    ways = [
        lambda: TeacherClient(address, shared_memory=shared_memory),
        lambda: asyncio.run(ask_in_a_loop()),
        lambda: client.evaluate(states[:1]),
        lambda: client.evaluate_future(states[:1]),
        client.describe,
        lambda: make_channel(address),
    ]
    results.put([refused(ask) for ask in ways])
    # The parent's connections outlive this.
    client.close()

if __name__ == "__main__":
    fork = multiprocessing.get_context("fork")
    results = fork.SimpleQueue()
    with TeacherClient(address, shared_memory=shared_memory) as client:
        assert rows_of(client.evaluate(states)) == right(0, 50)
        children = [fork.Process(target=child, args=(client, results)) for _ in range(3)]
        for one in children:
            one.start()
        for turn in range(100):
            assert rows_of(client.evaluate(states[turn % 40 :][:5])) == right(turn % 40, 5)
        for one in children:
            assert results.get() == [True] * 6
            one.join()
            assert one.exitcode == 0
        assert rows_of(client.evaluate(states)) == right(0, 50)
    print("undisturbed")
"""


@pytest.fixture(scope="module")
def address() -> Iterator[str]:
    server = make_server(PixelSums())
    server.start()
    server.wait_until_ready(PATIENCE_SECONDS)
    yield server.address
    server.stop(5.0)


@pytest.mark.parametrize("shared_memory", [True, False])
def test_a_forked_child_is_refused_and_its_parent_undisturbed(
    address: str, shared_memory: bool
) -> None:
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, address, str(shared_memory)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=PATIENCE_SECONDS,
    )
    assert (done.returncode, done.stdout) == (0, "undisturbed\n"), done.stderr


def test_a_client_made_after_the_fork_is_like_any_other(address: str) -> None:
    program = """
import multiprocessing, sys
import numpy as np
from rrl_client import TeacherClient

def child():
    with TeacherClient(sys.argv[1]) as client:
        assert client.evaluate(np.ones((1, 2, 3), np.uint8)).action_values.tolist() == [[6, 12]]

if __name__ == "__main__":
    one = multiprocessing.get_context("fork").Process(target=child)
    one.start()
    one.join()
    sys.exit(one.exitcode)
"""
    done = subprocess.run(
        [sys.executable, "-c", program, address],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=PATIENCE_SECONDS,
    )
    assert done.returncode == 0, done.stderr

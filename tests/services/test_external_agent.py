"""An agent in an environment of its own: newest protobuf and grpcio, and another Python."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.client_environment import ROOT, build_client, bundled_teacher, client_python, run
from tests.support.programs import need_other_python, other_python

CLIENT_PACKAGES = {"rrl-client", "grpcio", "protobuf", "numpy", "typing-extensions"}
ENVIRONMENT_PACKAGES = {"ale-py", "gymnasium", "cloudpickle", "farama-notifications"}
STEPS = 300


@pytest.fixture(scope="module")
def agent_python(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The interpreter of the agent's environment: the distribution rrl-client, and Atari games."""
    wheel = build_client(tmp_path_factory.mktemp("client"))
    return client_python(other_python() or sys.executable, wheel, "ale-py", "gymnasium")


@pytest.fixture(scope="module")
def teacher_address() -> Iterator[str]:
    with bundled_teacher() as address:
        yield address


def test_the_agents_environment_holds_the_client_alone(agent_python: str) -> None:
    program = (
        "import importlib.metadata as m;"
        "print(*sorted({d.name.lower().replace('_', '-') for d in m.distributions()}))"
    )
    packages = run(agent_python, "-I", "-c", program).split()
    assert set(packages) == CLIENT_PACKAGES | ENVIRONMENT_PACKAGES


def test_the_agents_python_is_not_the_one_of_training(agent_python: str) -> None:
    need_other_python()
    version = run(agent_python, "-I", "-c", "import sys; print(sys.version_info[:2])").strip()
    assert version != str(sys.version_info[:2])


def test_the_stubs_and_the_client_import_without_a_warning(agent_python: str) -> None:
    program = "import rrl_client.v1.teacher_pb2_grpc, rrl_client; print(rrl_client.__file__)"
    place = run(agent_python, "-I", "-W", "error", "-c", program).strip()
    assert "site-packages" in place


def test_an_agent_plays_pong_by_the_teachers_action_values(
    agent_python: str, teacher_address: str, tmp_path: Path
) -> None:
    example = shutil.copy(ROOT / "examples" / "play_with_teacher.py", tmp_path)
    command = (agent_python, example, "--address", teacher_address, "--max-steps", str(STEPS))
    lines = run(*command).splitlines()
    assert lines[0].startswith("playing pong by pong_dqn")
    assert f"{STEPS} steps, 0 episodes" in lines[-2]
    so_far = float(re.search(r"\[(.*)\]", lines[-1])[1])  # type: ignore[index]
    # The first points of Pong fall after about 60 steps and then every 40 or so: someone scored,
    # and neither side can have more than 20 points before the game is over.
    assert -20 <= so_far <= 20


ALL_WAYS = """
import asyncio, sys
import google.protobuf, grpc, numpy as np
from rrl_client import AsyncTeacherClient
from rrl_client import TeacherClient, TeacherRejected
from rrl_client import TeacherPolicy

states = np.random.default_rng(0).integers(0, 256, (40, 84, 84, 4), dtype=np.uint8)
answers = {}

def ask(shared):
    with TeacherClient(sys.argv[1], shared_memory=shared, timeout_seconds=60) as teacher:
        teacher.wait_until_ready(30)
        futures = [teacher.evaluate_future(states[i:i + 1]) for i in range(8)]
        answers["sync", shared] = teacher.evaluate(states).action_values
        answers["futures", shared] = np.concatenate([f.result().action_values for f in futures])
        answers["policy", shared] = TeacherPolicy(teacher).action_values(
            np.moveaxis(states, -1, 1)
        )
        try:
            teacher.evaluate(states.astype(np.float32))
        except TeacherRejected:
            answers["rejected", shared] = answers["sync", shared]

async def ask_in_a_loop(shared):
    async with AsyncTeacherClient(sys.argv[1], shared_memory=shared, timeout_seconds=60) as teacher:
        await teacher.wait_until_ready(30)
        answers["async", shared] = (await teacher.evaluate(states)).action_values
        parts = await asyncio.gather(*(teacher.evaluate(states[i:i + 5]) for i in range(0, 40, 5)))
        answers["gathered", shared] = np.concatenate([part.action_values for part in parts])

for shared in (True, False):
    ask(shared)
    asyncio.run(ask_in_a_loop(shared))
first = answers["sync", False]
assert first.shape == (40, 6) and np.isfinite(first).all()
for way, values in answers.items():
    # Batches of other sizes are computed in another order of sums.
    np.testing.assert_allclose(values, first[: len(values)], rtol=1e-3, atol=1e-4, err_msg=str(way))
print(len(answers), "ways agree, protobuf", google.protobuf.__version__)
"""


def test_every_client_gives_the_agent_the_same_answers(
    agent_python: str, teacher_address: str
) -> None:
    # With shared memory and without x (sync, futures, policy, rejected, async, gathered).
    printed = run(agent_python, "-I", "-W", "error", "-c", ALL_WAYS, teacher_address).split()
    assert printed[0] == "12"
    assert int(printed[-1].split(".")[0]) >= 4


def test_the_same_clients_work_with_the_training_environments_protobuf(
    teacher_address: str,
) -> None:
    printed = run(sys.executable, "-c", ALL_WAYS, teacher_address).split()
    assert printed[0] == "12"


def test_an_agent_without_a_teacher_ends_with_one_line(agent_python: str, tmp_path: Path) -> None:
    example = shutil.copy(ROOT / "examples" / "play_with_teacher.py", tmp_path)
    done = subprocess.run(
        [agent_python, example, "--address", "127.0.0.1:1", "--timeout-seconds", "0.5"],
        capture_output=True,
        text=True,
        timeout=60,
        env={**os.environ, "GRPC_VERBOSITY": "ERROR"},
    )
    assert done.returncode == 2
    assert "no teacher was ready at 127.0.0.1:1" in done.stderr
    assert "Traceback" not in done.stderr

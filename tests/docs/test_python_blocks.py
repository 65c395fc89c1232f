"""The Python that README and the clients' guide show runs, against a real teacher."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from benchmarks.teacher.service import Service, teacher_service

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def teacher() -> Iterator[Service]:
    with teacher_service("pong_dqn") as service:
        yield service


def _program(page: str, teacher: Service) -> str:
    """A page's blocks of Python one after the other, asking this teacher."""
    blocks = re.findall(r"```python\n(.*?)```", (ROOT / page).read_text(), re.DOTALL)
    text = "\n".join(blocks)
    named = re.findall(r'TeacherClient\("([^"]+)"', text)
    assert named, page
    for address in named:
        text = text.replace(address, teacher.address)
    return text


def _run(program: str, folder: Path) -> str:
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=folder, capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_the_readme_plays_by_a_teachers_values(teacher: Service, tmp_path: Path) -> None:
    said = _run(_program("README.md", teacher), tmp_path)
    # Eight games with six actions, at the end of the block.
    assert said.splitlines()[-1].endswith("(8, 6)")


def test_the_clients_guide_asks_and_acts(teacher: Service, tmp_path: Path) -> None:
    # What the guide takes for granted: states, an environment, and a client that is still open.
    given = """
import types
import numpy as np
from gymnasium.spaces import Box, Discrete
from rrl_agents.environments.registry import EnvironmentConfig, make_environment

observations = make_environment(EnvironmentConfig(game="pong"), 1).reset(seed=0)
observation = observations[0]
environment = types.SimpleNamespace(
    action_space=Discrete(6), observation_space=Box(0, 255, (84, 84, 4), np.uint8)
)
"""
    blocks = _program("docs/teacher-clients.md", teacher)
    asked, act = blocks.split("\nfrom rrl_client import TeacherPolicy", maxsplit=1)
    still_open = f"\nteacher = TeacherClient({teacher.address!r})\n"
    program = given + asked + still_open + "from rrl_client import TeacherPolicy" + act
    said = _run(program + "\nprint(action)\nteacher.close()\n", tmp_path)
    assert int(said.splitlines()[-1]) in range(6)

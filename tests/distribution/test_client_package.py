"""The distribution rrl-client: what is in its wheel, and an agent's project that uses it alone.

The project has packages of its own with names that are ours in this repository.
"""

from __future__ import annotations

import subprocess
import sys
import tomllib
import zipfile
from collections.abc import Callable, Iterator
from email import message_from_string
from pathlib import Path

import pytest

from tests.support.client_environment import ROOT, build_client, bundled_teacher, client_python, run
from tests.support.programs import need_newest_python, need_oldest_python

MAIN = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
CLIENT = tomllib.loads((ROOT / "rrl_client" / "pyproject.toml").read_text())["project"]
DIST_INFO = f"rrl_client-{CLIENT['version']}.dist-info"
THEIR_PACKAGES = ("services", "protos", "rrl")

AGENT = """
import sys

import protos, rrl, services
import numpy as np
import rrl_client
from rrl_client.v1 import teacher_pb2_grpc

for theirs in (protos, rrl, services):
    assert theirs.OWNER == "the agent", theirs
with rrl_client.TeacherClient(sys.argv[1], timeout_seconds=60) as teacher:
    about = teacher.wait_until_ready(60)
    states = np.zeros((5, *about.spec.observation_shape), about.spec.observation_dtype)
    values = teacher.evaluate(states).action_values
assert values.shape == (5, about.spec.num_actions) and np.isfinite(values).all()
assert "site-packages" in rrl_client.__file__
others = {"rrl_agents", "services.shared", "services.teacher", "jax"} & sys.modules.keys()
print(about.game, *others)
"""


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build_client(tmp_path_factory.mktemp("client"))


@pytest.fixture(scope="module")
def teacher_address() -> Iterator[str]:
    with bundled_teacher() as address:
        yield address


def contents(wheel: Path) -> dict[str, bytes]:
    with zipfile.ZipFile(wheel) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def test_the_wheel_holds_one_top_level_package_whole_and_nothing_else(wheel: Path) -> None:
    listed = subprocess.run(
        ["git", "ls-files", "-z", "-co", "--exclude-standard", "--", "rrl_client"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    project = {f"rrl_client/{name}" for name in ("LICENSE", "README.md", "pyproject.toml")}
    files = {name for name in listed.stdout.split("\0") if (ROOT / name).is_file()} - project
    packed = contents(wheel)
    assert {name for name in packed if not name.startswith(f"{DIST_INFO}/")} == files
    assert {"rrl_client/py.typed", "rrl_client/v1/teacher_pb2.pyi"} <= files
    assert packed[f"{DIST_INFO}/top_level.txt"].decode().split() == ["rrl_client"]
    assert packed[f"{DIST_INFO}/licenses/LICENSE"] == (ROOT / "LICENSE").read_bytes()
    assert f"{DIST_INFO}/entry_points.txt" not in packed


def test_the_source_archive_makes_the_same_wheel(wheel: Path, tmp_path: Path) -> None:
    # Of the copy that the wheel is made from.
    program = "import sys, setuptools.build_meta as b; b.build_sdist(sys.argv[1])"
    run(sys.executable, "-c", program, tmp_path, cwd=wheel.parent / "rrl_client")
    (archive,) = tmp_path.glob("*.tar.gz")
    again = (*("--no-build-isolation", "--no-deps", "-w", tmp_path), archive)
    run(sys.executable, "-m", "pip", "--quiet", "wheel", *again, cwd=tmp_path)
    assert contents(tmp_path / wheel.name) == contents(wheel)


def test_the_client_is_described_as_the_whole_is(wheel: Path) -> None:
    # Both hold the same files, so both must be of one version and need the same.
    same = ("version", "license", "authors", "requires-python", "classifiers", "dependencies")
    assert {key: CLIENT[key] for key in same} == {key: MAIN[key] for key in same}
    about = message_from_string(contents(wheel)[f"{DIST_INFO}/METADATA"].decode())
    assert about["Name"] == "rrl-client"
    assert {line.split(">")[0] for line in about.get_all("Requires-Dist", [])} == {
        "grpcio",
        "numpy",
        "protobuf<8,",
    }


@pytest.mark.parametrize(
    "find_python",
    [
        pytest.param(lambda: sys.executable, id="this-python"),
        pytest.param(need_oldest_python, id="oldest-python"),
        pytest.param(need_newest_python, id="newest-python"),
    ],
)
def test_a_project_with_packages_of_our_names_asks_a_teacher(
    find_python: Callable[[], str], wheel: Path, teacher_address: str, tmp_path: Path
) -> None:
    python = client_python(find_python(), wheel)
    for name in THEIR_PACKAGES:
        (tmp_path / name).mkdir()
        (tmp_path / name / "__init__.py").write_text('OWNER = "the agent"\n')
    (tmp_path / "agent.py").write_text(AGENT)
    printed = run(python, "-E", "-W", "error", "agent.py", teacher_address, cwd=tmp_path)
    assert printed.split() == ["pong"]

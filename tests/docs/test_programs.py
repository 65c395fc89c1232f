"""The programs of the environment that README calls, run as it says."""

from __future__ import annotations

import contextlib
import json
import subprocess
import sys
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from services.shared.addresses import free_port
from services.tracking.tensorboard import TensorBoard
from services.tracking.tracker import TrackedRun
from tests.support.patience import PATIENCE_SECONDS, wait_until

ROOT = Path(__file__).parents[2]
PROGRAMS = Path(sys.executable).parent
REQUEST_SECONDS = 60.0
STOP_SECONDS = 60.0

Page = Callable[[str], bytes]


@pytest.fixture
def tensorboard(tmp_path: Path) -> Iterator[Page]:
    """TensorBoard over the log of one run; gives the body that it answers for a path."""
    with contextlib.closing(TensorBoard(TrackedRun(folder=tmp_path / "runs" / "mine"))) as writer:
        writer.scalars(0, {"loss/td": 0.5})
        writer.scalars(100, {"loss/td": 0.25})
    port = free_port()
    printed = tmp_path / "printed"

    def page(path: str) -> bytes:
        url = f"http://127.0.0.1:{port}{path}"
        with urllib.request.urlopen(url, timeout=REQUEST_SECONDS) as answer:
            assert isinstance(body := answer.read(), bytes)
            return body

    def answers() -> bool:
        assert process.poll() is None, f"TensorBoard ended:\n{printed.read_text()}"
        try:
            page("/")
        except urllib.error.URLError:
            return False
        return True

    command = [PROGRAMS / "tensorboard", "--logdir", "runs", "--port", str(port)]
    with printed.open("wb") as output:
        process = subprocess.Popen(
            [*command, "--host", "127.0.0.1"], cwd=tmp_path, stdout=output, stderr=output
        )
    try:
        wait_until(answers, "TensorBoard answers")
        yield page
    finally:
        process.terminate()
        try:
            process.wait(STOP_SECONDS)
        finally:
            process.kill()
            process.wait()


def test_tensorboard_shows_the_scalars_of_a_run(tensorboard: Page) -> None:
    assert b"<title>TensorBoard</title>" in tensorboard("/")
    run, tag = "mine/metrics", "loss/td"

    def is_read() -> bool:
        return tag in json.loads(tensorboard("/data/plugin/scalars/tags")).get(run, {})

    wait_until(is_read, "TensorBoard has read the log")
    asked = urllib.parse.urlencode({"run": run, "tag": tag})
    rows = json.loads(tensorboard(f"/data/plugin/scalars/scalars?{asked}"))
    assert [(step, value) for _, step, value in rows] == [(0, 0.5), (100, 0.25)]


def pip(*arguments: str | Path) -> str:
    done = subprocess.run(
        [PROGRAMS / "pip", "--disable-pip-version-check", *arguments],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=PATIENCE_SECONDS,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_pip_belongs_to_the_environment() -> None:
    assert str(PROGRAMS.parent) in pip("--version")


def test_pip_would_install_a_users_package_beside_ours(tmp_path: Path) -> None:
    package = tmp_path / "my_package"
    package.mkdir()
    (package / "__init__.py").touch()
    (tmp_path / "pyproject.toml").write_text(
        "[build-system]\n"
        'requires = ["setuptools"]\n'
        'build-backend = "setuptools.build_meta"\n'
        "[project]\n"
        'name = "my-package"\n'
        'version = "1.2"\n'
        'dependencies = ["rrl-agents", "numpy"]\n'
        "[tool.setuptools]\n"
        'packages = ["my_package"]\n'
    )
    # From no index, built by what the environment holds: nothing is downloaded or installed.
    offline = ("--dry-run", "--no-index", "--no-build-isolation")
    would = pip("install", *offline, tmp_path).splitlines()[-1]
    assert would == "Would install my-package-1.2"

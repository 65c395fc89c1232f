"""The teacher's side on the oldest CPython that it is promised for, with the newest packages."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from services.cli.main import COMMANDS
from tests.support.programs import need_oldest_python

ROOT = Path(__file__).parents[2]
INSTALL_SECONDS = 1200
TEACHERS = sorted(name for name, command in COMMANDS.items() if command.extra == "teacher")

PROGRAM = """
import sys
from services.cli.main import run
for name in sys.argv[1:]:
    try:
        code = run([*name.split(), "--help"])
    except SystemExit as ended:
        code = ended.code
    assert code == 0, name
import rrl_client
sys.exit(run(["lineage", "pong_dqn", "--json"]))
"""


def run(*command: str | Path, cwd: Path = ROOT, timeout: float = INSTALL_SECONDS) -> str:
    done = subprocess.run(command, cwd=cwd, capture_output=True, text=True, timeout=timeout)
    assert done.returncode == 0, f"{command}\n{done.stdout}\n{done.stderr}"
    return done.stdout


@pytest.fixture(scope="module")
def oldest_python(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The interpreter of an environment with the teacher's side; kept, our package rebuilt."""
    python = need_oldest_python()
    folder = ROOT / ".cache" / "teacher-on-oldest-python"
    interpreter = folder / "bin" / "python"
    if not interpreter.is_file():
        run(python, "-m", "venv", "--clear", "--without-pip", folder)
    # From a copy: a build in the checkout leaves files there that a later build would pick up.
    source = tmp_path_factory.mktemp("source")
    for package in ("services", "rrl_client", "rrl_agents"):
        shutil.copytree(ROOT / package, source / package, ignore=shutil.ignore_patterns("__pyc*"))
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, source)
    pip = (sys.executable, "-m", "pip", "--quiet", "--python", interpreter, "install")
    run(*pip, f"{source}[teacher]")
    run(*pip, "--force-reinstall", "--no-deps", source)
    return interpreter


@pytest.mark.slow
def test_every_command_of_the_teachers_side_starts_on_the_oldest_python(
    oldest_python: Path, tmp_path: Path
) -> None:
    shown = run(oldest_python, "-I", "-W", "error", "-c", PROGRAM, *TEACHERS, cwd=tmp_path)
    assert all(f"usage: rrl {name}" in shown for name in TEACHERS)

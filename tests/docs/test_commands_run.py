"""The pages' commands run, each page's in its order and in one folder, as a reader types them."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import IO

import pytest

from services.shared.addresses import free_port
from tests.support.page_commands import RUN, TAKEN_FOR_GRANTED, Kind, kind, of_page, shortened
from tests.support.pages import ROOT, Command, commands
from tests.support.patience import PATIENCE_SECONDS, wait_until

WRITTEN = list(commands())
# Ctrl-C's own exit code beside success.
ENDED = (0, 128 + signal.SIGINT)


def _pages(*kinds: Kind) -> list[str]:
    """Pages with a command of these kinds, beside the mere change of folder."""
    those = [one for one in WRITTEN if kind(one) in kinds and not one.text.startswith("cd ")]
    return list(dict.fromkeys(command.page for command in those))


class Reader:
    """Types commands in a copy of the checkout, with an environment and a store of its own.

    Installing into the environment leaves this one as it is.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = self._cwd = folder
        self._block = ""
        self._services: dict[str, tuple[Command, subprocess.Popen[bytes], Path]] = {}
        self._started: list[subprocess.Popen[bytes]] = []
        names = ("teacher", "replay", "control", "learner")
        self._ports = {name: free_port() for name in names}
        for name in ("examples", "rrl_client", "suites", "tests/fixtures"):
            leave = shutil.ignore_patterns("__pycache__", "build", "*.egg-info")
            shutil.copytree(ROOT / name, folder / name, ignore=leave)
        self._environment = _environment(folder)

    def type(self, command: Command) -> None:
        """Run a command to its end, or a service until it works."""
        if command.block != self._block:
            self._block, self._cwd = command.block, self._folder
        if command.text.startswith("cd "):
            self._cwd /= command.words[1]
            assert self._cwd.is_dir(), command
        elif kind(command) is Kind.SERVES:
            self._serve(command)
        else:
            line = shortened(command, self._ports)
            printed = self._folder / "printed"
            with printed.open("wb") as output:
                process = self._start(line, output)
                code = process.wait(PATIENCE_SECONDS * 3)
            assert code == 0, f"{command}\n{line}\n{_end(printed)}"

    def _serve(self, command: Command) -> None:
        name = " ".join(command.words[1:3])
        if name in self._services:
            self._stop(name)
        line = shortened(command, self._ports)
        printed = self._folder / f"printed by {name}"
        with printed.open("wb") as output:
            process = self._start(line, output)
        self._services[name] = (command, process, printed)

        # Roles other than the teacher wait for their peers, and say nothing while they do.
        says = {"teacher serve": "ready at", "status RUN": "RUN"}.get(name, "")

        def works() -> bool:
            assert process.poll() in (None, 0), f"{command}\n{line}\n{_end(printed)}"
            return says in printed.read_text()

        wait_until(works, f"{command} works")

    def _start(self, line: str, output: IO[bytes]) -> subprocess.Popen[bytes]:
        process = subprocess.Popen(
            ["bash", "-c", line],
            cwd=self._cwd,
            env=self._environment,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        self._started.append(process)
        return process

    def _stop(self, name: str) -> None:
        command, process, printed = self._services.pop(name)
        # Learner and actors end by themselves, with the run.
        if process.poll() is None and not name.startswith(("learner ", "actor ")):
            os.killpg(process.pid, signal.SIGINT)
        assert process.wait(PATIENCE_SECONDS) in ENDED, f"{command}\n{_end(printed)}"

    def leave(self) -> None:
        """Stop all services: by Ctrl-C, those of a run after the run."""
        for name in reversed(list(self._services)):
            self._stop(name)

    def kill(self) -> None:
        """End what a failure has left."""
        for process in self._started:
            # Of one that failed there may be children alone.
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()


def _end(printed: Path) -> str:
    return printed.read_text(errors="replace")[-4000:]


def _environment(folder: Path) -> dict[str, str]:
    """An environment in `.venv` that sees the packages of this one; the variables for a shell."""
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", folder / ".venv"], check=True)
    programs, own = folder / ".venv" / "bin", Path(sys.executable).parent
    (packages,) = (folder / ".venv" / "lib").glob("python*/site-packages")
    seen = next(path for path in sys.path if path.endswith("site-packages"))
    (packages / "seen.pth").write_text(f"import site; site.addsitedir({seen!r})\n")
    for program in ("rrl", "pip"):
        _, rest = (own / program).read_text().split("\n", maxsplit=1)
        (programs / program).write_text(f"#!{programs / 'python'}\n{rest}")
        (programs / program).chmod(0o755)
    (folder / "home").mkdir()
    return os.environ | {
        "PATH": os.pathsep.join([str(programs), os.environ["PATH"]]),
        "HOME": str(folder / "home"),
        "RRL_CACHE": str(folder / "store"),
        "PIP_DISABLE_PIP_VERSION_CHECK": "1",
    }


@pytest.fixture
def reader(tmp_path: Path) -> Iterator[Reader]:
    one = Reader(tmp_path)
    try:
        yield one
    finally:
        one.kill()


def _type_all(reader: Reader, page: str, *kinds: Kind) -> None:
    for command in of_page(page, WRITTEN):
        if kind(command) in kinds:
            reader.type(command)
    reader.leave()


@pytest.mark.parametrize("command", WRITTEN, ids=str)
def test_a_rule_says_what_becomes_of_every_command(command: Command) -> None:
    assert kind(command) is not None, (
        f"{command}: no rule says whether this runs here; add its program, or the placeholder in"
        " it, to RULES in tests/support/page_commands.py"
    )


def test_what_is_taken_for_granted_is_of_a_page_and_runs() -> None:
    for page in TAKEN_FOR_GRANTED:
        assert page in {command.page for command in WRITTEN}
        assert {kind(command) for command in of_page(page, [])} <= set(RUN)


@pytest.mark.parametrize("page", _pages(Kind.QUICK))
def test_the_quick_commands_of_a_page_run(reader: Reader, page: str) -> None:
    _type_all(reader, page, Kind.QUICK)


@pytest.mark.slow
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("page", _pages(Kind.SLOW, Kind.SERVES))
def test_all_commands_of_a_page_that_run_here_run(reader: Reader, page: str) -> None:
    _type_all(reader, page, *RUN)


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_make_demo_ends_with_a_report(reader: Reader, tmp_path: Path) -> None:
    demos = [command for command in WRITTEN if kind(command) is Kind.DEMO]
    shutil.copy(ROOT / "Makefile", tmp_path)
    reader.type(demos[0])
    assert list(tmp_path.glob("runs/*/report/summary.json"))

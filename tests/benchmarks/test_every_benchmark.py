"""Every benchmark in the folder runs to its end in its smallest form, and prints its ratios."""

from __future__ import annotations

import json
import math
import re
import runpy
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

ROOT = Path(__file__).resolve().parents[2]
_GUARD = '\nif __name__ == "__main__":\n'

# Few CPU seconds; all others start services, whose imports alone take longer.
FAST = {"benchmarks.minatar_steps"}
LIMIT_SECONDS = 1_000


def _entries() -> list[str]:
    """What `python -m` takes: every file below benchmarks/ that runs something when called."""
    paths = sorted((ROOT / "benchmarks").rglob("*.py"))
    modules = [path for path in paths if _GUARD in path.read_text()]
    names = [".".join(path.relative_to(ROOT).with_suffix("").parts) for path in modules]
    return [name.removesuffix(".__main__") for name in names]


def _python(*arguments: str, seconds: float = LIMIT_SECONDS) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, *arguments], cwd=ROOT, capture_output=True, text=True, timeout=seconds
    )


def test_the_benchmarks_are_found() -> None:
    assert set(_entries()) > FAST
    assert "benchmarks.teacher" in _entries()


def test_the_guide_names_every_benchmark_and_no_other() -> None:
    guide = (ROOT / "docs" / "performance.md").read_text()
    section = guide.partition("\n## All benchmarks\n")[2]
    named = re.findall(r"python -m (benchmarks\S*)", section.partition("\n## ")[0])
    assert sorted(named) == sorted(_entries())


def call(name: str, *arguments: str, monkeypatch: pytest.MonkeyPatch) -> object:
    """The exit code of a benchmark that only reads its command line, in this process."""
    monkeypatch.setattr(sys, "argv", [name, *arguments])
    with pytest.raises(SystemExit) as ended:
        runpy.run_module(name, run_name="__main__")
    return ended.value.code


@pytest.mark.parametrize("name", _entries())
def test_each_says_what_it_takes(
    name: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert call(name, "--help", monkeypatch=monkeypatch) == 0
    said = capsys.readouterr().out
    for flag in ("--quick", "--smallest", "--json", "--limit-seconds"):
        assert flag in said


@pytest.mark.timeout(LIMIT_SECONDS + 60)
@pytest.mark.parametrize(
    "name",
    [pytest.param(name, marks=() if name in FAST else pytest.mark.slow) for name in _entries()],
)
def test_each_ends_and_prints_its_ratios(name: str) -> None:
    done = _python("-m", name, "--smallest", "--json")
    assert done.returncode == 0, done.stderr[-4000:]
    *lines, last = done.stdout.splitlines()
    ratios = json.loads(last)["ratios"]
    assert ratios
    assert all(math.isfinite(ratio) and ratio > 0 for ratio in ratios.values()), ratios
    printed = [line.rsplit(maxsplit=1)[0] for line in lines[lines.index("ratios") + 1 :]]
    assert printed == list(ratios)


def test_a_benchmark_that_waits_too_long_ends_with_an_error_and_says_where_it_stood() -> None:
    done = _python("-m", "benchmarks.minatar_steps", "--limit-seconds", "0.2")
    assert done.returncode == 1
    assert "minatar_steps.py" in done.stderr
    *_, last = done.stderr.splitlines()
    assert "not finished within 0.2 s" in last
    assert "--limit-seconds" in last


def test_one_that_cannot_leave_is_killed_with_what_it_started(tmp_path: Path) -> None:
    child = tmp_path / "child"
    program = f"""
import pathlib, signal, subprocess, sys, time
from benchmarks.limits import end_within
child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
pathlib.Path({str(child)!r}).write_text(str(child.pid))
# As native code that lets no signal through.
signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGALRM])
end_within(0.2, grace_seconds=0.2)
time.sleep(600)
"""
    done = _python("-c", program, seconds=120)
    assert done.returncode == 1
    assert "killed" in done.stderr
    assert _is_gone(int(child.read_text()))


def _is_gone(pid: int) -> bool:
    """Whether a process ends within seconds; as a zombie it has, and its new parent is slow."""
    for _ in range(300):
        try:
            if psutil.Process(pid).status() == psutil.STATUS_ZOMBIE:
                return True
        except psutil.NoSuchProcess:
            return True
        time.sleep(0.1)
    return False


@pytest.mark.parametrize("limit", ["0", "-1", "nan"])
def test_a_time_limit_of_no_time_is_refused(
    limit: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    name = "benchmarks.minatar_steps"
    assert call(name, "--limit-seconds", limit, monkeypatch=monkeypatch) == 2
    assert "must be above 0" in capsys.readouterr().err

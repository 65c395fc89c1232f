"""How long a run takes from the command to its first progress number, and the CPU time until then.

`rrl demo` runs in its own terminal, first with an empty cache of compiled functions
(cold), then with the cache that the first start has filled (warm). Its first sign is the first
character on the terminal; its first number is the first step count above 0. The CPU time is that of
all its processes until then. Wall times are meaningful on an idle machine only; the CPU time is
compared with that of one learner's imports, measured at the same time.

Ratios (lower is better):
    cold                    seconds to the first number over 20 s, cold; at most 1 is the bar
    warm                    the same over 10 s, warm; at most 1 is the bar
    first_sign              seconds to the first sign over 1 s, warm
    warm_cpu_over_imports   CPU time to the first number, warm, over the imports of one learner

    python -m benchmarks.start --quick --json
"""

from __future__ import annotations

import dataclasses
import fcntl
import os
import pty
import re
import resource
import select
import signal
import struct
import subprocess
import sys
import tempfile
import termios
import time
from pathlib import Path

import psutil

from benchmarks.harness import Round, parse_flags, print_outcome

COLD_BAR_SECONDS, WARM_BAR_SECONDS, SIGN_BAR_SECONDS = 20.0, 10.0, 1.0
RRL = Path(sys.executable).parent / "rrl"
IMPORTS = "import services.learner.role, services.learner.metrics"

_FIRST_NUMBER = re.compile(rb"[1-9][0-9,]* / [0-9,]+ steps")
_ROWS, _COLUMNS = 40, 160
_READ_BYTES = 65536
_LONGEST_SECONDS = 600.0


@dataclasses.dataclass(frozen=True)
class Start:
    """What was seen of one start.

    Attributes:
        sign_seconds: From the command to the first character.
        number_seconds: From the command to the first number.
        cpu_seconds: Of all processes, to the first number.
    """

    sign_seconds: float
    number_seconds: float
    cpu_seconds: float


def main() -> None:
    """Measure and print."""
    flags = parse_flags(__doc__)
    rounds = [measured() for _ in range(flags.pick(full=5, quick=2, smallest=1))]
    ratios = {
        "cold": ("cold_seconds", "cold_bar_seconds"),
        "warm": ("warm_seconds", "warm_bar_seconds"),
        "first_sign": ("sign_seconds", "sign_bar_seconds"),
        "warm_cpu_over_imports": ("warm_cpu_seconds", "imports_cpu_seconds"),
    }
    print_outcome(rounds, ratios, flags)


def measured() -> Round:
    """One cold and one warm start, and the imports."""
    with tempfile.TemporaryDirectory() as folder:
        cold, warm = (start(Path(folder), name) for name in ("cold", "warm"))
    return {
        "cold_seconds": cold.number_seconds,
        "cold_bar_seconds": COLD_BAR_SECONDS,
        "cold_cpu_seconds": cold.cpu_seconds,
        "warm_seconds": warm.number_seconds,
        "warm_bar_seconds": WARM_BAR_SECONDS,
        "warm_cpu_seconds": warm.cpu_seconds,
        "sign_seconds": warm.sign_seconds,
        "sign_bar_seconds": SIGN_BAR_SECONDS,
        "imports_cpu_seconds": imports_cpu_seconds(),
    }


def start(folder: Path, name: str) -> Start:
    """Start the demo, and end it when it has shown its first number.

    Raises:
        RuntimeError: It ended before, or took too long.
    """
    ours, its = pty.openpty()
    fcntl.ioctl(its, termios.TIOCSWINSZ, struct.pack("HHHH", _ROWS, _COLUMNS, 0, 0))
    environment = os.environ | {"RRL_CACHE": str(folder / "cache"), "TERM": "xterm"}
    began = time.monotonic()
    process = subprocess.Popen(
        [str(RRL), "demo", "--runs", str(folder / name)],
        stdin=its,
        stdout=its,
        stderr=its,
        env=environment,
        start_new_session=True,
    )
    os.close(its)
    try:
        return _watch(process, ours, began)
    finally:
        process.send_signal(signal.SIGINT)
        _drain_until_ended(process, ours)
        os.close(ours)


def _watch(process: subprocess.Popen[bytes], terminal: int, began: float) -> Start:
    shown, sign = b"", None
    while time.monotonic() - began < _LONGEST_SECONDS:
        text = _read(terminal)
        if text is None:
            break
        shown += text
        if sign is None and text:
            sign = time.monotonic() - began
        if _FIRST_NUMBER.search(shown):
            assert sign is not None, "the number was shown"
            return Start(sign, time.monotonic() - began, _cpu_seconds(process.pid))
    raise RuntimeError(f"the demo showed no number: {shown.decode(errors='replace')[-2000:]}")


def _read(terminal: int) -> bytes | None:
    """What came within a moment; None at the end."""
    if not select.select([terminal], [], [], 0.05)[0]:
        return b""
    try:
        return os.read(terminal, _READ_BYTES) or None
    except OSError:
        # A terminal that its program has left.
        return None


def _drain_until_ended(process: subprocess.Popen[bytes], terminal: int) -> None:
    end = time.monotonic() + _LONGEST_SECONDS
    while process.poll() is None and time.monotonic() < end:
        if _read(terminal) is None:
            break
    process.wait(_LONGEST_SECONDS)


def _cpu_seconds(pid: int) -> float:
    """CPU time of a process and all below it, those that have ended included."""
    total, launcher = 0.0, psutil.Process(pid)
    for process in [launcher, *launcher.children(recursive=True)]:
        times = process.cpu_times()
        total += times.user + times.system + times.children_user + times.children_system
    return total


def imports_cpu_seconds() -> float:
    """CPU time of a process that imports what the learner does, and nothing else."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run([sys.executable, "-c", IMPORTS], check=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


if __name__ == "__main__":
    main()

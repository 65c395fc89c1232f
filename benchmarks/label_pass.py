"""One labelling pass in a process that imports only what `rrl teacher label` does."""

from __future__ import annotations

import dataclasses
import json
import os
import subprocess
import sys
import time
from pathlib import Path

from rrl_agents.checkpoints.dopamine_replay.rows import open_dopamine_replay
from services.cli.teacher_label import label_rows
from services.shared.allocator import keep_large_buffers


@dataclasses.dataclass(frozen=True, kw_only=True)
class Pass:
    """What a pass took.

    Attributes:
        transitions: States that got their scores.
        seconds: From opening the data to the last synced label.
        cpu_seconds: CPU time of the process during the pass.
        resident_bytes: Its resident memory before.
        peak_bytes: Its largest resident memory.
    """

    transitions: int
    seconds: float
    cpu_seconds: float
    resident_bytes: int
    peak_bytes: int


def run_pass(data: Path, address: str, labels: Path) -> Pass:
    """Make one in a process of its own.

    Args:
        data: The replay buffer.
        address: "host:port" of the teacher service.
        labels: Folder to write.
    """
    program = "from benchmarks.label_pass import print_pass; print_pass()"
    command = (sys.executable, "-c", program, str(data), address, str(labels))
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, check=True)
    return Pass(**json.loads(done.stdout))


def print_pass() -> None:
    """Make the pass of this process's arguments, and print it as JSON."""
    data, address, labels = sys.argv[1:]
    print(json.dumps(dataclasses.asdict(_pass(Path(data), address, Path(labels)))))


def _pass(data: Path, address: str, labels: Path) -> Pass:
    keep_large_buffers()
    resident = peak_bytes(os.getpid())
    cpu_before, start = time.process_time(), time.perf_counter()
    rows = open_dopamine_replay(data)
    label_rows(rows, address, beside=labels.parent, out=labels)
    return Pass(
        transitions=len(rows.transition_rows(n_step=1)),
        seconds=time.perf_counter() - start,
        cpu_seconds=time.process_time() - cpu_before,
        resident_bytes=resident,
        peak_bytes=peak_bytes(os.getpid()),
    )


def peak_bytes(pid: int) -> int:
    """Largest resident memory of a process so far.

    Not `getrusage`, whose figure a process inherits from the one that started it.
    """
    status = Path(f"/proc/{pid}/status").read_text(encoding="utf-8")
    (line,) = [line for line in status.splitlines() if line.startswith("VmHWM:")]
    return int(line.split()[1]) * 1024

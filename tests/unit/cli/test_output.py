"""Where the output of a command goes is not a condition of its work."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from tests.support.patience import PATIENCE_SECONDS

RRL = Path(sys.executable).parent / "rrl"

WORKS = """
import sys
from pathlib import Path
from services.cli.output import open_standard_streams, unfailing_output
open_standard_streams()
with unfailing_output():
    for number in range(3):
        print("news", number, flush=True)
        print("complaint", number, file=sys.stderr)
        print("x" * 100_000)
    Path(sys.argv[1]).write_text("done")
"""


def shell(command: str, *arguments: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["bash", "-c", f"set -o pipefail; {command}", "bash", *arguments],
        capture_output=True,
        text=True,
        timeout=PATIENCE_SECONDS,
    )


def test_work_is_done_whoever_reads(tmp_path: Path) -> None:
    python = (sys.executable, WORKS)
    ways = {
        "a reader": ('"$1" -c "$2" "$3"', 0),
        "a reader that leaves": ('"$1" -c "$2" "$3" | head -c 1', 0),
        "full disks": ('"$1" -c "$2" "$3" > /dev/full 2> /dev/full', 0),
        "closed streams": ('"$1" -c "$2" "$3" <&- >&- 2>&-', 0),
    }
    for number, (way, (command, code)) in enumerate(ways.items()):
        done = shell(command, *python, file := tmp_path / str(number))
        assert done.returncode == code, (way, done.stderr)
        # Not a line more, and nothing of the output in the file that took a closed descriptor.
        assert file.read_text() == "done", way


def test_a_reader_that_stays_gets_everything(tmp_path: Path) -> None:
    done = shell('"$1" -c "$2" "$3"', sys.executable, WORKS, tmp_path / "file")
    assert [line for line in done.stdout.splitlines() if "x" not in line] == [
        f"news {number}" for number in range(3)
    ]
    assert done.stderr.splitlines() == [f"complaint {number}" for number in range(3)]


def test_a_command_that_prints_says_in_one_line_that_it_cannot() -> None:
    done = shell('"$1" list methods > /dev/full', RRL)
    assert done.returncode == 2
    (line,) = done.stderr.splitlines()
    assert line == f"rrl list: [Errno 28] {os.strerror(28)}"


def test_a_command_that_prints_ends_well_when_its_reader_has_read_enough() -> None:
    done = shell('"$1" list environments --json | head -c 1', RRL)
    assert (done.returncode, done.stdout, done.stderr) == (0, "[", "")

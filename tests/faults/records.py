"""What the roles' own records say: which checkpoint was gone on from, and what went wrong."""

from __future__ import annotations

import collections
import re
from pathlib import Path

from tests.faults.supervisor import Exit
from tests.faults.system import LEARNER
from tests.faults.watch import Watch

_GOES_ON = re.compile(r"resuming from \S*/(\d{8}): \w+, (\d+) updates")
_RAISED = re.compile(r"^(?:\w+\.)*(\w+(?:Error|Exception|Lost|Timeout|Unusable))\b", re.MULTILINE)
_LAST_LINE_LENGTH = 160


class Records:
    """Reads the logs of all roles, each line once.

    Args:
        logs: Folder that the supervisor writes them to.
    """

    def __init__(self, logs: Path) -> None:
        self._logs = logs
        self._read: dict[Path, int] = {}
        self.exceptions: collections.Counter[str] = collections.Counter()
        """Exceptions whose tracebacks were printed, as "role: Name"."""
        self.restorations = 0
        """Times that the learner said which checkpoint it went on from."""

    def check(self, watch: Watch) -> list[str]:
        """Read on; returns what should not be there."""
        problems = []
        for log in sorted(self._logs.glob("*.log")):
            text = self._read_on(log)
            role = log.name.rpartition("-")[0]
            if role == LEARNER:
                problems += self._check_restorations(text, watch)
            if "Traceback (most recent call last)" in text:
                self.exceptions.update(f"{role}: {name}" for name in _RAISED.findall(text))
            problems += [
                f"{role} met a number that is not finite"
                for _ in re.findall("FloatingPointError", text)
            ]
        return problems

    def _check_restorations(self, text: str, watch: Watch) -> list[str]:
        """A checkpoint that was gone on from was whole, and its clocks are what was loaded."""
        problems = []
        known = watch.checkpoints
        found = [(int(number), int(updates)) for number, updates in _GOES_ON.findall(text)]
        self.restorations += len(found)
        # What was read before the last is what replay then turned out to have no sound tables of.
        if found and found[-1][0] in watch.spoilt:
            problems.append(f"learner went on from {found[-1][0]}, which is damaged")
        for number, updates in found:
            if number not in known:
                problems.append(f"learner resumed from {number}, which was never seen whole")
            elif known[number].learner_updates != updates:
                problems.append(
                    f"learner went on from {number} with {updates} updates, its record says "
                    f"{known[number].learner_updates}"
                )
        return problems

    def _read_on(self, log: Path) -> str:
        with log.open("rb") as content:
            content.seek(self._read.get(log, 0))
            text = content.read()
            # A line is read once it is whole.
            whole = text[: text.rfind(b"\n") + 1]
            self._read[log] = self._read.get(log, 0) + len(whole)
        return whole.decode(errors="replace")


def last_line(end: Exit) -> str:
    """What a process said last."""
    lines = end.log.read_bytes()[-4096:].decode(errors="replace").splitlines()
    return next((line[:_LAST_LINE_LENGTH] for line in reversed(lines) if line.strip()), "")

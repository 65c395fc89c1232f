"""A process that ends is started again, unless it is held back."""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.faults.supervisor import Supervisor
from tests.support.patience import PATIENCE_SECONDS, wait_until

_SLEEPS = [sys.executable, "-S", "-c", "import time; print('here', flush=True); time.sleep(600)"]
_FAILS = [sys.executable, "-S", "-c", "raise SystemExit(3)"]


@pytest.fixture
def supervisor(tmp_path: Path) -> Iterator[Supervisor]:
    with Supervisor({"sleeper": _SLEEPS}, os.environ, tmp_path) as started:
        wait_until(lambda: started.pid("sleeper") is not None)
        wait_until(lambda: "here" in started.log("sleeper").read_text())
        yield started


def pid(supervisor: Supervisor) -> int:
    found = supervisor.pid("sleeper")
    assert found is not None
    return found


def test_a_killed_role_is_started_again_with_a_log_of_its_own(supervisor: Supervisor) -> None:
    before, log = pid(supervisor), supervisor.log("sleeper")
    supervisor.signal("sleeper", signal.SIGKILL)
    wait_until(lambda: supervisor.pid("sleeper") not in (None, before))
    assert supervisor.log("sleeper") != log
    (end,) = supervisor.ends
    assert (end.role, end.code, end.was_asked, end.log) == ("sleeper", -9, True, log)


def test_a_role_that_is_held_stays_down_until_it_is_released(supervisor: Supervisor) -> None:
    supervisor.hold("sleeper")
    supervisor.signal("sleeper", signal.SIGTERM)
    assert supervisor.wait_until_ended(["sleeper"], timeout_seconds=PATIENCE_SECONDS) == []
    time.sleep(0.5)
    assert supervisor.pid("sleeper") is None
    supervisor.release("sleeper")
    wait_until(lambda: supervisor.pid("sleeper") is not None)


def test_a_stopped_role_is_left_alone(supervisor: Supervisor) -> None:
    before = pid(supervisor)
    supervisor.signal("sleeper", signal.SIGSTOP)
    assert supervisor.wait_until_ended(["sleeper"], timeout_seconds=0.3) == ["sleeper"]
    supervisor.signal("sleeper", signal.SIGCONT)
    assert pid(supervisor) == before
    assert supervisor.ends == []


def test_a_role_that_ends_by_itself_again_and_again_is_started_less_and_less_often(
    tmp_path: Path,
) -> None:
    with Supervisor({"failing": _FAILS}, os.environ, tmp_path) as supervisor:
        wait_until(lambda: len(supervisor.ends) >= 3)
        first, second, third = supervisor.ends[:3]
    assert {end.code for end in (first, second, third)} == {3}
    assert not first.was_asked
    # Pauses of 0.2 s, then 0.4 s.
    assert second.at - first.at >= 0.2
    assert third.at - second.at >= 0.4

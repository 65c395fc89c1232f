"""Roles as copies of the launcher: what they keep of it, and how they end."""

from __future__ import annotations

import importlib.util
import json
import subprocess
import sys
import textwrap
from pathlib import Path
from typing import Any

import pytest

from services.launcher.roles import ROLES, SHARED_MODULES
from tests.support.patience import PATIENCE_SECONDS

LAUNCHER = """
import fcntl, gc, json, os, signal, subprocess, sys, threading, time
from pathlib import Path

from absl import flags

from services.launcher.forked_roles import can_fork, start_forked
from services.launcher.launchpad_without_courier import WorkerManager
from services.launcher.roles import Process

flags.FLAGS(["rrl"])
logs = Path(sys.argv[1])

def start(run, **environment):
    manager = WorkerManager(kill_main_thread=False)
    assert can_fork()
    start_forked(manager, Process("actor"), run, logs, **environment)
    (child,) = manager._active_workers["actor/0"]
    return child
"""


def launcher(program: str, logs: Path) -> Any:
    """What the program tells at its end, as JSON: it needs a process that has one thread."""
    done = subprocess.run(
        [sys.executable, "-c", LAUNCHER + textwrap.dedent(program), str(logs)],
        capture_output=True,
        text=True,
        timeout=PATIENCE_SECONDS,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def log(logs: Path) -> str:
    return (logs / "actor" / "0").read_text()


def test_a_role_has_the_modules_its_variables_and_its_log(tmp_path: Path) -> None:
    program = """
    def run():
        import jax
        print(sorted(os.environ.items() - before.items()), jax.config.jax_platforms)
        print(jax.jit(lambda x: x + 1)(1), gc.isenabled(), threading.active_count())
        print("services.actor.loop" in sys.modules, "complaint", file=sys.stderr)

    before = dict(os.environ)
    child = start(run, JAX_PLATFORMS="cpu")
    print(json.dumps([child.wait(), dict(os.environ) == before]))
    """
    assert launcher(program, tmp_path) == [0, True]
    assert log(tmp_path).splitlines() == [
        "[('JAX_PLATFORMS', 'cpu')] cpu",
        "2 True 1",
        "True complaint",
    ]


def test_the_exit_code_says_how_a_role_ended_and_the_log_why(tmp_path: Path) -> None:
    program = """
    def fail():
        raise ValueError("no such game")

    def leave():
        sys.exit(7)

    def leave_without_a_code():
        sys.exit()

    def leave_with_a_message():
        sys.exit("no room")

    def die():
        os.kill(os.getpid(), signal.SIGKILL)

    runs = (leave, leave_without_a_code, leave_with_a_message, die, fail)
    print(json.dumps([start(run).wait() for run in runs]))
    """
    assert launcher(program, tmp_path) == [7, 0, 1, -9, 1]
    assert log(tmp_path).endswith("ValueError: no such game\n")


def test_a_role_that_waits_ends_on_sigterm_and_the_launcher_does_not(tmp_path: Path) -> None:
    program = """
    child = start(lambda: time.sleep(600))
    child.terminate()
    print(json.dumps(child.wait()))
    """
    assert launcher(program, tmp_path) == -15


def test_a_role_holds_no_file_of_the_launcher(tmp_path: Path) -> None:
    program = """
    lock = open(logs / "lock", "w")
    fcntl.flock(lock, fcntl.LOCK_EX)
    child = start(lambda: time.sleep(600))
    left = os.listdir(f"/proc/{child.pid}/fd")
    lock.close()
    with open(logs / "lock") as again:
        # Free as soon as the launcher has let go.
        fcntl.flock(again, fcntl.LOCK_EX | fcntl.LOCK_NB)
    child.kill()
    print(json.dumps([sorted(left), child.wait()]))
    """
    assert launcher(program, tmp_path) == [["0", "1", "2"], -9]


def test_a_process_with_threads_is_not_copied(tmp_path: Path) -> None:
    program = """
    found = [can_fork()]
    stop = threading.Event()
    thread = threading.Thread(target=stop.wait)
    thread.start()
    found.append(can_fork())
    stop.set()
    thread.join()
    found.append(can_fork())
    import jax
    found.append(can_fork())
    jax.numpy.zeros(1)
    found.append(can_fork())
    print(json.dumps(found))
    """
    assert launcher(program, tmp_path) == [True, False, True, True, False]


@pytest.mark.parametrize("users_code", ["jax.numpy.zeros(1)", "pass"])
def test_threads_that_a_users_code_has_started_first_are_found(users_code: str) -> None:
    # `rrl train` imports what a user names before it imports what starts roles.
    program = f"""
    import sys
    from services.cli import main

    def train(*arguments):
        import jax
        {users_code}
        assert "services.launcher.forked_roles" not in sys.modules
        from services.launcher.forked_roles import can_fork
        print(can_fork())

    main._call = train
    assert main.run(["train"]) == 0
    """
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(program)],
        capture_output=True,
        text=True,
        timeout=PATIENCE_SECONDS,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == [str(users_code == "pass")]


def test_a_process_with_connections_is_not_copied(tmp_path: Path) -> None:
    program = """
    from services.learner.client import LearnerClient
    LearnerClient("localhost:1").close()
    print(json.dumps(can_fork()))
    """
    assert launcher(program, tmp_path) is False


def test_what_roles_share_are_modules_of_roles_that_there_are() -> None:
    assert set(SHARED_MODULES) <= set(ROLES)
    for module in {name for names in SHARED_MODULES.values() for name in names}:
        assert importlib.util.find_spec(module) is not None, module

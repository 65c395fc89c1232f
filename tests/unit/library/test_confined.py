"""The wall: each way to misbehave, in a real child, ends in a clear error within bounds."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import pytest

from services.library.confined import Limits, run_confined
from services.shared.errors import UserError
from tests.support.patience import PATIENCE_SECONDS, wait_until

MODULE = "tests.unit.library.misbehaving"
MEBIBYTE = 1 << 20


def run(name: str, limits: Limits | None = None, **arguments: object) -> Any:
    return run_confined(f"{MODULE}:{name}", arguments, limits=limits, subject="a.hdf5")


def wait_until_gone(pid: int) -> None:
    deadline = time.monotonic() + PATIENCE_SECONDS
    while time.monotonic() < deadline:
        try:
            # Dead, but not yet waited for, is gone, too.
            state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
        except (FileNotFoundError, ProcessLookupError):
            return
        if state == "Z":
            return
        time.sleep(0.02)
    raise AssertionError(f"process {pid} is still there")


def test_arguments_go_in_and_the_result_comes_out_free_of_what_is_printed() -> None:
    given: dict[str, Any] = {"number": 3, "text": "a\nb", "numbers": [1.5, None]}
    assert run("give", **given, path=Path("/a b/c")) == {**given, "path": "/a b/c"}


def test_a_refusal_keeps_its_own_words(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"^seven is not a colour; give red$"):
        run("refuse")
    missing = str(tmp_path / "missing")
    with pytest.raises(UserError, match=f"No such file or directory: '{missing}'$"):
        run("open_missing", path=missing)
    with pytest.raises(UserError, match=r"^No module named 'no_such_module'; run this where it is"):
        run("import_missing")


LITTLE_MEMORY, SHORT_FILES = Limits(memory_bytes=500 * MEBIBYTE), Limits(file_bytes=MEBIBYTE)


@pytest.mark.parametrize(
    ("name", "arguments", "limits", "words"),
    [
        (
            "allocate",
            {"size": 600 * MEBIBYTE},
            LITTLE_MEMORY,
            "more than 524288000 bytes of memory",
        ),
        ("allocate_in_a_reader", {"size": 600 * MEBIBYTE}, LITTLE_MEMORY, "524288000 bytes of mem"),
        ("loop", {}, Limits(cpu_seconds=1), r"was stopped \(CPU time limit exceeded\)"),
        ("sleep", {"path": "/dev/null"}, Limits(wall_seconds=1), "longer than 1 s"),
        ("give_much", {"size": 2000}, Limits(output_bytes=1000), "more than 1000 bytes of output"),
        (
            "write",
            {"path": "out", "size": MEBIBYTE + 1},
            SHORT_FILES,
            "a file of more than 1048576",
        ),
        ("print_without_end", {}, Limits(), "printed more than 1048576 bytes"),
        ("abort", {}, Limits(), r"was stopped \(Aborted\)"),
        ("leave", {}, Limits(), r"failed \(exit 0\)"),
        ("misspell", {}, Limits(), r"failed \(KeyError: 'a fault of our own'\)"),
    ],
)
def test_what_misbehaves_ends_in_one_line_that_says_how(
    name: str,
    arguments: dict[str, object],
    limits: Limits,
    words: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    start = time.monotonic()
    with pytest.raises(UserError, match=rf"^a\.hdf5: reading it .*{words}.* copy it") as caught:
        run(name, limits, **arguments)
    assert "\n" not in str(caught.value)
    assert time.monotonic() - start < PATIENCE_SECONDS
    assert {file.name for file in tmp_path.iterdir()} <= {"out"}


def test_as_much_as_the_limits_allow_is_no_misbehaviour(tmp_path: Path) -> None:
    run("allocate", LITTLE_MEMORY, size=300 * MEBIBYTE)
    run("write", SHORT_FILES, path=tmp_path / "out", size=MEBIBYTE)
    run("print_much", size=MEBIBYTE - 1)
    # With its quotes and `{"result": }`, 14 characters more.
    assert len(run("give_much", Limits(output_bytes=1000), size=986)) == 986


def test_the_childs_own_words_on_a_fault_of_ours_are_the_cause() -> None:
    with pytest.raises(UserError) as caught:
        run("misspell")
    assert "Traceback (most recent call last)" in str(caught.value.__cause__)


def test_what_the_child_started_ends_with_it(tmp_path: Path) -> None:
    run("start_another", path=tmp_path / "pid")
    wait_until_gone(int((tmp_path / "pid").read_text()))


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
def test_the_child_ends_with_its_caller(how: signal.Signals, tmp_path: Path) -> None:
    program = (
        "import signal; from services.library import confined;"
        # Ignored in what a shell runs in the background, tests too.
        "signal.signal(signal.SIGINT, signal.default_int_handler);"
        f"confined.run_confined('{MODULE}:sleep', {{'path': {str(tmp_path / 'pid')!r}}})"
    )
    with subprocess.Popen([sys.executable, "-c", program], stderr=subprocess.DEVNULL) as caller:
        try:
            pid = tmp_path / "pid"
            wait_until(lambda: pid.is_file() and pid.read_text(), "the child runs")
            child = int(pid.read_text())
            os.kill(child, 0)
            caller.send_signal(how)
            assert caller.wait(PATIENCE_SECONDS) == -how
        finally:
            caller.kill()
    wait_until_gone(child)


def test_modules_in_the_working_folder_are_not_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # As a folder of downloaded files may have.
    for name in ("json", "numpy", "ctypes"):
        (tmp_path / f"{name}.py").write_text("import os; os.abort()")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [entry for entry in sys.path if entry])
    run("import_libraries", names=["numpy", "json"])


def test_libraries_of_readers_can_be_imported_within_the_limits() -> None:
    run("import_libraries", names=["jax", "h5py", "onnx"])

"""What JAX compiles is kept for later processes: where, how much, and what damage does."""

from __future__ import annotations

import os
import subprocess
import sys
import zlib
from pathlib import Path

import pytest

from services.launcher.compiled_functions import (
    compiled_functions_folder,
    drop_damaged,
    make_room,
)
from tests.support.patience import PATIENCE_SECONDS

COMPILES = """
import jax
from services.launcher.compiled_functions import keep_compiled_functions

found = []
jax.monitoring.register_event_listener(lambda name, **_: found.append(name))
keep_compiled_functions()
# In floats: 2.0 ** 3.0 + 1.0 = 9.0
assert float(jax.jit(lambda x: x**3.0 + 1.0)(2.0)) == 9.0
print(sum(name.endswith("/cache_hits") for name in found))
"""


def taken_from_cache(**variables: str) -> int:
    """Functions that a process did not compile itself."""
    done = subprocess.run(
        [sys.executable, "-c", COMPILES],
        capture_output=True,
        text=True,
        timeout=PATIENCE_SECONDS,
        env=os.environ | {"JAX_PLATFORMS": "cpu"} | variables,
    )
    assert done.returncode == 0, done.stderr
    return int(done.stdout)


def test_a_later_process_takes_what_an_earlier_one_compiled(tmp_path: Path) -> None:
    assert taken_from_cache(RRL_CACHE=str(tmp_path)) == 0
    assert taken_from_cache(RRL_CACHE=str(tmp_path)) == 1
    (file,) = tmp_path.glob("compiled/*/jit__lambda_*")
    # As a process leaves it that is killed while it writes: compiled again, and right.
    file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])
    assert taken_from_cache(RRL_CACHE=str(tmp_path)) == 0
    drop_damaged(file.parent)
    assert [taken_from_cache(RRL_CACHE=str(tmp_path)) for _ in range(2)] == [0, 1]


def test_incomplete_files_are_removed_and_whole_ones_are_checked_once(tmp_path: Path) -> None:
    whole = zlib.compress(b"code" * 100)
    contents = {"whole-cache": whole, "half-cache": whole[:-3], "empty-cache": b"", "other": b""}
    for name, content in contents.items():
        (tmp_path / name).write_bytes(content)
    drop_damaged(tmp_path)
    assert {path.name for path in tmp_path.iterdir()} == {"whole-cache", "other", ".checked"}
    checked = (tmp_path / ".checked").stat().st_mtime
    # Damage that is older is none that a writer has left.
    (tmp_path / "whole-cache").write_bytes(whole[:-3])
    os.utime(tmp_path / "whole-cache", (checked - 1, checked - 1))
    drop_damaged(tmp_path)
    assert (tmp_path / "whole-cache").exists()


def test_a_folder_of_the_users_choice_stays(tmp_path: Path) -> None:
    own = tmp_path / "own"
    for _ in range(2):
        taken_from_cache(RRL_CACHE=str(tmp_path), JAX_COMPILATION_CACHE_DIR=str(own))
    assert not list(tmp_path.glob("compiled/*/jit*"))


def test_without_a_folder_nothing_is_kept(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.touch()
    for _ in range(2):
        assert taken_from_cache(RRL_CACHE=str(file)) == 0


def test_a_folder_that_others_may_write_to_is_not_used(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RRL_CACHE", str(tmp_path))
    folder = compiled_functions_folder()
    assert folder is not None
    assert folder.stat().st_mode & 0o777 == 0o700
    folder.chmod(0o770)
    assert compiled_functions_folder() is None


def test_the_oldest_make_room(tmp_path: Path) -> None:
    for age, name in enumerate(("newest", "older", "oldest")):
        (tmp_path / name).write_bytes(b"x" * 100)
        os.utime(tmp_path / name, (1000 - age, 1000 - age))
    make_room(tmp_path, 300)
    assert len(list(tmp_path.iterdir())) == 3
    make_room(tmp_path, 299)
    assert {path.name for path in tmp_path.iterdir()} == {"newest", "older"}
    make_room(tmp_path, 99)
    assert not list(tmp_path.iterdir())

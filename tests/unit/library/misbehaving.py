"""Functions that `test_confined` runs in real children."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any


def give(**arguments: Any) -> dict[str, Any]:
    print("not a part of the answer", flush=True)
    os.write(1, b"nor this, as a C library prints it")
    return arguments


def refuse() -> None:
    raise ValueError("seven is not a colour; give red")


def open_missing(path: str) -> None:
    Path(path).read_bytes()


def import_missing() -> None:
    __import__("no_such_module")


def allocate(size: int) -> None:
    bytearray(size)


def allocate_in_a_reader(size: int) -> None:
    try:
        bytearray(size)
    except MemoryError as error:
        raise ValueError("damaged") from error


def write(path: str, size: int) -> None:
    Path(path).write_bytes(bytes(size))


def loop() -> None:
    while True:
        pass


def sleep(path: str) -> None:
    Path(path).write_text(str(os.getpid()))
    time.sleep(600)


def give_much(size: int) -> str:
    return size * "x"


def print_much(size: int) -> None:
    print(size * "x", flush=True)


def print_without_end() -> None:
    while True:
        print("a warning", flush=True)


def abort() -> None:
    os.abort()


def leave() -> None:
    sys.exit(0)


def misspell() -> None:
    raise KeyError("a fault of our own")


def start_another(path: str) -> None:
    quiet = subprocess.DEVNULL
    other = subprocess.Popen(["sleep", "600"], stdin=quiet, stdout=quiet, stderr=quiet)
    Path(path).write_text(str(other.pid))


def import_libraries(names: list[str]) -> None:
    for name in names:
        __import__(name)

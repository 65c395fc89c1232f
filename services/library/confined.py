"""The wall that hostile files meet: a function of ours runs in a process of its own, within bounds.

    rows = run_confined("rrl_agents.some.reader:convert", {"source": "a.hdf5", "out": "b"})

    caller  -- stdin: JSON {function, arguments, limits} -->  child (a fresh interpreter)
            <- stdout: JSON {"result": ...} or {"refused": words} --
            <- stderr: what libraries print, on either stream --

Readers execute nothing that a file asks for; what a damaged file costs, or breaks in a C library,
ends here. The child bounds its memory, CPU time and file sizes before it imports a reader, dumps
no core, and uses few CPUs and no GPU; the caller bounds time and output, and at the end kills the
child's process group. The child dies with the caller.

Memory is counted as Linux counts `RLIMIT_DATA`, which leaves out the code of libraries: JAX takes
0.11 GB of it when imported and TensorFlow 0.35 GB, of 0.4 and 1.2 GB of addresses.
"""

from __future__ import annotations

import contextlib
import ctypes
import dataclasses
import errno
import importlib
import json
import os
import re
import resource
import selectors
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from typing import Any

from services.shared.errors import UserError

PACKAGES = ("rrl_agents.", "services.")
"""Whose functions may run."""

_FUNCTION = re.compile(r"[A-Za-z_][\w.]*:[A-Za-z_]\w*")
_PR_SET_PDEATHSIG = 1

_CPUS = 4
"""Most CPUs of the child: libraries start threads for each, and their stacks are memory."""

_WHAT_TO_DO = (
    "The file is damaged, made to harm, or far larger than this program reads: "
    "copy it again from a source you trust"
)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Limits:
    """What a confined function may use.

    Attributes:
        memory_bytes: Of the process's data; libraries count, too.
        cpu_seconds: Of the process, whole seconds.
        wall_seconds: Until it ends.
        file_bytes: Largest file that it writes.
        output_bytes: Largest result as JSON, and most that libraries print.
    """

    memory_bytes: int = 4 << 30
    cpu_seconds: int = 600
    wall_seconds: float = 1200
    file_bytes: int = 4 << 30
    output_bytes: int = 1 << 20


def run_confined(
    function: str,
    arguments: Mapping[str, object],
    *,
    limits: Limits | None = None,
    subject: object = "the input",
) -> Any:
    """Run a function in a process of its own.

    Args:
        function: "module:name" of one of ours.
        arguments: Its keyword arguments: what JSON has; paths arrive as text.
        limits: What it may use, `Limits()` when None.
        subject: What it reads: the first words of an error that is not the function's own.

    Returns:
        What the function returned, as JSON has it (tuples become lists).

    Raises:
        UserError: The function refused (ValueError or OSError, with its words), broke down, or
            needed more than its limits.
        ValueError: The function is none of ours.
    """
    if not _FUNCTION.fullmatch(function) or not function.startswith(PACKAGES):
        raise ValueError(f"{function!r} may not run confined; give module:name of {PACKAGES}")
    limits = limits or Limits()
    request = {
        "function": function,
        "arguments": dict(arguments),
        "limits": dataclasses.asdict(limits),
        "parent": os.getpid(),
    }
    asked = json.dumps(request, default=os.fspath).encode()
    process = _start()
    try:
        _send(process, asked)
        output, printed = _collect(process, limits)
    except _ExceededError as error:
        raise UserError(f"{subject}: reading it {error}. {_WHAT_TO_DO}") from None
    finally:
        _end(process)
    return _result(output, printed, process.returncode, limits, subject)


class _ExceededError(Exception):
    """A limit that the caller keeps was reached; says which."""


def _start() -> subprocess.Popen[bytes]:
    # Not -m: it would look for modules in the working folder first, where the hostile file may lie.
    program = f"import sys; sys.path[:] = {sys.path!r}; from {__name__} import main; main()"
    return subprocess.Popen(
        [sys.executable, "-c", program],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env={**os.environ, "JAX_PLATFORMS": "cpu", "CUDA_VISIBLE_DEVICES": "-1"},
        start_new_session=True,
    )


def _send(process: subprocess.Popen[bytes], request: bytes) -> None:
    assert process.stdin is not None
    try:
        process.stdin.write(request)
        process.stdin.close()
    except BrokenPipeError:
        pass  # It died at once; its exit code says more.


def _collect(process: subprocess.Popen[bytes], limits: Limits) -> tuple[bytes, bytes]:
    """All of stdout and stderr; raises _ExceededError."""
    assert process.stdout is not None
    assert process.stderr is not None
    deadline = time.monotonic() + limits.wall_seconds
    collected = {process.stdout.fileno(): bytearray(), process.stderr.fileno(): bytearray()}
    with selectors.DefaultSelector() as selector:
        for descriptor in collected:
            selector.register(descriptor, selectors.EVENT_READ)
        while selector.get_map():
            ready = selector.select(max(deadline - time.monotonic(), 0))
            if not ready and time.monotonic() >= deadline:
                raise _ExceededError(f"took longer than {limits.wall_seconds:g} s")
            for key, _ in ready:
                piece = os.read(key.fd, 1 << 16)
                collected[key.fd] += piece
                if not piece:
                    selector.unregister(key.fd)
                if len(collected[key.fd]) > limits.output_bytes:
                    raise _ExceededError(f"gave more than {limits.output_bytes} bytes of output")
    try:
        process.wait(max(deadline - time.monotonic(), 1))
    except subprocess.TimeoutExpired:
        raise _ExceededError(f"took longer than {limits.wall_seconds:g} s") from None
    output, printed = collected.values()
    return bytes(output), bytes(printed)


def _end(process: subprocess.Popen[bytes]) -> None:
    """Kill the child and what it started; the group outlives its leader."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    for pipe in (process.stdin, process.stdout, process.stderr):
        if pipe is not None:
            pipe.close()


def _result(output: bytes, printed: bytes, code: int, limits: Limits, subject: object) -> Any:
    try:
        answer = json.loads(output)
    except (ValueError, RecursionError):
        answer = None
    answer = answer if isinstance(answer, dict) else {}
    if code == 0 and "result" in answer:
        return answer["result"]
    if "refused" in answer:
        raise UserError(str(answer["refused"]))
    if answer.get("exceeded") in _EXCEEDED:
        what = _EXCEEDED[answer["exceeded"]].format(**dataclasses.asdict(limits))
    elif code == -signal.SIGXCPU:
        what = _EXCEEDED["cpu"].format(**dataclasses.asdict(limits))
    elif code < 0:
        what = f"broke a library ({signal.strsignal(-code)})"
    else:
        what = f"failed (exit {code})"
    words = printed.decode(errors="replace")[-4000:]
    raise UserError(f"{subject}: reading it {what}. {_WHAT_TO_DO}") from RuntimeError(words)


_EXCEEDED = {
    "memory": "took more than {memory_bytes} bytes of memory",
    "file": "wrote a file of more than {file_bytes} bytes",
    "cpu": "took more than {cpu_seconds} s of CPU time",
}


def main() -> None:
    """The child: run what stdin asks for and write the answer to what was stdout."""
    answers = os.dup(1)
    os.dup2(2, 1)
    request = json.load(sys.stdin)
    _die_with(request["parent"])
    _limit(Limits(**request["limits"]))
    answer = _answer(request["function"], request["arguments"])
    with open(answers, "w", encoding="utf-8") as file:
        json.dump(answer, file)


def _die_with(parent: int) -> None:
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:  # It died before.
        os._exit(1)


def _limit(limits: Limits) -> None:
    os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:_CPUS])
    for kind, bound in (
        (resource.RLIMIT_DATA, limits.memory_bytes),
        (resource.RLIMIT_FSIZE, limits.file_bytes),
        (resource.RLIMIT_CPU, limits.cpu_seconds),
        (resource.RLIMIT_CORE, 0),
    ):
        _, hard = resource.getrlimit(kind)
        if hard != resource.RLIM_INFINITY:
            bound = min(bound, hard)
        resource.setrlimit(kind, (bound, hard))


def _answer(function: str, arguments: dict[str, Any]) -> dict[str, Any]:
    module, name = function.split(":")
    try:
        return {"result": getattr(importlib.import_module(module), name)(**arguments)}
    except (UserError, ValueError, OSError, MemoryError) as error:
        return _refusal(error)
    except ImportError as error:
        return {"refused": f"{error}; run this where it is installed: pip install '.[train]'"}


def _refusal(error: BaseException) -> dict[str, str]:
    cause: BaseException | None = error
    while cause is not None:  # Readers turn what a library raises into their own errors.
        if isinstance(cause, MemoryError):
            return {"exceeded": "memory"}
        if isinstance(cause, OSError) and cause.errno == errno.EFBIG:
            return {"exceeded": "file"}
        cause = cause.__cause__ or cause.__context__
    return {"refused": str(error)}

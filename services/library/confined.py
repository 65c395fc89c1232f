"""Runs a function of ours in a sandboxed process, to read untrusted files.

    rows = run_confined("rrl_agents.some.reader:convert", {"source": "a.hdf5", "out": "b"})

    caller  -- argument: JSON {function, arguments, limits} -->  child (a fresh interpreter)
            <- stdout, a file: JSON {"result": ...}, {"refused": words} or {"failed": words} --
            <- stderr, a pipe: what libraries print, on either stream --

Readers never execute anything from a file. Whatever a damaged file costs, raises, or breaks in a C
library stays in the child. The child limits its memory, CPU time and file sizes before it imports a
reader, dumps no core, and uses few CPUs and no GPU. The caller limits time and output, and finally
kills the child's process group. The child dies with the caller.

Memory is limited by Linux's `RLIMIT_DATA`, which excludes the code of libraries: importing JAX
takes 0.11 GB of it and TensorFlow 0.35 GB, out of 0.4 and 1.2 GB of address space.
"""

from __future__ import annotations

import contextlib
import ctypes
import dataclasses
import errno
import json
import os
import pkgutil
import resource
import signal
import subprocess
import sys
import tempfile
import threading
import time
import traceback
from collections.abc import Mapping
from typing import IO, Any

from services.shared.errors import UserError

_PR_SET_PDEATHSIG = 1

_CPUS = 4
"""Most CPUs of the child: libraries start a thread for each, whose stacks take memory."""

_PRINTED_BYTES = 1 << 20
"""Most output of libraries in the child."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Limits:
    """Limits of a confined function.

    Attributes:
        memory_bytes: Data of the process, including that of libraries.
        cpu_seconds: CPU time of the process, whole seconds.
        wall_seconds: Time until it must end.
        file_bytes: Largest file that it may write.
        output_bytes: Largest result as JSON.
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
    """Run a function in a sandboxed process.

    Args:
        function: "module:name" of our own code; never taken from a file or a user.
        arguments: Its keyword arguments, as JSON; paths are passed as text.
        limits: Its limits; None for `Limits()`.
        subject: What it reads; starts error messages that are not the function's own.

    Returns:
        The function's result as JSON (tuples become lists).

    Raises:
        UserError: The function raised ValueError or OSError (with its message), crashed, or
            exceeded its limits.
    """
    limits = limits or Limits()
    request = {
        "function": function,
        "arguments": dict(arguments),
        "limits": dataclasses.asdict(limits),
        "parent": os.getpid(),
    }
    with tempfile.TemporaryFile() as answers:
        failure, printed = _run(request, limits.wall_seconds, answers)
        answers.seek(0)
        output = answers.read(limits.output_bytes)
    try:
        answer = json.loads(output)
    except ValueError:
        answer = {"failed": failure}
    if "result" in answer:
        return answer["result"]
    if "refused" in answer:
        raise UserError(answer["refused"])
    raise UserError(
        f"{subject}: reading it {answer['failed']}. The file was cut off or damaged, was made "
        "to harm, or is far larger than this program reads: copy it again from a source you trust"
    ) from RuntimeError(printed[-4000:].decode(errors="replace"))


def _run(request: Mapping[str, object], seconds: float, answers: IO[bytes]) -> tuple[str, bytes]:
    """Run the child until it ends.

    Returns:
        How it ended, in case it gave no answer; and its output.
    """
    # Not -m, which would import from the working folder first, where the untrusted file may be.
    program = f"import sys; sys.path[:] = {sys.path!r}; from {__name__} import main; main()"
    deadline = time.monotonic() + seconds
    with subprocess.Popen(
        [sys.executable, "-c", program, json.dumps(request, default=os.fspath)],
        stdin=subprocess.DEVNULL,
        stdout=answers,
        stderr=subprocess.PIPE,
        env={**os.environ, "JAX_PLATFORMS": "cpu", "CUDA_VISIBLE_DEVICES": "-1"},
        start_new_session=True,
    ) as process:
        assert process.stderr is not None
        timer = threading.Timer(seconds, _kill_group, [process.pid])
        timer.start()
        try:
            printed = process.stderr.read(_PRINTED_BYTES + 1)
            if len(printed) > _PRINTED_BYTES:
                return f"printed more than {_PRINTED_BYTES} bytes", printed
            code = process.wait()
        finally:
            timer.cancel()
            _kill_group(process.pid)
    if time.monotonic() >= deadline:
        return f"took longer than {seconds:g} s", printed
    how = f"was stopped ({signal.strsignal(-code)})" if code < 0 else f"failed (exit {code})"
    return how, printed


def _kill_group(leader: int) -> None:
    """Kill the child and its descendants: the group outlives its leader."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(leader, signal.SIGKILL)


def main() -> None:
    """The child: run the function and write the answer to the original stdout."""
    answers = os.dup(1)
    os.dup2(2, 1)
    request = json.loads(sys.argv[1])
    _die_with(request["parent"])
    limits = Limits(**request["limits"])
    _limit(limits)
    answer = json.dumps(_answer(request["function"], request["arguments"], limits))
    if len(answer) > limits.output_bytes:
        answer = json.dumps({"failed": f"gave more than {limits.output_bytes} bytes of output"})
    with open(answers, "w", encoding="utf-8") as file:
        file.write(answer)


def _die_with(parent: int) -> None:
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:  # It has already died.
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


def _answer(function: str, arguments: dict[str, Any], limits: Limits) -> dict[str, Any]:
    try:
        return {"result": pkgutil.resolve_name(function)(**arguments)}
    except ImportError as error:
        return {"refused": f"{error}; run this where it is installed: pip install '.[train]'"}
    except Exception as error:  # Any error of a library, or a bug of ours.
        if exceeded := _exceeded(error, limits):
            return {"failed": exceeded}
        if isinstance(error, (UserError, ValueError, OSError)):
            return {"refused": str(error)}
        traceback.print_exc()
        words = " ".join(str(error).split())[:500]
        return {"failed": f"failed ({type(error).__name__}: {words})"}


def _exceeded(error: BaseException | None, limits: Limits) -> str | None:
    while error is not None:  # Readers convert errors of libraries into their own.
        if isinstance(error, MemoryError):
            return f"took more than {limits.memory_bytes} bytes of memory"
        if isinstance(error, OSError) and error.errno == errno.EFBIG:
            return f"wrote a file of more than {limits.file_bytes} bytes"
        error = error.__cause__ or error.__context__
    return None

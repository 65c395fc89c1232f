"""The `rrl` command: finds the subcommand, imports only what it needs, and prints errors as lines.

Exit codes: 0 done, 2 bad input or a missing prerequisite (said on stderr), 130 interrupted.
"""

from __future__ import annotations

import contextlib
import dataclasses
import importlib
import os
import re
import sys
from collections.abc import Sequence
from typing import Literal

from rrl_agents import plugins
from services.cli.output import open_standard_streams, unfailing_output
from services.cli.spinner import spinning
from services.shared.errors import UserError, printable
from services.shared.installation import Side, advice_for
from services.shared.logging import complain
from services.shared.plugins import allow_variable


@dataclasses.dataclass(frozen=True)
class Command:
    """A subcommand.

    Attributes:
        function: "module:function" in `services.cli`, imported when the command is called. A
            function whose name ends in `_main` parses the remaining arguments itself; the
            parameters of any other function are its flags.
        summary: One line for `rrl --help`.
        extra: Which packages it needs.
        starts_run: Whether it starts a run, which takes seconds: a spinner appears at once.
        kind: "work" continues if its output cannot be written. A "view" exists to print, so it
            fails if its output cannot be written. A "role" is a process of a run or a service: its
            errors are log lines, too.
    """

    function: str
    summary: str
    extra: Side = "train"
    kind: Literal["work", "view", "role"] = "work"
    starts_run: bool = False


COMMANDS = {
    "demo": Command(
        "demo:demo", "Reincarnate the bundled Pong teacher, from start to report", starts_run=True
    ),
    "train": Command(
        "train_command:train_main",
        "Train a student, or resume: METHOD --run DIR",
        starts_run=True,
    ),
    "gin": Command(
        "gin.command:gin_main", "Run the flags and gin files of the paper's code", starts_run=True
    ),
    "report": Command("report:report", "Rebuild the report of a run"),
    "status": Command(
        "status.command:status", "Show a run's progress and which roles are up", kind="view"
    ),
    "evaluate": Command(
        "evaluate:evaluate_main", "Play AGENT; print its mean return with an interval"
    ),
    "play": Command("play:play_main", "Film one agent, or two side by side: AGENT --out FILM.mp4"),
    "bench run": Command("bench_run:bench_run", "Compare methods: methods x games x seeds"),
    "bench report": Command(
        "bench_report:bench_report", "Aggregate a suite's scores into one page"
    ),
    "list": Command(
        "listing:list_main",
        "List methods, students, networks, environments, presets, teachers",
        kind="view",
    ),
    "teacher serve": Command("teacher_serve:serve", "Serve teachers over gRPC", "teacher", "role"),
    "teacher query": Command(
        "teacher_query:query", "Compute action values of recorded states", "teacher"
    ),
    "teacher list": Command(
        "teacher_list:list_teachers", "List teachers by name", "teacher", "view"
    ),
    "teacher fetch": Command(
        "teacher_fetch:fetch", "Download a public agent, or a teacher by URL", "teacher"
    ),
    "teacher import": Command(
        "teacher_import:import_teacher", "Import a teacher from another library", "teacher"
    ),
    "teacher inspect": Command(
        "teacher_inspect:inspect",
        "Describe a teacher, or say what is wrong with it",
        "teacher",
        "view",
    ),
    "teacher label": Command(
        "teacher_label:label", "Label recorded data with a teacher's scores", "teacher"
    ),
    "teacher minari": Command(
        "teacher_minari:minari", "Convert a Minari dataset to recorded data, or back"
    ),
    "teacher export": Command(
        "teacher_export:export", "Export a run's student as the next teacher"
    ),
    "teacher push": Command("teacher_push:push", "Upload a teacher to the Hugging Face Hub"),
    "teacher top": Command("teacher_top:top", "Watch a running teacher service", "teacher", "view"),
    "lineage": Command(
        "lineage:lineage", "Show an agent's ancestors and their cost", "teacher", "view"
    ),
    "health": Command(
        "health:health", "Check a role's health; sets the exit code", "teacher", "view"
    ),
    "replay": Command(
        "roles:replay_main", "Run one role by itself: the replay server", kind="role"
    ),
    "importer": Command("roles:importer_main", "Run one role by itself: the importer", kind="role"),
    "learner": Command("roles:learner_main", "Run one role by itself: the learner", kind="role"),
    "actor": Command("roles:actor_main", "Run one role by itself: an actor", kind="role"),
    "evaluator": Command(
        "roles:evaluator_main", "Run one role by itself: the evaluator", kind="role"
    ),
}


def main(arguments: Sequence[str] | None = None) -> None:
    """Run `rrl`; ends the process with its exit code."""
    open_standard_streams()
    sys.exit(run(list(sys.argv[1:] if arguments is None else arguments)))


def run(arguments: list[str]) -> int:
    """Run one command.

    Returns:
        The exit code.
    """
    name = " ".join(arguments[:2])
    if name not in COMMANDS:
        name = " ".join(arguments[:1])
    if name not in COMMANDS:
        with unfailing_output():
            return _version() if arguments == ["--version"] else _help(arguments)
    command = COMMANDS[name]
    # Modules that the user names on the command line, as a word or after "=", may be imported.
    plugins.allow(*(word.rpartition("=")[2] for word in arguments))
    allow_variable()
    with contextlib.nullcontext() if command.kind == "view" else unfailing_output():
        return _run(command, name, arguments[len(name.split()) :])


def _run(command: Command, name: str, arguments: list[str]) -> int:
    # TensorFlow, which Reverb imports, reports every GPU library it does not find.
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    with spinning(f"rrl {name}") if command.starts_run else contextlib.nullcontext():
        # Imported here: it imports gRPC, which --help does not need.
        from rrl_client.proxies import reach_this_machine_directly

        reach_this_machine_directly()
        if command.starts_run:
            # `_call` reports what is missing.
            with contextlib.suppress(ModuleNotFoundError):
                # The flag parser takes longest to import.
                import tyro  # noqa: F401

                # Counts threads before a user's code can start any.
                from services.launcher import native_threads  # noqa: F401
    try:
        _call(command, name, arguments)
        sys.stdout.flush()
    except UserError as error:
        # The message may quote text from a file.
        problem = "\n".join(map(printable, str(error).splitlines()))
    except ModuleNotFoundError as error:
        advice = advice_for(error.name or "", command.extra)
        if advice is None:
            # A bug of ours, or in a user's code: show the traceback.
            raise
        problem = f"it needs the package {error.name}, which is not in this environment; {advice}"
    except KeyboardInterrupt:
        return 130
    except OSError as error:
        is_reader_gone = isinstance(error, BrokenPipeError)
        if command.kind != "view" and not is_reader_gone:
            raise
        # Keep the interpreter's last flush from failing, too.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        if is_reader_gone:
            # E.g. `| head`.
            return 0
        problem = str(error)
    else:
        return 0
    complain(f"rrl {name}: {problem}", role=name.split()[0] if command.kind == "role" else None)
    return 2


def _call(command: Command, name: str, arguments: list[str]) -> None:
    module, _, function_name = command.function.partition(":")
    function = getattr(importlib.import_module(f"services.cli.{module}"), function_name)
    if function_name.endswith("_main"):
        function(arguments)
        return
    import tyro

    from services.cli.flag_types import FLAG_TYPES

    # Tyro joins the lines of a flag's description in a class, not in a function.
    function.__doc__ = re.sub(r"(?<=\S)\n {12}(?=\S)", " ", function.__doc__ or "")
    tyro.cli(function, prog=f"rrl {name}", args=arguments, registry=FLAG_TYPES)


def _version() -> int:
    from services.launcher.machine import describe_code

    print(describe_code())
    return 0


def _help(arguments: list[str]) -> int:
    first = arguments[0] if arguments else "help"
    group = {name: command for name, command in COMMANDS.items() if name.split()[0] == first}
    is_asked = first in ("-h", "--help", "help")
    # The first word of a two-word command is not a mistake.
    is_half = bool(group) and (len(arguments) == 1 or arguments[1].startswith("-"))
    stream = sys.stdout if is_asked or is_half else sys.stderr
    if stream is sys.stderr:
        unknown = " ".join(arguments[: 2 if group else 1])
        print(f"rrl: there is no command {unknown!r}", file=stream)
    print("usage: rrl COMMAND [flags]; rrl COMMAND --help describes a command\n", file=stream)
    listed = group or COMMANDS
    width = max(map(len, listed))
    for name, command in listed.items():
        print(f"  {name:<{width}}  {command.summary}", file=stream)
    if not group:
        print("\nrrl --version shows the versions of rrl and its libraries", file=stream)
    return 0 if is_asked or "--help" in arguments or "-h" in arguments else 2


if __name__ == "__main__":
    main()

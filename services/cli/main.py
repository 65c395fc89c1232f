"""The `rrl` command: finds the subcommand, imports only what it needs, and turns errors into lines.

Exit codes: 0 done, 2 bad input or a missing prerequisite (said on stderr), 130 interrupted.
"""

from __future__ import annotations

import contextlib
import dataclasses
import importlib
import os
import sys
from collections.abc import Callable, Sequence

from services.cli.output import open_standard_streams, unfailing_output
from services.shared.errors import UserError
from services.shared.installation import Side, advice_for
from services.shared.logging import complain


@dataclasses.dataclass(frozen=True)
class Command:
    """A subcommand.

    Attributes:
        function: Module in `services.cli`, imported when the command is called, and its function.
            One that ends in `_main` parses the remaining arguments itself; of any other the
            parameters are the flags.
        summary: One line for `rrl --help`.
        extra: Which packages it needs.
        role: The role whose process it is, where it is one's: its errors are log lines, too.
        prints: Whether what it prints is what it is for: it fails where that cannot be written.
            Of all others the work is done whether or not somebody reads along.
    """

    function: str
    summary: str
    extra: Side = "train"
    role: str | None = None
    prints: bool = False


COMMANDS = {
    "demo": Command(
        "demo:demo", "Reincarnate the bundled Pong teacher, start to report, on this machine"
    ),
    "train": Command(
        "train_command:train_main",
        "Train a student: rrl train METHOD --run DIR; resumes a run that was stopped",
    ),
    "gin": Command(
        "gin.command:gin_main",
        "Run a command of the paper's released code: its flags and gin files",
    ),
    "report": Command("report:report", "Rebuild the report of a run"),
    "status": Command(
        "status.command:status", "Where a run stands, and which of its roles are up", prints=True
    ),
    "bench run": Command(
        "bench_run:bench_run", "Compare methods: every run of a suite, methods x games x seeds"
    ),
    "bench report": Command(
        "bench_report:bench_report", "Aggregate a suite's scores: figures, tables and one page"
    ),
    "list": Command(
        "listing:list_main",
        "What there is to choose from: methods, students, environments, presets, teachers",
        prints=True,
    ),
    "list methods": Command("listing:list_methods", "How a teacher can be used", prints=True),
    "list students": Command(
        "listing:list_students",
        "Networks and Q-learning algorithms that any method but fine-tuning can train",
        prints=True,
    ),
    "list environments": Command(
        "listing:list_environments", "What can be played, and its games", prints=True
    ),
    "list presets": Command(
        "listing:list_presets", "Whole experiments by name, for each method", prints=True
    ),
    "list teachers": Command(
        "teacher_list:list_teachers", "The same as `rrl teacher list`", extra="teacher", prints=True
    ),
    "teacher serve": Command(
        "teacher_serve:serve",
        "Serve teachers' action values over gRPC",
        extra="teacher",
        role="teacher",
    ),
    "teacher query": Command(
        "teacher_query:query",
        "Action values of recorded states, from a checkpoint or a running service",
        extra="teacher",
    ),
    "teacher list": Command(
        "teacher_list:list_teachers",
        "The teachers there are: bundled, fetched, imported, exported; by name",
        extra="teacher",
        prints=True,
    ),
    "teacher fetch": Command(
        "teacher_fetch:fetch",
        "Download a public agent, and its replay data, from its bucket",
        extra="teacher",
    ),
    "teacher import": Command(
        "teacher_import:import_teacher",
        "Take foreign work into the store, and say what its files leave open",
        extra="teacher",
    ),
    "teacher inspect": Command(
        "teacher_inspect:inspect",
        "Tell what a teacher is, or what is wrong with it",
        extra="teacher",
        prints=True,
    ),
    "teacher label": Command(
        "teacher_label:label",
        "Write a teacher's scores of recorded data beside it, once",
        extra="teacher",
    ),
    "teacher minari": Command(
        "teacher_minari:minari",
        "Make a Minari dataset a replay buffer that runs take as recorded data",
    ),
    "teacher export": Command(
        "teacher_export:export", "Make the student of a run the next teacher"
    ),
    "lineage": Command(
        "lineage:lineage",
        "The family tree of an agent, and what the whole line cost",
        extra="teacher",
        prints=True,
    ),
    "teacher top": Command(
        "teacher_top.command:top",
        "Watch a running teacher service in the terminal",
        extra="teacher",
        prints=True,
    ),
    "health": Command(
        "health:health",
        "Whether a role works, as an exit code: for health checks of containers",
        extra="teacher",
        prints=True,
    ),
    "replay": Command(
        "roles:replay_main", "Run one role by itself: the replay server", role="replay"
    ),
    "importer": Command(
        "roles:importer_main",
        "Run one role by itself: the importer of recorded data",
        role="importer",
    ),
    "learner": Command("roles:learner_main", "Run one role by itself: the learner", role="learner"),
    "actor": Command("roles:actor_main", "Run one role by itself: an actor", role="actor"),
    "evaluator": Command(
        "roles:evaluator_main", "Run one role by itself: the evaluator", role="evaluator"
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
        name = arguments[0] if arguments else ""
    if name not in COMMANDS:
        with unfailing_output():
            return _help(arguments)
    command = COMMANDS[name]
    with contextlib.nullcontext() if command.prints else unfailing_output():
        return _run(command, name, arguments[len(name.split()) :])


def _run(command: Command, name: str, arguments: list[str]) -> int:
    # Here, since it brings gRPC along, which --help does not need.
    from rrl_client.proxies import reach_this_machine_directly

    # TensorFlow, which Reverb brings along, reports every library of a GPU it does not find.
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    reach_this_machine_directly()
    try:
        _load(command, name)(arguments)
        sys.stdout.flush()
    except UserError as error:
        complain(f"rrl {name}: {_printable(str(error))}", role=command.role)
        return 2
    except ModuleNotFoundError as error:
        advice = advice_for(error.name or "", command.extra)
        if advice is None:
            # A mistake of ours, or of code that a user brings: its traceback says where.
            raise
        missing = f"it needs the package {error.name}, which is not in this environment"
        complain(f"rrl {name}: {missing}; {advice}", role=command.role)
        return 2
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:
        # The reader of the output has left, as `| head` does.
        _drop_output()
        return 0
    except OSError as error:
        if not command.prints:
            raise
        _drop_output()
        complain(f"rrl {name}: {error}", role=command.role)
        return 2
    return 0


def _drop_output() -> None:
    """Have the interpreter's last flush not fail, too."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _printable(text: str) -> str:
    """Text that may quote a file's own words, without what would steer a terminal."""
    return "".join(c if c.isprintable() or c == "\n" else "?" for c in text)


def _load(command: Command, name: str) -> Callable[[list[str]], None]:
    module, _, function_name = command.function.partition(":")
    function = getattr(importlib.import_module(f"services.cli.{module}"), function_name)
    if function_name.endswith("_main"):
        parses_itself: Callable[[list[str]], None] = function
        return parses_itself
    return _with_flags(function, name)


def _with_flags(function: Callable[..., None], name: str) -> Callable[[list[str]], None]:
    """A function whose parameters are the flags."""
    import tyro

    from services.cli.flag_types import FLAG_TYPES

    def call(arguments: list[str]) -> None:
        tyro.cli(function, prog=f"rrl {name}", args=arguments, registry=FLAG_TYPES)

    return call


def _help(arguments: list[str]) -> int:
    asked = not arguments or arguments[0] in ("-h", "--help", "help")
    prefix = arguments[0] if arguments and not asked else ""
    listed = {name: c for name, c in COMMANDS.items() if name.split()[0] == prefix} or COMMANDS
    stream = sys.stdout if asked or listed is not COMMANDS else sys.stderr
    if prefix and listed is COMMANDS:
        print(f"rrl: there is no command {prefix!r}", file=stream)
    print("usage: rrl COMMAND [flags]; rrl COMMAND --help tells about one\n", file=stream)
    width = max(len(name) for name in listed)
    for name, command in listed.items():
        print(f"  {name:<{width}}  {command.summary}", file=stream)
    return 0 if asked or "--help" in arguments or "-h" in arguments else 2


if __name__ == "__main__":
    main()

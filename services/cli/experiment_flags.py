"""Commands that take an experiment: METHOD, --preset, --student, and every setting as a flag."""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import warnings
from collections.abc import Iterator, Sequence
from typing import Annotated, Any, TypeVar, cast

import tyro

from rrl_agents.environments.registry import EnvironmentConfig
from rrl_agents.students.fitting import AUTO
from rrl_agents.students.registry import STUDENTS
from services.cli.flag_types import FLAG_TYPES
from services.launcher.experiment_config import ExperimentConfig
from services.launcher.presets import (
    PAPER,
    PAPER_PRESETS,
    PRESETS,
    check_named_student,
    fitting_name,
    with_student,
)
from services.launcher.settings import nearest
from services.shared.errors import UserError, user_errors

Settings = Annotated[ExperimentConfig, tyro.conf.arg(name="")]
"""An experiment whose settings are flags without a prefix."""

CommandT = TypeVar("CommandT")

_NETWORK = "--network."

_NAMES = argparse.ArgumentParser(add_help=False, allow_abbrev=False, exit_on_error=False)
_NAMES.add_argument("--preset")
_NAMES.add_argument("--student")


def parse(command: type[CommandT], arguments: Sequence[str], prog: str) -> CommandT:
    """Read METHOD [--preset NAME] [--student NAME] and the flags.

    A preset of the paper ("qdagger_rainbow") can replace the method; it keeps the student in its
    name. A student sets the network and the algorithm; flags for single settings ("--network.width
    2") override parts of it, except those that would make it a different student. "auto" chooses
    the student that fits the environment.

    Args:
        command: A frozen dataclass with `experiment: Settings` and defaults for everything else,
            `required()` where the user must give it; its docstring is the help.
        arguments: The command line after the command.
        prog: The command, e.g. "rrl train".

    Raises:
        UserError: no such method, preset or student; settings that do not fit together, or that
            contradict the named student.
        SystemExit: help was asked for, or a flag is wrong; it has been printed.
    """
    word, *rest = arguments or [""]
    if word in ("-h", "--help"):
        print(_usage(prog))
        raise SystemExit(0)
    method, preset = _chosen(word, prog)
    with user_errors((argparse.ArgumentError,)):
        names, rest = _NAMES.parse_known_args(rest)
    if word in PAPER_PRESETS and names.preset not in (None, word):
        raise UserError(
            f"{word} is a preset itself, and --preset {names.preset} another; leave --preset out, "
            f"or give the method: {prog} {method} --preset {names.preset}"
        )
    preset = names.preset or preset
    with user_errors():
        presets = PRESETS[method]
    given = {word.partition("=")[0] for word in rest}
    if {"--teacher.checkpoint", "--teacher.address"} <= given:
        raise UserError(
            "--teacher.checkpoint and --teacher.address both name a teacher: give one of them"
        )
    if preset not in presets:
        raise UserError(f"{preset!r} is not a preset of {method}; use {', '.join(presets)}")
    config = presets[preset]
    if names.student is not None:
        names.student = _student(names.student, config, rest)
        config = with_student(config, names.student)
    with user_errors(), _any_method():
        parsed = tyro.cli(
            command,
            default=cast(CommandT, cast(Any, command)(experiment=config)),
            args=rest,
            registry=FLAG_TYPES,
            prog=f"{prog} {method} [--preset {'|'.join(presets)}] "
            f"[--student {'|'.join((*STUDENTS, AUTO))}]",
            # The method has been chosen: its settings are flags, not a further subcommand.
            config=(tyro.conf.AvoidSubcommands,),
        )
    check_named_student(
        cast(Any, parsed).experiment,
        preset=preset,
        student=names.student,
        network_settings=[word.partition("=")[0] for word in rest if word.startswith(_NETWORK)],
    )
    return parsed


@contextlib.contextmanager
def _any_method() -> Iterator[None]:
    """Have tyro take the config of another package's method, which `MethodConfig` does not list."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*does not match any type in Union")
        yield


@dataclasses.dataclass(frozen=True)
class _Played:
    """The flags of the environment alone."""

    environment: EnvironmentConfig


def _student(name: str, config: ExperimentConfig, flags: Sequence[str]) -> str:
    """A student's name; for "auto", that of the student which fits the environment.

    Raises:
        UserError: there is no such environment.
    """
    is_help = not {"-h", "--help"}.isdisjoint(flags)
    if name != AUTO or is_help:
        return "dqn" if name == AUTO else name
    with user_errors():
        played, _ = tyro.cli(
            _Played,
            default=_Played(config.environment),
            args=flags,
            registry=FLAG_TYPES,
            return_unknown_args=True,
        )
    return fitting_name(dataclasses.replace(config, environment=played.environment))


def _chosen(word: str, prog: str) -> tuple[str, str]:
    """The method that the first word names, and its preset."""
    if word in PRESETS:
        return word, PAPER
    if word in PAPER_PRESETS:
        return PAPER_PRESETS[word].method, word
    if not word:
        raise UserError(f"METHOD is missing; {_usage(prog)}")
    like = nearest(word, dict.fromkeys([*PRESETS, *PAPER_PRESETS]))
    hint = f" (did you mean {' or '.join(like)}?)" if like else ""
    raise UserError(f"{word!r} is not a method{hint}; {_usage(prog)}")


def _usage(prog: str) -> str:
    return (
        f"usage: {prog} METHOD [--preset NAME] [--student NAME] [flags]\n\n"
        f"METHOD is one of {', '.join(PRESETS)};\n"
        f"or a preset of the paper: {', '.join(PAPER_PRESETS)}.\n\n"
        f"{prog} METHOD --help lists the flags with their defaults."
    )


def required() -> Any:
    """Default of a flag that the user must give."""
    return dataclasses.field(default=tyro.MISSING)

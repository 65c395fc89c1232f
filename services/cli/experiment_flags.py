"""Commands that take an experiment: METHOD, --preset, and every setting of it as a flag."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Annotated, Any, TypeVar, cast

import tyro

from services.launcher.experiment import ExperimentConfig
from services.launcher.presets import PAPER, PRESETS
from services.shared.errors import UserError

Settings = Annotated[ExperimentConfig, tyro.conf.arg(name="")]
"""An experiment whose settings are flags without a prefix."""

CommandT = TypeVar("CommandT")


def parse(command: type[CommandT], arguments: Sequence[str], prog: str) -> CommandT:
    """Read METHOD [--preset NAME] and the flags.

    Args:
        command: A frozen dataclass with `experiment: Settings` and defaults for everything else,
            `required()` where the user must give it; its docstring is the help.
        arguments: The command line after the command.
        prog: The command, e.g. "rrl train".

    Raises:
        UserError: no such method or preset, or settings that do not fit together.
        SystemExit: help was asked for, or a flag is wrong; it has been printed.
    """
    method, *rest = arguments or [""]
    usage = f"{prog} METHOD [--preset NAME] [flags], with METHOD one of {', '.join(PRESETS)}"
    if method in ("-h", "--help"):
        print(f"usage: {usage}\n\n{prog} METHOD --help lists the flags with their defaults.")
        raise SystemExit(0)
    if method not in PRESETS:
        raise UserError(f"{method!r} is no method; use {usage}")
    preset, rest = _take_preset(rest)
    if preset not in PRESETS[method]:
        raise UserError(f"{preset!r} is no preset of {method}; use {', '.join(PRESETS[method])}")
    try:
        return tyro.cli(
            command,
            default=cast(CommandT, cast(Any, command)(experiment=PRESETS[method][preset])),
            args=rest,
            prog=f"{prog} {method} [--preset {'|'.join(PRESETS[method])}]",
            # The method has been chosen: its settings are flags, not a further subcommand.
            config=(tyro.conf.AvoidSubcommands,),
        )
    except ValueError as error:
        raise UserError(str(error)) from error


def _take_preset(arguments: Sequence[str]) -> tuple[str, list[str]]:
    """The preset's name and the arguments without it."""
    rest = list(arguments)
    for index, word in enumerate(rest):
        if word.startswith("--preset="):
            return word.partition("=")[2], rest[:index] + rest[index + 1 :]
        if word == "--preset":
            if index + 1 == len(rest):
                raise UserError("--preset needs a name after it")
            return rest[index + 1], rest[:index] + rest[index + 2 :]
    return PAPER, rest


def required() -> Any:
    """Default of a flag that the user must give."""
    return dataclasses.field(default=tyro.MISSING)

"""The released code's command line, as absl reads it: underscores or dashes, `--x y` or `--x=y`."""

from __future__ import annotations

import argparse
import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import NoReturn

from services.cli.gin.agents import AGENTS, Agent, agent_of
from services.launcher.settings import nearest
from services.shared.errors import UserError

_DESCRIPTION = """\
Run a command of github.com/google-research/reincarnating_rl on rrl. The flags are the released
code's; gin files and bindings become settings of rrl, and what cannot matter here is listed with
the reason. A gin file that is not there is looked for among those that come with rrl, so that

  python -um services.cli.reincarnating_train --agent qdagger_rainbow \\
    --gin_files reincarnating_rl/configs/qdagger_rainbow.gin \\
    --base_dir /tmp/qdagger_rainbow \\
    --teacher_checkpoint_dir $TEACHER_CKPT_DIR/Breakout/1 --teacher_checkpoint_number 399 \\
    --run_number=1

runs without a clone of it. The same command goes on with a run that was stopped; `rrl report
BASE_DIR` builds its report anew.
"""

_LOGGING = ("alsologtostderr", "logtostderr", "showprefixforinfo")
_LOGGING_WITH_VALUE = ("verbosity", "log_dir", "logger_levels", "stderrthreshold")
_TEACHER_AGENTS = ("dqn",)
_PREFIXES = ("ckpt", "tf_ckpt")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Flags:
    """What the command line says.

    Attributes:
        agent: Whom to train.
        base_dir: The run's folder.
        gin_files: In their order.
        gin_bindings: In their order.
        teacher_directory: A Dopamine agent's.
        teacher_number: Which checkpoint; the newest when None.
        run_number: The seed.
        notes: What the user should know of how flags were taken.
    """

    agent: Agent
    base_dir: Path
    gin_files: tuple[str, ...]
    gin_bindings: tuple[str, ...]
    teacher_directory: Path
    teacher_number: int | None
    run_number: int
    notes: tuple[str, ...]


class _Parser(argparse.ArgumentParser):
    """Raises instead of ending the process."""

    def error(self, message: str) -> NoReturn:
        raise UserError(f"{message}; --help tells about the flags")


def parse_flags(arguments: Sequence[str]) -> Flags:
    """Read the command line.

    Args:
        arguments: Without the program.

    Raises:
        UserError: an unknown flag, one missing, or a value that rrl does not do.
        SystemExit: help was asked for; it has been printed.
    """
    parser = _parser()
    found, others = parser.parse_known_args(arguments)
    if others:
        raise UserError(_unknown(others[0], parser))
    if found.base_dir is None:
        raise UserError(
            "--base_dir is missing, the folder of the run. Where a command goes over several "
            "lines, each but the last needs a backslash at its end (the released README has lines "
            "without, after --gin_files for one)"
        )
    if found.teacher_checkpoint_file_prefix not in _PREFIXES:
        raise UserError(
            f"--teacher_checkpoint_file_prefix is {found.teacher_checkpoint_file_prefix!r}; rrl "
            f"reads checkpoints named {' or '.join(_PREFIXES)}"
        )
    return Flags(
        agent=agent_of(found.agent),
        base_dir=Path(found.base_dir),
        gin_files=tuple(found.gin_files),
        gin_bindings=tuple(found.gin_bindings),
        teacher_directory=_teacher_directory(found.teacher_checkpoint_dir),
        teacher_number=found.teacher_checkpoint_number,
        run_number=found.run_number,
        notes=tuple(_notes(found)),
    )


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(
        prog="rrl gin",
        description=_DESCRIPTION,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    _add(parser, "agent", default="qdagger_dqn", help=f"one of {', '.join(AGENTS)}")
    _add(parser, "base_dir", help="folder of the run, where rrl keeps all of it")
    _add(parser, "gin_files", nargs="+", action="extend", default=[], help="gin files, in order")
    _add(
        parser,
        "gin_bindings",
        nargs="+",
        action="extend",
        default=[],
        help="single bindings, which override the files', each in quotes; @NETWORK alone gives the "
        "agent that network",
    )
    _add_teacher(parser)
    _add(parser, "run_number", type=int, default=1, help="the seed; 1 by default")
    _add(parser, "atari_roms_path", help="taken, and not needed: ale-py brings the games")
    _add_switch(parser, "disable_jit", help="taken, and not done: roles always run compiled")
    for name in _LOGGING:
        _add_switch(parser, name, help="absl's; taken, as rrl logs to stderr and to BASE_DIR")
    for name in _LOGGING_WITH_VALUE:
        _add(parser, name, help="absl's; taken, and not used")
    parser.add_argument("-v", dest="verbosity", help=argparse.SUPPRESS)
    return parser


def _add_teacher(parser: argparse.ArgumentParser) -> None:
    _add(
        parser,
        "teacher_checkpoint_dir",
        help="a Dopamine agent's directory, e.g. DQN_400/Breakout/1; also says the game",
    )
    _add(
        parser,
        "teacher_checkpoint_number",
        type=int,
        help="which of its checkpoints; the newest by default",
    )
    _add(
        parser,
        "teacher_checkpoint_file_prefix",
        default="ckpt",
        help=f"{' or '.join(_PREFIXES)}; both are found by themselves",
    )
    _add(parser, "teacher_agent", default="dqn", choices=_TEACHER_AGENTS, help="the teacher's kind")


def _add(parser: argparse.ArgumentParser, name: str, **settings: object) -> None:
    """Add a flag under its spellings; help shows the released code's."""
    parser.add_argument(*_spellings(name), dest=name, **settings)  # type: ignore[arg-type]


def _add_switch(parser: argparse.ArgumentParser, name: str, *, help: str) -> None:
    """Add a flag that stands alone or has =true or =false, and its --no form."""
    _add(parser, name, nargs="?", const=True, default=False, type=_truth, help=help)
    parser.add_argument(
        *_spellings(f"no{name}"), dest=name, action="store_false", help=argparse.SUPPRESS
    )


def _spellings(name: str) -> list[str]:
    return list(dict.fromkeys([f"--{name}", f"--{name.replace('_', '-')}"]))


def _truth(text: str) -> bool:
    known = {"true": True, "1": True, "t": True, "false": False, "0": False, "f": False}
    if text.lower() not in known:
        raise argparse.ArgumentTypeError(f"{text!r} is neither true nor false")
    return known[text.lower()]


def _unknown(word: str, parser: argparse.ArgumentParser) -> str:
    flag = word.partition("=")[0]
    known = {option: None for action in parser._actions for option in action.option_strings}
    like = nearest(flag, known)
    near = f"; did you mean {' or '.join(like)}?" if like else "; --help lists the flags"
    return f"{flag!r} is no flag of the released code{near}"


def _teacher_directory(given: str | None) -> Path:
    fetch = "`rrl teacher fetch` gets the public ones, and says where they lie"
    if not given:
        raise UserError(
            f"--teacher_checkpoint_dir is missing, the directory of a Dopamine agent; {fetch}"
        )
    path = Path(given)
    if "://" in given or not path.is_dir():
        raise UserError(f"--teacher_checkpoint_dir: there is no directory {given}; {fetch}")
    return path


def _notes(found: argparse.Namespace) -> list[str]:
    notes = []
    if found.atari_roms_path is not None:
        notes.append("--atari_roms_path is not needed: ale-py brings the games")
    if found.disable_jit:
        notes.append("--disable_jit is not done: roles always run compiled")
    return notes

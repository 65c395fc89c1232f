r"""Run a command of github.com/google-research/reincarnating_rl on rrl.

Takes the flags of that repository. Gin files and bindings become settings of rrl; those without an
effect here are listed. A gin file that does not exist is looked up by name among those that come
with rrl, so that this command

  python -um services.cli.reincarnating_train --agent qdagger_rainbow \
    --gin_files reincarnating_rl/configs/qdagger_rainbow.gin \
    --base_dir /tmp/qdagger_rainbow \
    --teacher_checkpoint_dir $TEACHER_CKPT_DIR/Breakout/1 --teacher_checkpoint_number 399 \
    --run_number=1

runs without a clone of that repository. Run the same command again to resume a stopped run; `rrl
report BASE_DIR` rebuilds its report.
"""

from __future__ import annotations

import argparse
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NoReturn

from rrl_agents.escaped_markdown import one_line
from rrl_agents.reincarnation.registry import make_recipe
from services.cli.gin.experiment import experiment, network_parameter
from services.cli.gin.names import AGENTS, present_name
from services.cli.gin.reading import Values, read
from services.launcher.experiment_config import ExperimentConfig
from services.shared.errors import UserError

_NO_EFFECT = (
    *("atari_roms_path", "disable_jit"),
    *("alsologtostderr", "logtostderr", "log_dir", "logger_levels", "showprefixforinfo"),
    *("stderrthreshold", "verbosity"),
)
"""Flags of the released code and of absl that are accepted, with or without a value: ale-py brings
the games, roles always run compiled, and rrl logs to stderr and to BASE_DIR."""


_CUT_OFF = re.compile("arguments are required|expected .*argument|unrecognized arguments: (?!-)")
"""How argparse complains about a command that was cut off."""


class _Parser(argparse.ArgumentParser):
    """Raises instead of ending the process."""

    def error(self, message: str) -> NoReturn:
        advice = "--help describes the flags"
        if _CUT_OFF.search(message):
            advice += (
                ". Where a command goes over several lines, each but the last needs a backslash at "
                "its end (the released README has lines without)"
            )
        raise UserError(f"{message}; {advice}")


def gin_main(arguments: Sequence[str]) -> None:
    """Run a command of the released code.

    Args:
        arguments: Its flags.

    Raises:
        UserError: bad input, or the run failed.
    """
    flags = parse_flags(arguments)
    # Launchpad and what draws the report: not for --help, nor for a name that is wrong.
    from services.cli.train import train

    config, notes = translated(flags)
    for note in notes:
        # Quotes gin files, whose words must not steer the terminal.
        print(f"note: {one_line(note)}")
    method, game = make_recipe(config.method).name, config.environment.game
    print(f"{method} on {game}; the run is {flags.base_dir}", flush=True)
    train(config, flags.base_dir)


def translated(flags: argparse.Namespace) -> tuple[ExperimentConfig, list[str]]:
    """The experiment that a command describes, and notes for the user about it.

    Raises:
        UserError: an unknown name, or an unsupported value.
    """
    network = network_parameter(flags.agent)
    # A reference alone, as in the released README, is the agent's network.
    single = [re.sub(r"^\s*@", f"{network} = @", text) for text in flags.gin_bindings]
    values = Values(read(flags.gin_files, single))
    values.notes += [
        f"{file} does not exist: reading the file of that name that comes with rrl"
        for file in flags.gin_files
        if not Path(file).exists()
    ]
    config = experiment(values, flags.agent, flags.teacher, flags.number, seed=flags.seed)
    if unread := values.unread():
        values.notes.append(f"without effect here: {', '.join(unread)}")
    return config, values.notes


def parse_flags(arguments: Sequence[str]) -> argparse.Namespace:
    """Read the command line.

    Args:
        arguments: Without the program.

    Raises:
        UserError: an unknown or missing flag, or an unsupported value.
        SystemExit: help was asked for; it has been printed.
    """
    parser = _Parser(
        prog="rrl gin",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    several: dict[str, Any] = {"nargs": "+", "action": "extend", "default": []}
    parser.add_argument(
        "--agent",
        type=present_name,
        choices=AGENTS,
        default="qdagger_dqn",
        help="agent to train (default: qdagger_dqn); for kickstarting give qdagger_dqn and "
        "kickstarting_dqn.gin, for DrQ qdagger_rainbow and qdagger_drq.gin",
    )
    parser.add_argument("--base_dir", type=Path, required=True, help="folder of the run")
    parser.add_argument(
        "--gin_files", **several, help="gin files, read in order; later ones override earlier ones"
    )
    parser.add_argument(
        "--gin_bindings",
        **several,
        help="single bindings, each in quotes, which override those of the files; @NETWORK alone "
        "sets the agent's network",
    )
    _add_teacher(parser)
    parser.add_argument(
        "--run_number", dest="seed", type=int, default=1, help="seed of the run (default: 1)"
    )
    for name in _NO_EFFECT:
        parser.add_argument(f"--{name}", nargs="?", help="accepted, but ignored")
    return parser.parse_args(arguments)


def _add_teacher(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--teacher_checkpoint_dir",
        dest="teacher",
        type=_directory,
        required=True,
        help="directory of a Dopamine agent, e.g. DQN_400/Breakout/1; the game is read from the "
        "path",
    )
    parser.add_argument(
        "--teacher_checkpoint_number",
        dest="number",
        type=int,
        help="number of its checkpoint (default: the newest)",
    )
    parser.add_argument(
        "--teacher_checkpoint_file_prefix",
        choices=("ckpt", "tf_ckpt"),
        help="accepted, but ignored: the format is detected",
    )
    parser.add_argument("--teacher_agent", choices=("dqn",), help="kind of the teacher")


def _directory(text: str) -> Path:
    if not Path(text).is_dir():
        raise argparse.ArgumentTypeError(
            f"there is no directory {text}; `rrl teacher fetch` downloads the public agents and "
            "prints their directories"
        )
    return Path(text)

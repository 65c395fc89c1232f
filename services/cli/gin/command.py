"""A command of the code released with Agarwal et al., 2022, run on rrl.

flags, gin files, bindings ──▶ values of its parameters ──▶ settings of ours ──▶ `rrl train`
            unknown name: error      no meaning here: note      not supported: error
"""

from __future__ import annotations

import argparse
import dataclasses
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NoReturn

from rrl_agents.checkpoints.card_markdown import one_line
from rrl_agents.reincarnation.registry import make_recipe
from services.cli.gin.agents import AGENTS, network_parameter
from services.cli.gin.experiment import Teacher, experiment
from services.cli.gin.reading import read
from services.cli.gin.values import Values
from services.launcher.experiment_config import ExperimentConfig
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

runs without a clone of it. The same command resumes a run that was stopped; `rrl report BASE_DIR`
builds its report again.
"""

_FETCH = "`rrl teacher fetch` gets the public ones, and says where they lie"

_OLDER_AGENTS: Mapping[str, str] = {
    "distillation_dqn": "qdagger_dqn",
    "distillation_rainbow": "qdagger_rainbow",
    "margin_dqn": "dqfd_dqn",
    "lols_dqn": "jsrl_dqn",
}


def _truth(text: str) -> bool:
    known = {"true": True, "1": True, "t": True, "false": False, "0": False, "f": False}
    if text.lower() not in known:
        raise argparse.ArgumentTypeError(f"{text!r} is neither true nor false")
    return known[text.lower()]


_SEVERAL = {"nargs": "+", "action": "extend", "default": []}
_SWITCH = {"nargs": "?", "const": True, "default": False, "type": _truth}

_FLAGS: Mapping[str, Mapping[str, Any]] = {
    "agent": {"default": "qdagger_dqn", "help": f"one of {', '.join(AGENTS)}"},
    "base_dir": {"help": "folder of the run, where rrl keeps all of it"},
    "gin_files": {**_SEVERAL, "help": "gin files, in order"},
    "gin_bindings": {
        **_SEVERAL,
        "help": "single bindings, which override the files', each in quotes; @NETWORK alone gives "
        "the agent that network",
    },
    "teacher_checkpoint_dir": {
        "help": "a Dopamine agent's directory, e.g. DQN_400/Breakout/1; also says the game"
    },
    "teacher_checkpoint_number": {
        "type": int,
        "help": "which of its checkpoints; the newest by default",
    },
    "teacher_checkpoint_file_prefix": {
        "default": "ckpt",
        "choices": ("ckpt", "tf_ckpt"),
        "help": "both are found without it",
    },
    "teacher_agent": {"default": "dqn", "choices": ("dqn",), "help": "the teacher's kind"},
    "run_number": {"type": int, "default": 1, "help": "the seed; 1 by default"},
    "atari_roms_path": {"help": "accepted and not needed: ale-py brings the games"},
    "disable_jit": {**_SWITCH, "help": "accepted and ignored: roles always run compiled"},
    # absl's, accepted: rrl logs to stderr and to BASE_DIR.
    **dict.fromkeys(("alsologtostderr", "logtostderr", "showprefixforinfo"), _SWITCH),
    **dict.fromkeys(("verbosity", "log_dir", "logger_levels", "stderrthreshold"), {}),
}
"""The released code's flags -> how argparse reads them."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Flags:
    """What the command line says.

    Attributes:
        agent: Whom to train; key of `AGENTS`.
        base_dir: The run's folder.
        gin_files: In their order.
        gin_bindings: In their order.
        teacher: A Dopamine agent's directory, and which checkpoint.
        run_number: The seed.
        notes: What the user should know of how flags were taken.
    """

    agent: str
    base_dir: Path
    gin_files: tuple[str, ...]
    gin_bindings: tuple[str, ...]
    teacher: Teacher
    run_number: int
    notes: tuple[str, ...]


class _Parser(argparse.ArgumentParser):
    """Raises instead of ending the process."""

    def error(self, message: str) -> NoReturn:
        raise UserError(f"{message}; --help describes the flags")


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
    print(
        f"{make_recipe(config.method).name} on {config.environment.game}; the run is "
        f"{flags.base_dir}",
        flush=True,
    )
    train(config, flags.base_dir)


def translated(flags: Flags) -> tuple[ExperimentConfig, tuple[str, ...]]:
    """The experiment that a command stands for, and what the user should know of it.

    Raises:
        UserError: an unknown name, or a value that rrl does not do.
    """
    network = network_parameter(flags.agent)
    # A reference alone, as in the released README, is the agent's network.
    single = [re.sub(r"^\s*@", f"{network} = @", text) for text in flags.gin_bindings]
    bindings, notes = read(flags.gin_files, single)
    values = Values(bindings)
    config = experiment(values, flags.agent, flags.teacher, seed=flags.run_number)
    return config, (*flags.notes, *notes, *values.notes())


def parse_flags(arguments: Sequence[str]) -> Flags:
    """Read the command line as absl does: `--x y` or `--x=y`, with underscores or dashes.

    Args:
        arguments: Without the program.

    Raises:
        UserError: an unknown flag, one missing, or a value that rrl does not do.
        SystemExit: help was asked for; it has been printed.
    """
    parser = _Parser(
        prog="rrl gin",
        description=_DESCRIPTION,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    for name, how in _FLAGS.items():
        parser.add_argument(f"--{name}", **how)
    found, others = parser.parse_known_args([_present(word) for word in arguments])
    if others:
        raise UserError(_unknown(others[0]))
    if found.base_dir is None:
        raise UserError(
            "--base_dir is missing, the folder of the run. Where a command goes over several "
            "lines, each but the last needs a backslash at its end (the released README has lines "
            "without, after --gin_files for one)"
        )
    notes = []
    if found.atari_roms_path is not None:
        notes.append("--atari_roms_path is not needed: ale-py brings the games")
    if found.disable_jit:
        notes.append("--disable_jit is ignored: roles always run compiled")
    return Flags(
        agent=_agent(found.agent),
        base_dir=Path(found.base_dir),
        gin_files=tuple(found.gin_files),
        gin_bindings=tuple(found.gin_bindings),
        teacher=Teacher(
            directory=_teacher_directory(found.teacher_checkpoint_dir),
            number=found.teacher_checkpoint_number,
        ),
        run_number=found.run_number,
        notes=tuple(notes),
    )


def _present(word: str) -> str:
    """A flag in its one spelling: `--gin-files` is `--gin_files`, `--nox` is `--x=false`."""
    flag, is_set, value = word.partition("=")
    if word == "-v":
        return "--verbosity"
    if not flag.startswith("--"):
        return word
    name = flag[2:].replace("-", "_")
    if _FLAGS.get(name[2:], {}).get("type") is _truth and name.startswith("no"):
        return f"--{name[2:]}=false"
    return f"--{name}{is_set}{value}" if name in _FLAGS else word


def _unknown(word: str) -> str:
    flag = word.partition("=")[0]
    like = nearest(flag, {f"--{name}": None for name in _FLAGS})
    near = f"; did you mean {' or '.join(like)}?" if like else "; --help lists the flags"
    return f"{flag!r} is no flag of the released code{near}"


def _agent(name: str) -> str:
    present = _OLDER_AGENTS.get(name, name)
    if present in AGENTS:
        return present
    like = nearest(name, dict.fromkeys(AGENTS))
    near = f" (did you mean {' or '.join(like)}?)" if like else ""
    raise UserError(
        f"--agent {name!r} is none of the released code's{near}: {', '.join(AGENTS)}. Kickstarting "
        "is qdagger_dqn with kickstarting_dqn.gin, DrQ is qdagger_rainbow with qdagger_drq.gin"
    )


def _teacher_directory(given: str | None) -> Path:
    if not given:
        raise UserError(
            f"--teacher_checkpoint_dir is missing, the directory of a Dopamine agent; {_FETCH}"
        )
    if "://" in given or not Path(given).is_dir():
        raise UserError(f"--teacher_checkpoint_dir: there is no directory {given}; {_FETCH}")
    return Path(given)

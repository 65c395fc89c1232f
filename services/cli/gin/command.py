"""A command of the code released with Agarwal et al., 2022, run on rrl.

flags, gin files, bindings ──▶ values of its parameters ──▶ settings of ours ──▶ `rrl train`
            unknown name: error      no meaning here: note      not done: error
"""

from __future__ import annotations

from collections.abc import Sequence

from rrl_agents.checkpoints.card_markdown import one_line
from rrl_agents.reincarnation.registry import make_recipe
from rrl_agents.students.registry import STUDENTS
from services.cli.gin.agents import Agent
from services.cli.gin.experiment import Teacher, experiment
from services.cli.gin.flags import Flags, parse_flags
from services.cli.gin.reading import read
from services.cli.gin.values import Values
from services.cli.train import train
from services.launcher.experiment_config import ExperimentConfig


def gin_main(arguments: Sequence[str]) -> None:
    """Run a command of the released code.

    Args:
        arguments: Its flags.

    Raises:
        UserError: bad input, or the run failed.
    """
    flags = parse_flags(arguments)
    config, notes = translated(flags)
    for note in notes:
        # Quotes gin files, whose words must not steer the terminal.
        print(f"note: {one_line(note)}")
    print(
        f"{make_recipe(config.method).name} on {config.environment.game}, student "
        f"{_student_name(config)}; the run is {flags.base_dir}",
        flush=True,
    )
    train(config, flags.base_dir)


def translated(flags: Flags) -> tuple[ExperimentConfig, tuple[str, ...]]:
    """The experiment that a command stands for, and what the user should know of it.

    Raises:
        UserError: an unknown name, or a value that rrl does not do.
    """
    single = [_whole_binding(text, flags.agent) for text in flags.gin_bindings]
    text = read(flags.gin_files, single)
    values = Values(text.bindings)
    teacher = Teacher(directory=flags.teacher_directory, number=flags.teacher_number)
    config = experiment(values, flags.agent, teacher, seed=flags.run_number)
    return config, (*flags.notes, *text.notes, *values.notes())


def _student_name(config: ExperimentConfig) -> str:
    """Its name in the registry, or that of its network where it is none of those."""
    for name, student in STUDENTS.items():
        if (student.network, student.learning) == (config.network, config.student):
            return name
    return f"with {config.network.name}"


def _whole_binding(text: str, agent: Agent) -> str:
    """A binding; a reference alone, as in the released README, is the agent's network."""
    bare = text.strip()
    return f"{agent.base_class}.network = {bare}" if bare.startswith("@") else text

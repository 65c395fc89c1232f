"""An experiment keeps the student that its names promise: of a preset, or of a student's own name.

Both doors ask here: the command line and the suites of `rrl bench`.
"""

from __future__ import annotations

from collections.abc import Sequence

from rrl_agents.reincarnation.registry import MethodConfig, make_recipe
from rrl_agents.students.registry import broken_promises, name_of
from services.launcher.experiment_config import ExperimentConfig
from services.launcher.paper_presets import PAPER_PRESETS
from services.shared.errors import UserError


def trains_the_teachers_network(method: MethodConfig) -> bool:
    """Whether a method has no student of its own to choose."""
    # Settings do not decide it, and a recipe refuses some of them.
    return make_recipe(type(method)()).initial_weights == "teacher"


def check_named_student(
    config: ExperimentConfig,
    *,
    preset: str | None,
    student: str | None,
    network_settings: Sequence[str],
) -> None:
    """Refuse settings that make another student than the one that was named.

    Args:
        config: The experiment with all its settings.
        preset: What it began with; only the paper's are named after a student.
        student: Key of `STUDENTS` that was asked for; None for none.
        network_settings: Names of the settings of the network that were given for it.

    Raises:
        UserError: the student is not what its name says, or a method that trains the teacher's
            network is given another; the message names student and settings, and what to do.
    """
    is_like = name_of(config.network, config.student)
    if trains_the_teachers_network(config.method):
        _check_leaves_the_teachers_network(config.method, student, network_settings)
        is_like = None
    if preset is not None and preset in PAPER_PRESETS:
        named = PAPER_PRESETS[preset]
        own = name_of(named.config.network, named.config.student)
        assert own is not None, "presets have students of the registry"
        other = f" with the student {is_like}" if is_like and is_like != own else ""
        _check_is(
            own,
            config,
            f"{preset} is named after its student {own}",
            f"leave that out, or give the method instead, {named.method}{other}",
        )
    if student is not None:
        other = f"name {is_like}" if is_like else "name no student and give single settings"
        _check_is(
            student,
            config,
            f"the student {student} was asked for",
            f"leave that out, or {other}",
        )


def _check_leaves_the_teachers_network(
    method: MethodConfig, student: str | None, network_settings: Sequence[str]
) -> None:
    why = f"{make_recipe(type(method)()).name} trains the teacher's own network"
    if student is not None:
        raise UserError(
            f"{why}, and the student {student} names one; leave it out (single settings of how it "
            "learns, like student.double, are taken)"
        )
    if network_settings:
        raise UserError(f"{why}, which {network_settings[0]} cannot change; leave it out")


def _check_is(student: str, config: ExperimentConfig, promise: str, advice: str) -> None:
    broken = broken_promises(student, config.network, config.student)
    if broken:
        raise UserError(f"{promise}, and {'; '.join(broken)}: {advice}")

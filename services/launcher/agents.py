"""Opens agents by reference: a run's student, a teacher of any kind, or a service.

runs/mine                      the student of a run, from its newest checkpoint
runs/mine/checkpoints/00000007 the same, from this checkpoint
teacher.example:50051          a teacher service
Pong/dqn-bundled, a path, a URL, module:factory, ensemble:RULE:A,B
                               a teacher (`services.library.teacher_references`)
"""

from __future__ import annotations

import contextlib
import dataclasses
import re
from collections.abc import Iterator
from pathlib import Path

from rrl_agents.checkpoints.teacher_card import UNKNOWN_GAME, TeacherCard
from rrl_agents.environments.registry import ENVIRONMENTS, EnvironmentConfig, find_task
from rrl_agents.types import EnvironmentSpec
from rrl_client import ClientSecurity, Priority
from services.evaluator.config import EvaluationProtocol
from services.evaluator.episodes import ActionValues
from services.launcher.served_teacher import ServedTeacher, described_card
from services.shared.errors import UserError, user_errors
from services.shared.run_config import CONFIG_FILE
from services.teacher.in_process import TeacherInProcess

_ADDRESS = re.compile(r".+:\d+|(dns|unix|ipv4|ipv6):.+")
_ENDLESS = 10**12
"""More decisions than any environment's limit; a card with more has no limit."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Agent:
    """A policy that plays.

    Attributes:
        card: Its card.
        scores: Scores float32 [B, A] of observations.
        environment: The environment it was trained in, with its rules; None if unknown.
        protocol: How it is scored: the run's protocol, or the default one.
    """

    card: TeacherCard
    scores: ActionValues
    environment: EnvironmentConfig | None
    protocol: EvaluationProtocol = EvaluationProtocol()

    def check_plays(self, spec: EnvironmentSpec) -> None:
        """Check that it can play an environment.

        Raises:
            UserError: observations or actions differ.
        """
        misfit = self.card.spec.misfit(
            observation_shape=spec.observation_shape,
            observation_dtype=spec.frame_dtype,
            num_actions=spec.num_actions,
            of=spec.name,
        )
        if misfit is not None:
            raise UserError(
                f"{self.card.name} ({self.card.game}) {misfit}: choose its environment with "
                "--environment.name, --environment.game and the settings of its images and stacks"
            )


def is_address(reference: str) -> bool:
    """Whether a reference is an address: it looks like one, and no such path exists."""
    return _ADDRESS.fullmatch(reference) is not None and not Path(reference).exists()


@contextlib.contextmanager
def opened_agent(reference: str, peers: ClientSecurity | None = None) -> Iterator[Agent]:
    """An agent, until the block ends.

    Args:
        reference: A reference as listed in the module docstring; an existing path takes precedence
            over an address.
        peers: TLS and credentials for a service; None for plaintext without a token.

    Raises:
        UserError: there is no such agent, or it cannot be used.
    """
    path = Path(reference)
    if (path / CONFIG_FILE).is_file():
        yield _student(path, None)
        return
    if path.parent.name == "checkpoints" and (path.parents[1] / CONFIG_FILE).is_file():
        if not path.name.isdecimal():
            raise UserError(f"{path} is not a checkpoint of a run; give RUN/checkpoints/NUMBER")
        yield _student(path.parents[1], int(path.name))
        return
    if not is_address(reference):
        yield _taught(TeacherInProcess(reference))
        return
    served = ServedTeacher(reference, peers, Priority.EVALUATION)
    with contextlib.closing(served):
        with user_errors(prefix=f"the teacher at {reference}: "):
            agent = _taught(served)
        yield agent


def _student(run: Path, number: int | None) -> Agent:
    # Run checkpoints need Orbax, which takes seconds to import and configures logging.
    from services.launcher.trained_student import default_name, read_student
    from services.teacher.policies.backend_choice import choose_policy

    student = read_student(run, default_name(run), number)
    policy = choose_policy(student.teacher, backend="jax", dtype="float32", largest_batch=1)
    return Agent(
        card=student.teacher.card,
        scores=policy.evaluate,
        environment=student.config.environment,
        protocol=student.config.evaluation,
    )


def _taught(teacher: TeacherInProcess | ServedTeacher) -> Agent:
    card = described_card(teacher.described)
    return Agent(card=card, scores=teacher.scores, environment=_environment_of(card))


def _environment_of(card: TeacherCard) -> EnvironmentConfig | None:
    """The environment in an agent's card; None if it is not available here."""
    if card.game == UNKNOWN_GAME:
        return None
    try:
        name, game = find_task(card.game)
    except ValueError:
        return None
    found, rules = EnvironmentConfig(name=name, game=game), card.protocol
    if rules is None:
        return found
    limit, is_sticky = rules.max_episode_steps, ENVIRONMENTS[name].sticky_action_probability
    return dataclasses.replace(
        found,
        stack_size=rules.stack_size,
        max_episode_steps=limit if limit < _ENDLESS else None,
        sticky_action_probability=rules.sticky_actions if is_sticky is not None else None,
    )

"""The policy that plays a stage, in an actor process or in the learner's process."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from rrl_agents.behaviour import epsilon_greedy
from rrl_agents.behaviour.guide import GuideTurns
from rrl_agents.reincarnation.recipe import Recipe
from rrl_agents.types import Stage
from rrl_client import TeacherDescription
from services.actor.behaviours import Annotator, AskedTeacher, StudentActs, TeacherActs
from services.actor.config import ActorConfig
from services.actor.rollout import Policy
from services.actor.weight_poller import ActorSnapshot


def stage_policy(
    stage: Stage,
    config: ActorConfig,
    recipe: Recipe,
    student: epsilon_greedy.Policy,
    *,
    latest: Callable[[], ActorSnapshot],
    teacher: AskedTeacher | None,
    described: TeacherDescription | None,
    annotator: Annotator,
    random: np.random.Generator,
) -> Policy:
    """The teacher's policy while its data is collected, else the student's.

    Args:
        stage: Stage of the run; COLLECT needs a teacher and its description.
        config: Number of environments, and exploration of the teacher.
        recipe: The method.
        student: Policy of the student's network.
        latest: Returns the newest weights and progress.
        teacher: The teacher to query; None for a method without a teacher.
        described: Description of the teacher; if None, the student takes all steps.
        annotator: Counts the teacher's answers.
        random: Random generator of all draws.
    """
    if stage is Stage.COLLECT:
        assert teacher is not None and described is not None
        return TeacherActs(
            teacher=teacher,
            described=described,
            annotator=annotator,
            epsilon=config.collect_epsilon,
            random=random,
        )
    guide = recipe.guide
    return StudentActs(
        recipe=recipe,
        policy=student,
        epsilon=recipe.exploration(noisy=config.network.noisy),
        latest=latest,
        teacher=teacher,
        described=described,
        turns=GuideTurns(guide, config.num_envs) if guide is not None else None,
        annotator=annotator,
        random=random,
    )

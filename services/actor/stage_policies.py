"""The policy that an actor plays a stage with, in a process of its own or beside the learner."""

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
        stage: Of the run; COLLECT needs a teacher and its description.
        config: Number of environments and exploration of the teacher.
        recipe: The method.
        student: Of the student's network.
        latest: The newest weights and progress.
        teacher: Asked about states; None for a method without one.
        described: What its scores are; None leaves all steps to the student.
        annotator: Counts its answers.
        random: Where draws come from.
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

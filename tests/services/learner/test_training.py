"""What the learner does at each stage, and how methods differ."""

from __future__ import annotations

import dataclasses
import threading
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest

from rrl_agents.checkpoints.teacher_directory import load_teacher_directory
from rrl_agents.reincarnation.fine_tuning import FineTuningConfig
from rrl_agents.reincarnation.offline_pretraining import OfflinePretrainingConfig
from rrl_agents.students.config import StudentConfig
from rrl_agents.types import Stage
from services.learner.codec import EvaluationReport
from services.learner.role import build_learner
from services.learner.stage_transitions import StageTargets
from services.replay.table_names import STUDENT_TABLE, TEACHER_TABLE
from services.shared.compilations import compilations
from services.shared.errors import UserError
from tests.support.learner_runs import (
    METHOD,
    STEPS,
    Workplace,
    another_learner,
    assert_equal_trees,
    fill,
    state_of,
    work,
)


def test_the_target_network_is_synced_when_the_student_begins_to_play(
    workplace: Workplace,
) -> None:
    learner = workplace.learner
    fill(workplace.replay.address, TEACHER_TABLE)
    # 8 decisions are 2 updates: the target stands where the online network was after update 4.
    work(learner, 5)
    before = state_of(learner)
    kernel = "params", "Dense_0", "kernel"
    assert not np.array_equal(leaf(before.params, kernel), leaf(before.target_params, kernel))
    work(learner, 6)
    learner.step(threading.Event())
    assert learner.progress.stage is Stage.ONLINE
    after = state_of(learner)
    # The student's table is empty: no update has followed.
    assert int(after.learner_updates) == 6
    assert_equal_trees(after.target_params, after.params)


def test_the_optimiser_begins_anew_after_offline_pretraining(workplace: Workplace) -> None:
    method = OfflinePretrainingConfig(q_learning=METHOD.q_learning, offline_updates=6)
    with another_learner(workplace, method=method) as learner:
        fill(workplace.replay.address, TEACHER_TABLE)
        work(learner, 6)
        assert int(state_of(learner).opt_state.count) == 6
        learner.step(threading.Event())
        assert learner.progress.stage is Stage.ONLINE
        assert int(state_of(learner).opt_state.count) == 0
        moments = jax.tree.leaves(state_of(learner).opt_state.mu)
        assert all((moment == 0.0).all() for moment in moments)


def test_fine_tuning_begins_with_the_teachers_parameters(
    workplace: Workplace, catch_teacher: Path
) -> None:
    teacher = load_teacher_directory(catch_teacher)
    assert teacher.card.network is not None
    changes = {
        "method": FineTuningConfig(q_learning=METHOD.q_learning),
        "targets": StageTargets(teacher_steps=0, offline_updates=0, online_updates=40),
        "initial_teacher": catch_teacher,
    }
    with another_learner(workplace, network=teacher.card.network, **changes) as learner:
        assert_equal_trees(state_of(learner).params, teacher.params)
        assert_equal_trees(state_of(learner).target_params, teacher.params)
    with pytest.raises(UserError, match="do not fit the student's architecture"):
        build_learner(dataclasses.replace(workplace.config, **changes))


def test_recorded_data_in_the_students_table_is_not_counted_as_its_play(
    workplace: Workplace,
) -> None:
    method = FineTuningConfig(q_learning=METHOD.q_learning)
    targets = StageTargets(teacher_steps=STEPS - 9, offline_updates=0, online_updates=40)
    with another_learner(workplace, method=method, targets=targets) as learner:
        learner.step(threading.Event())
        assert learner.progress.stage is Stage.COLLECT
        fill(workplace.replay.address, STUDENT_TABLE)
        # One episode more than what is reloaded.
        work(learner, 1)
        assert learner.progress.stage is Stage.ONLINE
        assert (learner.progress.teacher_steps, learner.progress.actor_steps) == (STEPS - 9, 9)


@pytest.mark.parametrize("exponent", [0.0, 0.5], ids=["uniform", "prioritised"])
def test_blocks_end_at_every_evaluation_and_stage_and_none_but_the_first_compiles(
    workplace: Workplace, exponent: float
) -> None:
    seen, compiled = [0], []
    targets = StageTargets(teacher_steps=STEPS, offline_updates=6, online_updates=26)
    changes = {
        "targets": targets,
        "updates_per_block": 4,
        "online_evaluation_period": 12,
        "student": StudentConfig(priority_exponent=exponent),
    }
    with another_learner(workplace, **changes) as learner:
        for table in (TEACHER_TABLE, STUDENT_TABLE):
            fill(workplace.replay.address, table)
        for _ in range(200):
            learner.step(threading.Event())
            if (updates := learner.progress.learner_updates) > seen[-1]:
                seen.append(updates)
                compiled.append(compilations())
    # Offline an evaluation is due after 3 of 6 updates; online, from 6 on, after 12 and 24 of 26.
    assert seen == [0, 3, 6, 10, 14, 18, 22, 26, 30, 32]
    # Stages, target, weights, checkpoints and blocks of 2, 3 and 4 have come since.
    assert len({*compiled}) == 1


def test_updates_wait_for_an_evaluation_that_is_due_where_they_are_told_to(
    workplace: Workplace,
) -> None:
    with another_learner(workplace, pause_for_evaluation=True) as learner:
        fill(workplace.replay.address, TEACHER_TABLE)
        # The first evaluation is due after 3 updates.
        work(learner, 3)
        for _ in range(20):
            learner.step(threading.Event())
        assert learner.progress.learner_updates == 3
        assert learner.served.report_progress().awaited_updates == 3
        report = EvaluationReport(
            weights_version=4, episode_returns=(0.0,), episode_steps=(9,), epsilon=0.001
        )
        learner.served.take_evaluation(report)
        assert not learner.served.report_progress().HasField("awaited_updates")
        work(learner, 4)


def test_an_evaluation_of_weights_that_learned_online_weans(workplace: Workplace) -> None:
    learner = workplace.learner
    fill(workplace.replay.address, TEACHER_TABLE)
    fill(workplace.replay.address, STUDENT_TABLE)
    # Due after 5 online updates; version 12 has had 6 + 5.
    work(learner, 6 + 5)
    report = EvaluationReport(
        weights_version=12, episode_returns=(1.0, -1.0), episode_steps=(9, 9), epsilon=0.001
    )
    # Mean 0: (0 + 0.6) / (1 + 0.6) = 0.375 of the way, so lambda is 0.625.
    assert learner.served.take_evaluation(report).weaning_weight == pytest.approx(0.625)


def leaf(params: Any, path: tuple[str, ...]) -> Any:
    for key in path:
        params = params[key]
    return params

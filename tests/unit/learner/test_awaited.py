from __future__ import annotations

import dataclasses

import pytest

from rrl_agents.types import Progress, Stage
from services.learner.awaited import Awaited, awaited
from services.learner.published_weights import Snapshot
from services.learner.stage_transitions import StageTargets

TARGETS = StageTargets(teacher_steps=100, offline_updates=20, online_updates=50)
KNOWN = Progress(random_return=0.0, teacher_return=1.0, teacher_steps=100, offline_updates=20)
UNKNOWN = dataclasses.replace(KNOWN, teacher_return=None, stage=Stage.COLLECT)
NOTHING = Awaited()


def at(stage: Stage, online_updates: int = 30) -> Progress:
    return dataclasses.replace(KNOWN, stage=stage, online_updates=online_updates)


@pytest.mark.parametrize(
    ("progress", "due", "pauses", "expected"),
    [
        # Updates continue while weights are played, unless configured to wait.
        (at(Stage.ONLINE), at(Stage.ONLINE, 25), False, NOTHING),
        (at(Stage.ONLINE), at(Stage.ONLINE, 30), True, Awaited(updates=50)),
        (at(Stage.ONLINE), None, True, NOTHING),
        (at(Stage.FINAL_EVALUATION, 50), at(Stage.ONLINE, 50), False, Awaited(updates=70)),
        (at(Stage.FINISHED, 50), None, False, NOTHING),
        # The teacher's return decides when the offline stage begins.
        (UNKNOWN, None, False, Awaited(teacher=True)),
        (dataclasses.replace(UNKNOWN, teacher_steps=99), None, False, NOTHING),
        (at(Stage.COLLECT), None, False, NOTHING),
    ],
)
def test_a_run_waits_where_an_evaluation_is_all_that_is_left_to_do(
    progress: Progress, due: Progress | None, pauses: bool, expected: Awaited
) -> None:
    newest = Snapshot(version=3, params={}, progress=due) if due is not None else None
    found = awaited(progress, TARGETS, newest, pauses=pauses)
    assert found == expected
    assert bool(found) == (expected != NOTHING)

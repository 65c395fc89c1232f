"""How many updates are made at once; the order of the stages is tested with `stages`."""

from __future__ import annotations

import dataclasses
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from rrl_agents.types import Progress, Stage
from services.learner.config import ShardAddress
from services.learner.run_clock import RunClock
from services.learner.run_stages import RunStages
from services.learner.stage_transitions import StageTargets
from tests.support.learner_runs import config_of

CONFIG = config_of(Path("run"), ShardAddress(data="localhost:1", control="localhost:2"))
ONLINE = Progress(random_return=0.0, stage=Stage.ONLINE)


def stages(target: int, period: int, block: int) -> RunStages:
    config = dataclasses.replace(
        CONFIG,
        targets=StageTargets(teacher_steps=0, offline_updates=0, online_updates=target),
        online_evaluation_period=period,
        updates_per_block=block,
    )
    return RunStages(config, RunClock(ONLINE, lambda progress: 1.0))


def test_a_block_ends_where_an_evaluation_is_due_and_where_the_stage_ends() -> None:
    run = stages(target=11, period=6, block=4)
    sizes, progress = [], ONLINE
    while updates := run.next_block(progress):
        sizes.append(len(updates))
        progress = progress.after_updates(len(updates))
    # 4, and 6 is due; 10, and 11 is the end.
    assert sizes == [4, 2, 4, 1]


@given(st.integers(0, 60), st.integers(1, 20), st.integers(1, 12))
def test_blocks_pass_over_no_evaluation(target: int, period: int, block: int) -> None:
    run, progress, seen = stages(target, period, block), ONLINE, []
    while updates := run.next_block(progress):
        assert updates.start == progress.learner_updates and len(updates) <= block
        progress = progress.after_updates(len(updates))
        if run.evaluation_is_due(progress):
            seen.append(progress.online_updates)
    assert progress.online_updates == target
    assert seen == list(range(period, target, period))

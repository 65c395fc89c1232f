"""A run and its checkpoints: everything comes back to the bit, and a run ends with one."""

from __future__ import annotations

import contextlib
import dataclasses
import threading
from pathlib import Path

import numpy as np
import pytest

from rrl_agents.types import Batch, Stage
from services.learner.checkpoint_records import newest_checkpoint
from services.learner.client import LearnerClient
from services.learner.role import build_learner
from services.learner.stage_transitions import StageTargets
from services.replay.connection import table_counts
from services.replay.reader import ReplayReader
from services.replay.table_names import STUDENT_TABLE, TEACHER_TABLE
from services.shared.errors import UserError
from services.shared.locks import LEARNER_LOCK, locked
from tests.support.learner_runs import (
    LAYOUT,
    STEPS,
    ReplayShard,
    Workplace,
    assert_equal_trees,
    config_of,
    fill,
    joined,
    no_place_for_checkpoints,
    report_final,
    save_after,
    short,
    state_of,
    wait_for,
    work,
    working,
)
from tests.support.patience import PATIENCE_SECONDS


def transitions(address: str, table: str) -> set[tuple[bytes, ...]]:
    """All transitions of a table: its 10 x 9 are drawn often enough to see each."""
    reader = ReplayReader(address, LAYOUT, 0.99, 32)
    seen = set()
    # One of 90 is missed by 96 x 32 uniform draws with probability (1 - 1/90)^3072 = 1e-15.
    for _ in range(96):
        batch: Batch = reader.sample(table, timeout_seconds=PATIENCE_SECONDS).batch
        columns = [np.asarray(column) for column in batch]
        seen |= {tuple(column[i].tobytes() for column in columns) for i in range(32)}
    reader.close()
    return seen


def test_a_checkpoint_brings_everything_back_to_the_bit(workplace: Workplace) -> None:
    learner, replay = workplace.learner, workplace.replay
    fill(replay.address, TEACHER_TABLE)
    fill(replay.address, STUDENT_TABLE)
    work(learner, 6 + 10)
    learner.save_checkpoint()
    counts = table_counts(replay.address)
    before, progress = state_of(learner), learner.progress
    assert progress.stage is Stage.ONLINE
    assert (progress.offline_updates, progress.online_updates) == (6, 10)
    # The teacher's table may be read without limit: all of it can be seen.
    contents = transitions(replay.address, TEACHER_TABLE)
    assert len(contents) == STEPS
    assert counts[TEACHER_TABLE].inserted == counts[STUDENT_TABLE].inserted == STEPS
    learner.close()

    checkpoint = newest_checkpoint(workplace.run)
    assert checkpoint is not None
    workplace.replay = replay = replay.again()
    address = workplace.replay.address
    restored = table_counts(address)
    for table in (TEACHER_TABLE, STUDENT_TABLE):
        assert (restored[table].size, restored[table].inserted) == (STEPS, STEPS)
    # Batches fetched ahead count as sampled, and the reader fetches on until the checkpoint is
    # made.
    assert 10 * 32 <= restored[STUDENT_TABLE].sampled <= counts[STUDENT_TABLE].sampled
    assert transitions(address, TEACHER_TABLE) == contents
    workplace.learner = joined(config_of(workplace.run, replay.shard))
    assert_equal_trees(state_of(workplace.learner), before)
    assert workplace.learner.progress == progress
    assert checkpoint.record.progress == progress
    # Not only equal: it learns on from there.
    work(workplace.learner, 6 + 12)
    assert int(state_of(workplace.learner).learner_updates) == 18


def test_a_second_learner_of_a_run_is_refused(
    workplace: Workplace, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("services.learner.loop._LOCK_WAIT_SECONDS", 0.2)
    with (
        locked(workplace.run / LEARNER_LOCK),
        pytest.raises(UserError, match="in use by another process: wait for it, or stop it"),
    ):
        workplace.learner.run(threading.Event())
    # The other's event files have had no line from this one, that would hide what it writes.
    assert not (workplace.run / "metrics").exists()


def test_a_stage_entered_as_a_run_goes_on_is_saved_at_once(workplace: Workplace) -> None:
    fill(workplace.replay.address, TEACHER_TABLE)
    work(workplace.learner, 6)
    assert workplace.learner.progress.stage is Stage.OFFLINE
    workplace.learner.save_checkpoint()
    workplace.learner.close()

    workplace.learner = build_learner(workplace.config)
    stop = threading.Event()
    thread = threading.Thread(target=workplace.learner.run, args=(stop,), daemon=True)
    thread.start()
    try:
        # Long before the period of 300 s is over, and before the stop, which saves one too.
        wait_for(
            lambda: newest_checkpoint(workplace.run),
            lambda found: found.record.progress.stage is Stage.ONLINE,
        )
    finally:
        stop.set()
        thread.join(PATIENCE_SECONDS)


def test_a_run_is_over_only_when_a_checkpoint_holds_its_end(
    filled: Workplace, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("services.learner.loop._RETRY_SECONDS", 0.1)
    config = dataclasses.replace(short(filled.config), linger_seconds=None)
    with (
        working(config) as progress,
        contextlib.closing(LearnerClient(f"localhost:{config.port}")) as client,
    ):
        wait_for(progress, lambda got: got.stage is Stage.FINAL_EVALUATION)
        wait_for(client.progress, lambda got: got.saved.stage == Stage.FINAL_EVALUATION)
        with no_place_for_checkpoints(filled.run):
            report_final(client, updates=2)
            failing = wait_for(client.progress, lambda got: got.checkpoint_failure)
            assert failing.progress.stage == Stage.FINISHED
            assert failing.saved.stage == Stage.FINAL_EVALUATION
        saved = wait_for(client.progress, lambda got: got.saved.stage == Stage.FINISHED)
        assert saved.checkpoint_failure == ""
    newest = newest_checkpoint(filled.run)
    assert newest is not None and newest.record.progress.stage is Stage.FINISHED


def test_a_learner_that_cannot_save_what_it_did_last_says_what_is_lost(filled: Workplace) -> None:
    save_after(filled.config, 8)
    learner = joined(filled.config)
    work(learner, 12)
    filled.learner, stop = learner, threading.Event()
    stop.set()
    newest = newest_checkpoint(filled.run)
    assert newest is not None
    kept = newest.record.progress.learner_updates
    lost = rf"updates {kept + 1} to 12 are lost.*File exists.*checkpoint is from update {kept}"
    with no_place_for_checkpoints(filled.run), pytest.raises(UserError, match=lost):
        learner.save_end(stop)


def test_two_shards_are_learned_from_counted_and_saved_as_one(
    workplace: Workplace, tmp_path: Path
) -> None:
    workplace.learner.close()
    second = ReplayShard(tmp_path / "second")
    try:
        for address in (workplace.replay.address, second.address):
            fill(address, TEACHER_TABLE)
            fill(address, STUDENT_TABLE)
        config = dataclasses.replace(
            workplace.config,
            replay=(workplace.replay.shard, second.shard),
            targets=StageTargets(teacher_steps=2 * STEPS, offline_updates=6, online_updates=40),
        )
        workplace.learner = learner = joined(config)
        work(learner, 6 + 8)
        assert learner.progress.actor_steps == learner.progress.teacher_steps == 2 * STEPS
        # Eight online batches of 32, from each shard in turn; the rest was fetched ahead.
        for address in (workplace.replay.address, second.address):
            assert table_counts(address)[STUDENT_TABLE].sampled >= 4 * 32
        learner.save_checkpoint()
        learner.close()
        second = second.again()
        workplace.learner = learner = joined(config)
        assert learner.progress.actor_steps == 2 * STEPS
        work(learner, 6 + 10)
    finally:
        second.stop()

"""Replay that is unreachable, restarts, or cannot load its tables."""

from __future__ import annotations

import os
import shutil
import threading
from collections.abc import Sequence
from typing import Any, NoReturn

import pytest

from services.learner.checkpoint_records import newest_checkpoint
from services.learner.feed import ReplayLost
from services.learner.replay_checkpoints import ReplayCheckpoints
from services.learner.role import run_learner
from services.replay.connection import table_counts
from services.replay.table_names import TEACHER_TABLE
from services.shared.errors import UserError
from tests.support.learner_runs import (
    STEPS,
    Workplace,
    fill,
    joined,
    save_after,
    wait_for,
    work,
    working,
)
from tests.support.patience import PATIENCE_SECONDS


def test_replay_that_comes_back_takes_the_learner_back_to_the_newest_checkpoint(
    filled: Workplace,
) -> None:
    save_after(filled.config, 8)
    with working(filled.config) as progress:
        before = wait_for(progress, lambda got: got.learner_updates >= 10)
        # It has forgotten what came after the checkpoint, which the learner has learned from.
        filled.replay = filled.replay.again()
        after = wait_for(progress, lambda got: got.learner_updates < before.learner_updates)
        assert after.learner_updates >= 8
        # It continues without intervention, as far as 90 steps allow.
        wait_for(progress, lambda got: got.learner_updates > 10)


def test_replay_that_was_only_unreachable_costs_nothing(
    filled: Workplace, monkeypatch: pytest.MonkeyPatch
) -> None:
    learner = joined(filled.config)
    work(learner, 8)
    filled.learner = learner
    filled.replay.cut_off()
    # The very next step looks at replay.
    monkeypatch.setattr("services.learner.loop.COUNT_PERIOD_SECONDS", 0.0)
    waiting = threading.Thread(target=learner.step, args=(threading.Event(),), daemon=True)
    waiting.start()
    waiting.join(0.5)
    assert waiting.is_alive() and learner.progress.learner_updates == 8
    filled.replay.reach_again()
    waiting.join(PATIENCE_SECONDS)
    assert not waiting.is_alive()
    work(learner, 10)


def test_a_learner_that_comes_back_has_living_replay_fall_back(filled: Workplace) -> None:
    save_after(filled.config, 8)
    checkpoint = newest_checkpoint(filled.run)
    assert checkpoint is not None
    fill(filled.replay.address, TEACHER_TABLE)
    assert table_counts(filled.replay.address)[TEACHER_TABLE].inserted == 2 * STEPS
    filled.learner = learner = joined(filled.config)
    assert table_counts(filled.replay.address)[TEACHER_TABLE].inserted == STEPS
    assert learner.progress == checkpoint.record.progress
    work(learner, 10)


def test_a_learner_that_is_told_to_stop_as_its_replay_is_lost_stops(
    filled: Workplace, monkeypatch: pytest.MonkeyPatch
) -> None:
    stop = threading.Event()
    restored: list[ReplayCheckpoints] = []
    restore_all = ReplayCheckpoints.restore_all

    def noted(shards: ReplayCheckpoints, checkpoint: int, stop: threading.Event) -> bool:
        restored.append(shards)
        return restore_all(shards, checkpoint, stop)

    def lost(shards: ReplayCheckpoints, checkpoint: int, keep: Sequence[int]) -> None:
        stop.set()
        raise ReplayLost("replay restarted with other tables")

    monkeypatch.setattr(ReplayCheckpoints, "restore_all", noted)
    monkeypatch.setattr(ReplayCheckpoints, "save_all", lost)
    run_learner(filled.config, stop)
    assert len(restored) == 1


@pytest.mark.parametrize("damage", [pytest.param("absent", marks=pytest.mark.slow), "cut short"])
def test_tables_that_cannot_be_loaded_take_all_back_to_the_checkpoint_before(
    filled: Workplace, damage: str
) -> None:
    number = save_after(filled.config, 8, 10)
    tables = filled.run / "replay" / "checkpoints" / f"{number:08d}"
    if damage == "absent":
        shutil.rmtree(tables)
    else:
        os.truncate(tables / "chunks.tfrecord", 1000)
    filled.replay = filled.replay.again()
    with working(filled.config) as progress:
        seen = wait_for(progress, lambda got: got.learner_updates > 0)
        assert seen.learner_updates >= 8
        wait_for(progress, lambda got: got.learner_updates > 10)
    newest = newest_checkpoint(filled.run)
    assert newest is not None and newest.number == number + 1


def test_a_checkpoint_that_is_never_finished_leaves_tables_for_all_that_are_there(
    filled: Workplace, monkeypatch: pytest.MonkeyPatch
) -> None:
    number = save_after(filled.config, 8, 10)

    def killed(*_: Any, **__: Any) -> NoReturn:
        raise OSError("ended in the middle of a checkpoint")

    with monkeypatch.context() as patch:
        # Replay has saved its part of the next one.
        patch.setattr("services.learner.run_checkpoints.write_checkpoint", killed)
        learner = joined(filled.config)
        work(learner, 12)
        learner.save_checkpoint()
        learner.close()
    newest = newest_checkpoint(filled.run)
    assert newest is not None and newest.number == number
    # The newest one turns out to be damaged: the one before still has its tables.
    (newest.path / "record.json").write_text("")
    filled.replay = filled.replay.again()
    filled.learner = learner = joined(filled.config)
    assert learner.progress.learner_updates == 8
    work(learner, 10)


def test_a_run_whose_tables_are_all_gone_is_not_started_from_scratch(filled: Workplace) -> None:
    save_after(filled.config, 8)
    shutil.rmtree(filled.run / "replay" / "checkpoints")
    with pytest.raises(UserError, match="holds no tables of checkpoint"):
        run_learner(filled.config, threading.Event())
    assert newest_checkpoint(filled.run) is not None


def test_a_run_whose_checkpoints_are_all_damaged_is_not_started_from_scratch(
    filled: Workplace,
) -> None:
    save_after(filled.config, 8)
    for record in (filled.run / "checkpoints").glob("*/record.json"):
        record.write_text("")
    stop = threading.Event()
    # A run from scratch would last for ever.
    timer = threading.Timer(PATIENCE_SECONDS, stop.set)
    timer.start()
    try:
        with pytest.raises(UserError, match="none of the checkpoints"):
            run_learner(filled.config, stop)
    finally:
        timer.cancel()

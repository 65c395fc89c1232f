"""Which evaluations are due after an interruption, and what weaning reads."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest

from rrl_agents.schedules.weaning import until_matching_teacher
from rrl_agents.types import Progress, Stage
from services.learner.checkpoint_records import RunRecord
from services.learner.codec import EvaluationReport
from services.learner.evaluation_records import current_records, read_records
from services.learner.pending_evaluations import (
    EVALUATIONS_FILE,
    PendingEvaluations,
    UnknownWeights,
)
from services.learner.published_weights import Snapshot
from services.learner.run_clock import RunClock

Kept = tuple[RunRecord, tuple[Snapshot, ...]]
"""What a checkpoint keeps."""

START = Progress(random_return=0.0, teacher_return=10.0, stage=Stage.ONLINE)


# Random 0, teacher 10, student 4: 1 - (4 - 0) / (10 - 0).
WEANED = (4.0, pytest.approx(0.6), 1, 5)


class Session:
    """Pending evaluations and their clock, fresh or restored from another session's checkpoint."""

    def __init__(self, run: Path, name: str, kept: Kept | None = None, asks: int = 0) -> None:
        self.name = name
        progress = START if kept is None else kept[0].progress
        self.clock = RunClock(progress, until_matching_teacher(wean_steps=1_000))
        self.clock.restore(progress, 0.0)
        self.pending = PendingEvaluations(run, self.clock, name)
        if kept is not None:
            self.pending.resume(kept[1], kept[0].evaluation_lines)
        if asks:
            self.ask(asks)

    def ask(self, updates: int, *, final: bool = False) -> None:
        """Train up to so many updates and have these weights evaluated."""
        while self.clock.progress.online_updates < updates:
            self.clock.count_updates()
        if final:
            self.clock.change(stage=Stage.FINAL_EVALUATION)
        self.pending.request(
            Snapshot(
                version=updates + 1,
                params={"params": {"bias": np.full(1, updates, np.float32)}},
                progress=self.clock.progress,
                sessions=(self.name,),
                final=final,
            )
        )

    def fetch(self) -> int:
        """The version that an evaluator without weights gets to play, 0 for none."""
        snapshot, _ = self.pending.weights.newer_than(0)
        if snapshot is None:
            return 0
        self.pending.weights.last_sent = snapshot.version
        return snapshot.version

    def report(self, version: int, mean_return: float, session: str = "") -> float:
        """Hand a result in; gives lambda after it."""
        report = EvaluationReport(
            weights_version=version,
            episode_returns=(mean_return,),
            episode_steps=(9,),
            epsilon=0.0,
            session=session,
        )
        return self.pending.record(report).weaning_weight

    @property
    def weaning(self) -> tuple[float | None, float, int, int | None]:
        """What weaning reads and says, and of which evaluation."""
        now = self.clock.progress
        return now.online_return, now.weaning_weight, now.evaluations, now.evaluated_updates


def test_nothing_is_due_again_where_nothing_was_due(tmp_path: Path) -> None:
    first = Session(tmp_path, "first", asks=5)
    assert first.report(6, 4.0) == pytest.approx(0.6)
    kept = first.pending.state()
    assert kept[1] == ()
    second = Session(tmp_path, "second", kept)
    assert second.fetch() == 0 and not second.pending.is_pending
    assert second.weaning == first.weaning == WEANED


def test_an_evaluation_that_was_lost_is_played_once_more_of_the_same_weights(
    tmp_path: Path,
) -> None:
    first = Session(tmp_path, "first", asks=5)
    assert first.fetch() == 6
    kept = first.pending.state()
    second = Session(tmp_path, "second", kept)
    # Training continues, as without an interruption: the weights are those of update 5.
    second.clock.count_updates()
    snapshot, _ = second.pending.weights.newer_than(0)
    assert snapshot is not None and snapshot.version == 6
    second.pending.weights.last_sent = 6
    np.testing.assert_array_equal(snapshot.params["params"]["bias"], [5.0])
    assert second.report(6, 4.0) == pytest.approx(0.6)
    assert second.weaning == WEANED
    # An evaluator that was restarted after that is given nothing to play again.
    assert second.fetch() == 0
    with pytest.raises(UnknownWeights, match="not due"):
        second.report(6, 9.0)


def test_a_result_that_came_after_the_checkpoint_is_taken_from_disk(tmp_path: Path) -> None:
    first = Session(tmp_path, "first", asks=5)
    kept = first.pending.state()
    first.report(6, 4.0)
    first.ask(8)
    first.report(9, 7.0)
    second = Session(tmp_path, "second", kept)
    # Weights 9 do not exist in this session yet.
    assert second.weaning == WEANED
    assert second.fetch() == 0
    second.ask(8)
    second.report(9, 6.0)
    records = current_records(read_records(tmp_path / EVALUATIONS_FILE))
    found = [(one.weights_version, one.episode_returns) for one in records]
    assert found == [(6, (4.0,)), (9, (6.0,))]


def test_a_result_of_other_weights_of_the_same_version_is_not_taken_from_disk(
    tmp_path: Path,
) -> None:
    lost = Session(tmp_path, "lost", asks=5)
    lost.report(6, 9.0)
    # No checkpoint held that stretch: it is trained again, to other weights.
    first = Session(tmp_path, "first", asks=5)
    second = Session(tmp_path, "second", first.pending.state())
    assert second.fetch() == 6
    assert second.weaning == (None, 1.0, 0, None)


def test_weights_being_played_and_those_on_offer_are_played_in_their_order(tmp_path: Path) -> None:
    first = Session(tmp_path, "first", asks=5)
    assert first.fetch() == 6
    first.ask(8)
    kept = first.pending.state()
    assert [one.version for one in kept[1]] == [6, 9]
    second = Session(tmp_path, "second", kept)
    assert second.fetch() == 6
    # A new request replaces weights whose play has not started, as always.
    second.ask(11)
    assert second.fetch() == 6
    second.report(6, 4.0)
    assert second.fetch() == 12
    with pytest.raises(UnknownWeights):
        second.report(9, 1.0)
    assert second.report(12, 5.0) == pytest.approx(0.5)
    assert not second.pending.is_pending


def test_an_evaluator_that_outlives_the_learner_may_hand_in_what_it_played(tmp_path: Path) -> None:
    first = Session(tmp_path, "first", asks=5)
    second = Session(tmp_path, "second", first.pending.state())
    third = Session(tmp_path, "third", second.pending.state())
    for session in ("first", "second", "third"):
        assert session in third.pending.state()[1][0].sessions
    third.report(6, 4.0, session="first")
    assert third.weaning == WEANED


def test_weights_of_a_stretch_that_was_lost_do_not_wean_those_of_the_same_version(
    tmp_path: Path,
) -> None:
    Session(tmp_path, "lost", asks=5)
    session = Session(tmp_path, "session", asks=5)
    with pytest.raises(UnknownWeights, match="earlier session"):
        session.report(6, 9.0, session="lost")
    assert session.weaning == (None, 1.0, 0, None)
    session.report(6, 4.0, session="session")


def test_final_weights_supersede_what_was_being_played(tmp_path: Path) -> None:
    first = Session(tmp_path, "first", asks=5)
    assert first.fetch() == 6
    first.ask(8, final=True)
    second = Session(tmp_path, "second", first.pending.state())
    assert second.fetch() == 9 and not second.pending.final_is_done
    second.report(9, 4.0)
    assert second.pending.final_is_done and not second.pending.is_pending


@pytest.mark.parametrize("noted_before", [True, False])
def test_a_final_result_that_is_on_disk_ends_the_run(tmp_path: Path, noted_before: bool) -> None:
    first = Session(tmp_path, "first")
    first.ask(8, final=True)
    kept = first.pending.state()
    first.report(9, 4.0)
    second = Session(tmp_path, "second", kept if noted_before else first.pending.state())
    assert second.pending.final_is_done and second.fetch() == 0
    assert second.weaning == (4.0, pytest.approx(0.6), 1, 8)


def test_a_teacher_that_was_played_once_is_not_played_again(tmp_path: Path) -> None:
    first = Session(tmp_path, "first")
    first.report(0, 8.0)
    unknown = dataclasses.replace(START, teacher_return=None)
    clock = RunClock(unknown, until_matching_teacher(wean_steps=1_000))
    PendingEvaluations(tmp_path, clock, "second")
    assert clock.progress.teacher_return == 8.0

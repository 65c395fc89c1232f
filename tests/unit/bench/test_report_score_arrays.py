from __future__ import annotations

import numpy as np
import pytest

from services.bench.report.score_arrays import SuiteScores, arrange
from services.bench.results import EvaluationRow, ReferenceRow, Results
from services.shared.errors import UserError
from tests.support.bench_rows import SUITE, evaluation, reference


def _run(entry: str, game: str, seed: int, *returns: float) -> list[EvaluationRow]:
    """A whole run: evaluated after 0, 100, 200 ... frames, the last one being its end."""
    return [
        evaluation(entry, game, seed, 100 * index, mean_return, final=index == len(returns) - 1)
        for index, mean_return in enumerate(returns)
    ]


# A scale of 10 on Asterix and of 2 on Breakout.
REFERENCES = reference("asterix", 5.0, 15.0), reference("breakout", 0.0, 2.0)


def _arrange(
    rows: list[EvaluationRow], references: tuple[ReferenceRow, ...] = REFERENCES
) -> SuiteScores:
    return arrange(SUITE, Results(evaluations=tuple(rows), references=references))


def test_scores_are_arranged_by_repetition_game_and_frames() -> None:
    rows = [
        *_run("qdagger", "asterix", 0, 5.0, 10.0, 20.0),
        *_run("qdagger", "asterix", 1, 0.0, 15.0, 15.0),
        *_run("qdagger", "breakout", 0, 0.0, 1.0, 2.0),
        *_run("qdagger", "breakout", 1, 1.0, 1.0, 4.0),
    ]
    scores = _arrange(rows)
    (entry,) = scores.entries
    assert entry.games == ("asterix", "breakout")
    assert entry.frames.tolist() == [0, 100, 200]
    assert entry.returns[1, 0].tolist() == [0.0, 15.0, 15.0]
    # (return - 5) / 10 on Asterix, return / 2 on Breakout.
    assert entry.scores[:, 0].tolist() == [[0.0, 0.5, 1.5], [-0.5, 1.0, 1.0]]
    assert entry.scores[:, 1].tolist() == [[0.0, 0.5, 1.0], [0.5, 0.5, 2.0]]
    assert entry.final.tolist() == [[1.5, 1.0], [1.0, 2.0]]
    assert entry.facts == {
        "games": 2,
        "seeds": 2,
        "episodes": 10,
        "final_episodes": 30,
        "epsilon": 0.001,
        "frames": 200,
        "offline_updates": 0,
        "online_updates": 50,
    }
    assert len(scores.missing) == 4
    assert scores.missing[0] == "scratch/asterix/seed0"


def test_only_points_that_all_runs_have_are_compared() -> None:
    rows = [
        *_run("qdagger", "asterix", 0, 5.0, 10.0, 20.0),
        # Without the point at 100 frames.
        evaluation("qdagger", "breakout", 0, 0, 0.0),
        evaluation("qdagger", "breakout", 0, 200, 2.0, final=True),
    ]
    (entry,) = _arrange(rows).entries
    assert entry.frames.tolist() == [0, 200]
    assert np.array_equal(entry.scores, [[[0.0, 1.5], [0.0, 1.0]]])


def test_the_end_of_the_offline_stage_is_where_the_students_own_play_begins() -> None:
    rows = [
        # Before the last of its 50 offline updates: not yet the student that begins to play.
        evaluation("qdagger", "asterix", 0, 0, 6.0, offline_updates=25),
        evaluation("qdagger", "asterix", 0, 0, 10.0, offline_updates=50),
        evaluation("qdagger", "asterix", 0, 100, 12.0, offline_updates=50),
        evaluation("qdagger", "asterix", 0, 100, 15.0, offline_updates=50, final=True),
    ]
    (entry,) = _arrange(rows).entries
    # Of two evaluations after 100 frames, the final weights' counts.
    assert entry.returns.tolist() == [[[10.0, 15.0]]]
    # Where its end was not evaluated, there is no score of it.
    (entry,) = _arrange([rows[0], *rows[2:]]).entries
    assert entry.frames.tolist() == [100]


def test_games_get_as_many_repetitions_as_the_one_with_the_fewest_and_the_rest_is_named() -> None:
    rows = [
        *_run("qdagger", "asterix", 0, 5.0, 6.0),
        *_run("qdagger", "asterix", 1, 5.0, 7.0),
        *_run("qdagger", "breakout", 1, 0.0, 1.0),
        # Not finished: no final evaluation.
        evaluation("qdagger", "breakout", 0, 0, 0.5),
    ]
    scores = _arrange(rows)
    (entry,) = scores.entries
    assert entry.final.tolist() == [[pytest.approx(0.1), 0.5]]
    assert scores.left_out == ("qdagger/asterix/seed1",)
    assert "qdagger/breakout/seed0" in scores.missing


@pytest.mark.parametrize("teacher_return", [5.0, 4.0])
def test_a_teacher_no_better_than_chance_is_no_scale(teacher_return: float) -> None:
    rows = _run("qdagger", "asterix", 0, 5.0, 6.0)
    message = f"asterix: the teacher returns {teacher_return:g}, no more than the random policy's 5"
    with pytest.raises(UserError, match=message):
        _arrange(rows, (reference("asterix", 5.0, teacher_return),))


def test_what_cannot_be_put_together_is_refused() -> None:
    asterix = _run("qdagger", "asterix", 0, 5.0, 6.0)
    longer = _run("qdagger", "breakout", 0, 0.0, 0.5, 1.0)
    with pytest.raises(UserError, match=r"end after different numbers of frames \(\[100, 200\]\)"):
        _arrange([*asterix, *longer])
    with pytest.raises(UserError, match="no run of this suite is finished"):
        _arrange([evaluation("qdagger", "asterix", 0, 0, 5.0)])
    with pytest.raises(UserError, match="no game with finished runs has a teacher with a score"):
        _arrange(asterix, ())


def test_runs_of_a_game_whose_teacher_is_not_known_are_named_as_such() -> None:
    games = ("asterix", 5.0), ("breakout", 0.0)
    rows = [row for game, least in games for row in _run("qdagger", game, 0, least, least + 1.0)]
    scores = _arrange(rows, REFERENCES[:1])
    assert (scores.unscaled, scores.left_out) == (("qdagger/breakout/seed0",), ())

"""How a teacher acts, against the softmax worked by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest

from rrl_client.actions import action_preferences, teacher_actions


def test_q_values_are_acted_on_greedily_and_draw_no_random_numbers() -> None:
    random = np.random.default_rng(0)
    q_values = np.asarray([[1, 3, 2], [5, 5, 0]], np.float32)
    actions = teacher_actions(q_values, output="q_values", temperature=None, random=random)
    assert actions.tolist() == [1, 0]
    assert actions.dtype == np.int64
    assert random.random() == np.random.default_rng(0).random()


@pytest.mark.parametrize(
    ("temperature", "expected"),
    [
        # Logits (ln 6, ln 3, 0): softmax is (6, 3, 1) / 10.
        (None, (0.6, 0.3, 0.1)),
        (1.0, (0.6, 0.3, 0.1)),
        # Divided by 2 the exponentials are sqrt(6), sqrt(3), 1, of sum 5.1815.
        (2.0, (0.47273, 0.33427, 0.19299)),
        # Divided by 1/2 they are 36, 9, 1, of sum 46.
        (0.5, (36 / 46, 9 / 46, 1 / 46)),
    ],
)
def test_logits_are_drawn_from_by_their_softmax(
    temperature: float | None, expected: tuple[float, ...]
) -> None:
    draws = 40_000
    logits = np.tile(np.log(np.asarray([6, 3, 1], np.float32)), (draws, 1))
    actions = teacher_actions(
        logits, output="logits", temperature=temperature, random=np.random.default_rng(1)
    )
    shares = np.bincount(actions, minlength=3) / draws
    # The standard error is at most sqrt(1/4 / 40,000) = 0.0025.
    np.testing.assert_allclose(shares, expected, atol=0.0125)


def test_the_same_generator_draws_the_same_actions() -> None:
    logits = np.zeros((50, 4), np.float32)
    first, second = (
        teacher_actions(
            logits, output="logits", temperature=1.0, random=np.random.default_rng(3)
        ).tolist()
        for _ in range(2)
    )
    assert first == second
    assert set(first) == {0, 1, 2, 3}


def test_a_logit_far_above_the_others_is_always_taken() -> None:
    logits = np.asarray([[0.0, 1e4, 0.0]] * 100, np.float32)
    preferences = action_preferences(
        logits, output="logits", temperature=None, random=np.random.default_rng(0)
    )
    assert preferences.dtype == np.float32
    assert math.isfinite(preferences.sum())
    assert set(preferences.argmax(axis=1)) == {1}


def test_other_outputs_are_refused() -> None:
    with pytest.raises(ValueError, match="output is 'probabilities'"):
        teacher_actions(
            np.zeros((1, 2), np.float32),
            output="probabilities",
            temperature=None,
            random=np.random.default_rng(0),
        )

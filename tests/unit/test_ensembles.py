"""Several teachers as one: the rules by hand, and how an ensemble is named."""

from __future__ import annotations

import numpy as np
import pytest

from rrl_agents.ensembles import RULES, Ensemble, parse_ensemble

# Two members, two states, two actions.
SCORES = np.asarray([[[0, 4], [1, 1]], [[2, -2], [5, 3]]], np.float32)


def test_the_mean_of_policies_is_that_of_their_probabilities() -> None:
    # ln 3 and ln 1 of temperature 1: 3/4 and 1/4; 2 ln 4 and 0 of temperature 2: 4/5 and 1/5.
    scores = np.log(np.asarray([[[3, 1]], [[16, 1]]], np.float32))
    combined = RULES["mean"].combine(scores, (1.0, 2.0))
    assert combined.dtype == np.float32
    np.testing.assert_allclose(np.exp(combined), [[(3 / 4 + 4 / 5) / 2, (1 / 4 + 1 / 5) / 2]], 1e-6)


def test_the_mean_of_policies_is_finite_for_any_finite_scores() -> None:
    most = np.finfo(np.float32).max
    scores = np.asarray([[[most, -most, 0]], [[0, -most, most]]], np.float32)
    combined = RULES["mean"].combine(scores, (0.01, 0.01))
    assert np.isfinite(combined).all()
    np.testing.assert_allclose(np.exp(combined), [[0.5, 0, 0.5]])


def test_the_mean_of_values_is_taken_action_by_action() -> None:
    most = np.finfo(np.float32).max
    assert RULES["values"].combine(SCORES, ()).tolist() == [[1, 1], [3, 2]]
    assert RULES["values"].combine(np.full((2, 1, 1), most, np.float32), ()).tolist() == [[most]]


def test_the_member_with_the_highest_value_answers_for_each_state() -> None:
    # Of the first state the best values are 4 and 2, of the second 1 and 5.
    assert RULES["highest"].combine(SCORES, ()).tolist() == [[0, 4], [5, 3]]
    # Of equal ones the first.
    equal = np.asarray([[[0, 2]], [[2, 1]]], np.float32)
    assert RULES["highest"].combine(equal, ()).tolist() == [[0, 2]]


@pytest.mark.parametrize(
    ("reference", "members", "temperature"),
    [
        ("ensemble:mean:Pong/a,Pong/b", ("Pong/a", "Pong/b"), 0.1),
        ("ensemble:mean@0.02:a,b,c", ("a", "b", "c"), 0.02),
        ("ensemble:highest:my_package:make,/a/b.onnx", ("my_package:make", "/a/b.onnx"), 0.1),
        ("ensemble:values:https://h:1/a.zip,./x", ("https://h:1/a.zip", "./x"), 0.1),
    ],
)
def test_an_ensemble_is_named_in_one_line(
    reference: str, members: tuple[str, ...], temperature: float
) -> None:
    ensemble = parse_ensemble(reference)
    assert ensemble is not None
    assert (ensemble.members, ensemble.temperature) == (members, temperature)
    assert str(ensemble) == reference
    assert parse_ensemble(str(ensemble)) == ensemble


@pytest.mark.parametrize(
    "reference", ["Pong/a", "ensemble", "ensemble:make_teacher", "./ensemble:"]
)
def test_other_references_are_none(reference: str) -> None:
    assert parse_ensemble(reference) is None


@pytest.mark.parametrize(
    ("reference", "message"),
    [
        ("ensemble:median:a,b", "'median' is not a rule of an ensemble; use mean, values, highest"),
        ("ensemble:a,b", "names no rule, of mean, values, highest; write ensemble:RULE:A,B"),
        ("ensemble:mean:a", r"has 2 to 16 teachers, not \['a'\]; write ensemble:RULE"),
        ("ensemble:mean:a,", r"has 2 to 16 teachers, not \['a', ''\]"),
        ("ensemble:mean:" + ",".join("a" * 17), "has 2 to 16 teachers"),
        ("ensemble:mean:a,ensemble:mean:b,c", "ensemble:mean:b in an ensemble is one, too; name"),
        ("ensemble:mean@warm:a,b", "mean@warm: 'warm' is not a temperature; write e.g. mean@0.1"),
        ("ensemble:mean@0:a,b", "temperature of an ensemble is 0.0; use a number above 0"),
        ("ensemble:mean@nan:a,b", "temperature of an ensemble is nan; use a number above 0"),
        ("ensemble:values@0.1:a,b", "values@0.1: values softens nothing; leave out @0.1"),
    ],
)
def test_what_is_no_ensemble_says_how_to_write_one(reference: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        parse_ensemble(reference)


def test_every_rule_is_one() -> None:
    for rule in RULES:
        assert Ensemble(rule=rule, members=("a", "b")).rule == rule

"""Several policies that answer as one: their card, and which do not go together."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest

from rrl_agents.checkpoints.ensemble_card import ensemble_card
from rrl_agents.checkpoints.lineage import family, line_cost
from rrl_agents.checkpoints.teacher_card import PlayProtocol, TeacherCard
from rrl_agents.ensembles import RULES, Ensemble
from rrl_agents.environments import catch
from services.library.teacher_references import import_reference
from services.shared.errors import UserError
from services.teacher.policies.loading import load_card, load_policy
from services.teacher.reloading import fingerprint

# Its score of each of two actions is a constant.
PACKAGE = """
import numpy as np

class A:
    name, game, version = "a", "counting", "1"
    num_actions, observation_shape, observation_dtype = 2, (3,), "float32"
    output, temperature = "q_values", None
    scores = 1.0, 0.0

    def evaluate(self, observations):
        return np.tile(np.asarray(self.scores, np.float32), (len(observations), 1))

class B(A):
    name, scores = "b", (0.0, 3.0)

class Policy(A):
    name, output, temperature, scores = "policy", "logits", 2.0, (2.0, 0.0)

class Unknown(A):
    name, game = "unknown", "unknown"

class OtherGame(A):
    name, game = "other game", "chess"

class Wide(A):
    name, num_actions, scores = "wide", 3, (0.0, 0.0, 0.0)

class Long(A):
    name, observation_shape = "long", (4,)

class Bytes(A):
    name, observation_dtype = "bytes", "uint8"
"""
STATES = np.zeros((2, 3), np.float32)


@pytest.fixture(autouse=True)
def _package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "ensemble_members.py").write_text(PACKAGE)
    monkeypatch.syspath_prepend(tmp_path)


def of(rule: str, *members: str) -> str:
    return f"ensemble:{rule}:" + ",".join(f"ensemble_members:{member}" for member in members)


def test_action_values_are_softened_and_logits_have_their_own_temperature() -> None:
    policy = load_policy(of("mean@0.5", "A", "Policy"))
    # Both softened are 2 and 0, or 1 and 0.
    first = np.exp([[2, 0], [1, 0]]) / np.exp([[2, 0], [1, 0]]).sum(axis=1, keepdims=True)
    np.testing.assert_allclose(
        np.exp(policy.evaluate(STATES)), np.tile(first.mean(axis=0), (2, 1)), rtol=1e-6
    )
    spec = policy.info.spec
    assert (spec.output, spec.temperature, spec.num_actions) == ("logits", 1.0, 2)


def test_values_stay_values() -> None:
    assert load_policy(of("values", "A", "B")).evaluate(STATES).tolist() == [[0.5, 1.5]] * 2
    policy = load_policy(of("highest", "A", "B"))
    assert policy.evaluate(STATES).tolist() == [[0, 3]] * 2
    assert (policy.info.spec.output, policy.info.spec.temperature) == ("q_values", None)
    assert (policy.backend, policy.max_concurrency) == ("python", 1)


def test_its_card_has_its_members_as_parents_and_costs_nothing_more() -> None:
    card = load_card(of("highest", "Unknown", "B"))
    assert (card.name, card.game, card.algorithm) == (
        "highest of unknown, b",
        "counting",
        "ensemble",
    )
    assert [(parent.relations, parent.card.name) for parent in card.parents] == [
        (("member",), "unknown"),
        (("member",), "b"),
    ]
    assert TeacherCard.from_json(card.to_json()) == card
    assert {member.card.name for member in family(card)} == {"unknown", "b", card.name}
    # What its members cost is not known; itself it is not a third.
    assert line_cost(family(card))["gradient_updates"].unknown == 2
    assert load_policy(of("highest", "Unknown", "B")).info.version == card.parameters_sha256[:16]


def test_its_card_keeps_the_actions_and_the_rules_of_play_that_its_members_share() -> None:
    ensemble = Ensemble(rule="mean", members=("a", "b"))
    rules = PlayProtocol(frames_per_step=1, stack_size=1, max_episode_steps=9, sticky_actions=0.0)
    silent = load_card("ensemble_members:A")
    named = dataclasses.replace(silent, action_meanings=("LEFT", "RIGHT"), protocol=rules)
    assert ensemble_card(ensemble, [named, named]).protocol == rules
    mixed = ensemble_card(ensemble, [silent, named])
    assert (mixed.action_meanings, mixed.protocol) == (("LEFT", "RIGHT"), None)
    turned = dataclasses.replace(named, action_meanings=("RIGHT", "LEFT"))
    with pytest.raises(ValueError, match="has the actions 'RIGHT', 'LEFT'"):
        ensemble_card(ensemble, [named, turned])


def test_its_version_is_another_with_another_rule_member_order_or_temperature() -> None:
    references = [
        *(of("mean", "A", "B"), of("values", "A", "B"), of("mean", "A", "Unknown")),
        *(of("highest", "A", "B"), of("highest", "B", "A"), of("mean@0.2", "A", "B")),
    ]
    assert len({load_card(reference).parameters_sha256 for reference in references}) == 6


@pytest.mark.parametrize(
    ("reference", "message"),
    [
        (of("mean", "A", "Wide"), "the teacher wide has 3 actions, a has 2"),
        (of("mean", "A", "Long"), r"long takes observations float32 \(4,\), a has float32 \(3,\)"),
        (of("mean", "A", "Bytes"), r"bytes takes observations uint8 \(3,\), a has float32"),
        (of("mean", "Unknown", "A", "OtherGame"), "other game plays chess, another one counting"),
        (of("values", "A", "Policy"), "policy gives logits, and values is of action values: use m"),
        (of("highest", "Policy", "A"), "policy gives logits, and highest is of action values"),
        (of("mean", "A", "Missing"), "the module ensemble_members has no 'Missing'"),
        ("ensemble:median:pong_dqn,pong_dqn", "'median' is not a rule of an ensemble"),
        ("ensemble:mean:pong_dqn,./nowhere", "no teacher './nowhere'"),
    ],
)
def test_what_does_not_go_together_is_an_error_for_the_user(reference: str, message: str) -> None:
    for load in (load_card, load_policy):
        with pytest.raises(UserError, match=message):
            load(reference)


def test_an_ensemble_is_not_imported() -> None:
    with pytest.raises(UserError, match="has no files: import its teachers, and name them in it"):
        import_reference(of("mean", "A", "B"))


def test_its_files_are_its_members() -> None:
    assert fingerprint("ensemble:mean:pong_dqn,nowhere/nothing") == fingerprint("pong_dqn")
    assert fingerprint("pong_dqn")


@pytest.mark.parametrize(
    ("reference", "mean_return"),
    [
        ("half_teachers:make_left", 0.2),
        ("half_teachers:make_right", 0.2),
        *(
            (f"ensemble:{rule}:half_teachers:make_left,half_teachers:make_right", 1.0)
            for rule in RULES
        ),
    ],
)
def test_two_teachers_of_half_a_game_play_all_of_it(
    monkeypatch: pytest.MonkeyPatch, reference: str, mean_return: float
) -> None:
    monkeypatch.syspath_prepend(Path(__file__).parents[4] / "examples")
    policy = load_policy(reference)
    # Three of five balls caught are 3/5 - 2/5.
    returns = []
    for column in range(catch.COLUMNS):
        game = catch.Catch(balls=1)
        monkeypatch.setattr(game, "_column", lambda column=column: column)
        frame, _ = game.reset(seed=0)
        has_ended = False
        while not has_ended:
            action = policy.evaluate(frame[None, ..., None])[0].argmax()
            frame, reward, has_ended, *_ = game.step(action)
        returns.append(reward)
    assert np.mean(returns) == pytest.approx(mean_return)

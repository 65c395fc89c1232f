"""The methods beside what the released code of Agarwal et al., 2022, does when it is run.

`tests/oracles/record_released_methods.py` has run it; where we differ on purpose, a test says so,
and docs/methods.md lists it under "Differences from the released code".
"""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from rrl_agents.behaviour.guide import GuideTurns
from rrl_agents.networks.config import NetworkConfig
from rrl_agents.reincarnation.jsrl import JsrlConfig
from rrl_agents.reincarnation.qdagger import DaggerConfig, QlDaggerConfig
from rrl_agents.reincarnation.recipe import Recipe
from rrl_agents.reincarnation.registry import make_recipe
from rrl_agents.students.config import StudentConfig
from rrl_agents.types import Progress, Stage
from services.launcher.presets import PAPER_PRESETS

RELEASED: dict[str, Any] = json.loads(
    (Path(__file__).parents[1] / "oracles" / "released_methods.json").read_text()
)
# Scores are normalised: 0 is the random policy, 1 the teacher.
DQN = (NetworkConfig(), StudentConfig())
ONLINE = Progress(random_return=0.0, teacher_return=1.0, stage=Stage.ONLINE)


def _preset(name: str) -> Recipe:
    return make_recipe(PAPER_PRESETS[name].config.method)


@pytest.mark.parametrize("name", sorted(RELEASED["epsilon"]))
def test_epsilon_is_the_released_codes_at_every_online_step(name: str) -> None:
    recorded = RELEASED["epsilon"][name]
    recipe = _preset("qdagger_rainbow" if name == "noisy_rainbow" else name)
    epsilon = recipe.exploration(noisy=name == "noisy_rainbow")
    found = [epsilon(steps) for steps in recorded["online_steps"]]
    assert found == pytest.approx(recorded["epsilon"], abs=1e-6)


def _weaned(recipe: Recipe, rows: list[list[Any]]) -> list[tuple[float, float]]:
    """Lambda and learning rate after each evaluation of a run with these scores."""
    progress, found = ONLINE, []
    for online_steps, score, *_ in rows:
        progress = dataclasses.replace(progress, actor_steps=online_steps, online_return=score)
        progress = dataclasses.replace(progress, weaning_weight=recipe.weaning_weight(progress))
        found.append((progress.weaning_weight, recipe.learning_rate(progress)))
    return found


@pytest.mark.parametrize(
    ("recorded", "preset", "wean_steps"),
    [
        ("qdagger_dqn", "qdagger_dqn", 1_500_000),
        ("qdagger_dqn_that_matches", "qdagger_dqn", 1_500_000),
        ("qdagger_rainbow", "qdagger_rainbow", 2_500_000),
        ("dqfd_dqn", "dqfd_dqn", 1_500_000),
    ],
)
def test_lambda_and_learning_rate_are_the_released_codes_after_every_evaluation(
    recorded: str, preset: str, wean_steps: int
) -> None:
    rows = RELEASED["weaning"][recorded]["rows"]
    found = _weaned(_preset(preset), rows)
    for (online_steps, _, weight, rate), ours in zip(rows, found, strict=True):
        if online_steps == wean_steps:
            # The paper's 1{t < t0}; the released code's first 0 comes with the next evaluation.
            assert weight > 0.0 and ours[0] == 0.0
        elif weight > 1.0:
            # Below the random policy; ours is never above the offline stage's.
            assert ours == found[0]
        else:
            assert ours == pytest.approx((weight, rate))


@pytest.mark.parametrize(
    ("name", "recipe"),
    [("dagger", make_recipe(DaggerConfig())), ("ql_dagger", make_recipe(QlDaggerConfig()))],
)
def test_ablations_are_the_released_codes_which_are_never_weaned(name: str, recipe: Recipe) -> None:
    rows = RELEASED["weaning"][name]["rows"]
    expected = [(weight, pytest.approx(rate)) for _, _, weight, rate in rows]
    assert _weaned(recipe, rows) == expected
    assert recipe.term_weights(ONLINE, *DQN)["td"] == RELEASED["td_coefficient"][name]


def test_dqfds_margin_has_lambda_where_the_released_code_squares_it() -> None:
    recipe = _preset("dqfd_dqn")
    recorded = RELEASED["dqfd_factor"]
    for weight, factor in zip(recorded["lambda"], recorded["factor"], strict=True):
        progress = dataclasses.replace(ONLINE, weaning_weight=weight)
        assert factor == pytest.approx(weight**2, abs=1e-3)
        assert recipe.term_weights(progress, *DQN)["margin"] == weight


def test_jsrls_teacher_begins_with_one_to_k_steps() -> None:
    guide = make_recipe(JsrlConfig(roll_in_steps=3)).guide
    assert guide is not None
    random, first = np.random.default_rng(0), np.ones(300, bool)
    turns = GuideTurns(guide, 300)
    played = sum(turns.next(first if t == 0 else ~first, 0, random).astype(int) for t in range(5))
    lengths, episodes = np.unique(played, return_counts=True)
    recorded = RELEASED["jsrl"]["teachers_steps_at_K_3"]
    assert {str(length) for length in lengths} == recorded.keys()
    # Uniform: 100 of 300 each, standard deviation sqrt(300 x 1/3 x 2/3) = 8.
    for counts in (episodes, list(recorded.values())):
        assert counts == pytest.approx(np.full(3, 100), abs=4 * 8)


def test_jsrls_roll_in_shrinks_as_the_released_codes() -> None:
    recipe = _preset("jsrl_dqn")
    assert recipe.guide is not None
    recorded = RELEASED["jsrl"]["K_per_iteration"]
    assert [recipe.guide.horizon(250_000 * i) for i in range(len(recorded))] == recorded
    # There its next episode fails; ours are the student's from the first step.
    assert recorded[-1] == 0 and RELEASED["jsrl"]["K_0"].startswith("ValueError")
    # Its file's iterations are shorter than the paper's, whose roll-in it switches off.
    file = RELEASED["files"]["jsrl_dqn"]
    assert (file["Runner.training_steps"], file["JSRLAgent.roll_in_guide"]) == (125_000, False)


def test_jsrls_mixture_falls_as_the_released_codes() -> None:
    recipe, recorded = _preset("jsrl_dqn"), RELEASED["jsrl"]["roll_out"]
    assert recipe.guide is not None
    found = [recipe.guide.share(steps) for steps in recorded["steps"]]
    assert found == pytest.approx(recorded["share"], abs=1e-6)


def test_pretraining_changes_rate_and_optimiser_as_the_released_code() -> None:
    recipe, recorded = _preset("pretrained_dqn"), RELEASED["pretrained_optimisers"]
    offline = dataclasses.replace(ONLINE, stage=Stage.OFFLINE)
    assert recipe.learning_rate(offline) == pytest.approx(recorded["offline_learning_rate"])
    assert recipe.fresh_optimiser_online == recorded["fresh_optimiser_online"]

"""What every method of the registry keeps, whatever its parts."""

from __future__ import annotations

import dataclasses
import functools
import io
import itertools
from collections.abc import Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from rrl_agents.networks.outputs import ValueOutputs
from rrl_agents.networks.registry import NetworkConfig, initial_params, make_network
from rrl_agents.reincarnation.jsrl import JsrlConfig
from rrl_agents.reincarnation.recipe import Recipe
from rrl_agents.reincarnation.registry import METHODS, make_recipe
from rrl_agents.reincarnation.terms import temporal_difference
from rrl_agents.students.config import StudentConfig
from rrl_agents.training.optimiser_config import OptimiserConfig
from rrl_agents.training.term import TermInputs
from rrl_agents.training.train_state import TrainState, initial_train_state
from rrl_agents.training.update_step import UpdateStep, make_update_step
from rrl_agents.types import Batch, Progress, Stage
from tests.support.batches import batch_of

MLP = NetworkConfig(name="mlp", features=(16,))
NETWORK = make_network(MLP, 3)
BEGINNING = Progress(random_return=-20.0, teacher_return=20.0)
KEY = jax.random.key(0)
DQN = StudentConfig()

# Ablations of the paper.
NEVER_WEANED = {"dagger", "ql_dagger"}

every_method = pytest.mark.parametrize("method", sorted(METHODS))


@functools.cache
def _recipe(method: str) -> Recipe:
    return make_recipe(METHODS[method].config_class())


@functools.cache
def _update_step(method: str) -> UpdateStep:
    """Compiled once for all tests of a method: compiling is what takes the time."""
    recipe = _recipe(method)
    return make_update_step(NETWORK, recipe.terms, recipe.q_learning.optimiser, DQN)


@functools.cache
def _plain_update_step() -> UpdateStep:
    # No method has another optimiser.
    return make_update_step(NETWORK, (temporal_difference(),), OptimiserConfig(), DQN)


def _state(recipe: Recipe) -> TrainState:
    params = initial_params(NETWORK, jax.random.key(0), (10, 5, 1))
    return initial_train_state(params, recipe.q_learning.optimiser)


def _batch(*, answered: float = 1.0) -> Batch:
    batch = batch_of((10, 5, 1), 3)
    return batch._replace(
        teacher_outputs=batch.teacher_outputs * answered, has_teacher=batch.has_teacher * answered
    )


def _states_of_a_run() -> Iterator[Progress]:
    for stage, online_return, actor_steps in itertools.product(
        Stage, (None, -30.0, 0.0, 30.0), (0, 10**5, 10**8)
    ):
        yield dataclasses.replace(
            BEGINNING, stage=stage, online_return=online_return, actor_steps=actor_steps
        )


def _run(
    recipe: Recipe,
    step: UpdateStep,
    state: TrainState,
    batch: Batch,
    progress: Progress = BEGINNING,
) -> TrainState:
    weights = recipe.term_weights(progress, MLP, DQN)
    return step(state, batch, weights, recipe.learning_rate(progress), 100, KEY)[0]


@every_method
def test_it_is_built_under_its_own_name(method: str) -> None:
    assert _recipe(method).name == method


@every_method
def test_schedules_stay_finite_and_in_range_over_a_whole_run(method: str) -> None:
    recipe = _recipe(method)
    for progress in _states_of_a_run():
        weaned = dataclasses.replace(progress, weaning_weight=recipe.weaning_weight(progress))
        assert 0.0 <= weaned.weaning_weight <= 1.0
        assert all(0.0 <= term.weight(weaned) <= 1.0 for term in recipe.terms)
        assert all(np.isfinite(weight) for weight in recipe.term_weights(weaned, MLP, DQN).values())
        assert 0.0 < recipe.learning_rate(weaned) < 1.0
        assert 0.0 <= recipe.exploration(noisy=False)(weaned.actor_steps) <= 1.0
        assert 0.0 <= recipe.teacher_share(weaned) <= 1.0


@pytest.mark.parametrize("method", sorted(METHODS.keys() - NEVER_WEANED))
def test_the_finished_student_needs_no_teacher(method: str) -> None:
    recipe = _recipe(method)
    progress = dataclasses.replace(
        BEGINNING, stage=Stage.ONLINE, actor_steps=10**8, online_return=0.0
    )
    weaned = dataclasses.replace(progress, weaning_weight=recipe.weaning_weight(progress))
    assert not recipe.needs_teacher(weaned)
    assert not recipe.teacher_acts(weaned.actor_steps)
    for term in recipe.terms:
        assert not term.needs_teacher or term.weight(weaned) == 0.0


@every_method
def test_the_teachers_data_is_there_wherever_it_is_learned_from(method: str) -> None:
    recipe = _recipe(method)
    learned_from = any(
        recipe.teacher_share(progress) > 0.0
        for progress in _states_of_a_run()
        if progress.stage is Stage.ONLINE
        or (progress.stage is Stage.OFFLINE and recipe.offline_updates > 0)
    )
    assert recipe.needs_teacher_data == learned_from


@every_method
def test_one_update_moves_every_parameter_group(method: str) -> None:
    recipe = _recipe(method)
    state = _state(recipe)
    before = jax.tree.map(np.array, state.params)
    after = _run(recipe, _update_step(method), state, _batch()).params
    moved = jax.tree.map(lambda a, b: bool((np.asarray(a) != b).any()), after, before)
    assert all(jax.tree.leaves(moved)), moved


@every_method
def test_a_changed_weight_compiles_nothing(method: str) -> None:
    recipe = _recipe(method)
    step: Any = _update_step(method)
    state = _state(recipe)
    for i in range(3):
        weights = {term.name: 1.0 / (i + 1) for term in recipe.terms}
        state, _ = step(state, _batch(), weights, 1e-4, 100, KEY)
    assert step._cache_size() == 1


@every_method
def test_online_without_any_answer_it_is_plain_q_learning(method: str) -> None:
    recipe = _recipe(method)
    batch = _batch(answered=0.0)
    online = dataclasses.replace(BEGINNING, stage=Stage.ONLINE)
    actual = _run(recipe, _update_step(method), _state(recipe), batch, online)
    assert recipe.q_learning.optimiser == OptimiserConfig()
    rate = recipe.learning_rate(online)
    # DAgger is the ablation that has no Q-learning term.
    td_weight = 0.0 if method == "dagger" else 1.0
    expected, _ = _plain_update_step()(_state(recipe), batch, {"td": td_weight}, rate, 100, KEY)
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-7),
        actual.params,
        expected.params,
    )


@every_method
def test_a_saved_and_loaded_state_gives_the_same_next_update(method: str) -> None:
    recipe = _recipe(method)
    step = _update_step(method)
    state = _run(recipe, step, _state(recipe), _batch())
    leaves, structure = jax.tree.flatten(state)
    file = io.BytesIO()
    np.savez(file, *leaves)
    file.seek(0)
    with np.load(file, allow_pickle=False) as saved:
        loaded = jax.tree.unflatten(structure, [saved[f"arr_{i}"] for i in range(len(leaves))])
    expected = _run(recipe, step, state, _batch())
    actual = _run(recipe, step, loaded, _batch())
    jax.tree.map(np.testing.assert_array_equal, actual, expected)


# For each field of a config another value than its default.
OTHER_VALUES: dict[str, Any] = {
    "loss": "best_action",
    "temperature": 0.5,
    "teacher_temperature": 0.5,
    "coefficient": 0.5,
    "margin": 0.5,
    "margin_form": "max",
    "margin_coefficient": 0.5,
    "roll_in_steps": 10,
    "roll_in_decay": 0.5,
    "iteration_steps": 1_000,
    "mixture_share": 0.5,
    "teacher_data_share": 0.5,
    "offline_learning_rate": 2e-4,
    "online_learning_rate": 2e-5,
    "offline_updates": 7,
    "wean_steps": 10,
    "taught_learning_rate": 2e-4,
    "weaned_learning_rate": 2e-5,
    "learning_rate": 2e-5,
    "n_step": 5,
    "discount": 0.5,
    "batch_size": 64,
    "update_period": 2,
    "target_update_steps": 400,
    "min_replay_size": 100,
    "initial_epsilon": 0.75,
    "final_epsilon": 0.5,
    "epsilon_decay_steps": 10,
}


@every_method
def test_every_setting_changes_the_recipe(method: str) -> None:
    config = METHODS[method].config_class()
    # Some methods start with the exploration they end with; its decay shows from elsewhere.
    exploring = dataclasses.replace(config.q_learning, initial_epsilon=0.9)
    config = dataclasses.replace(config, q_learning=exploring)
    default = _behaviour(make_recipe(config))
    for name, other in _changed(config):
        assert _behaviour(make_recipe(other)) != default, name


def test_the_share_of_jsrls_mixture_falls_over_its_steps() -> None:
    # Its default is 0, at which the length of its fall changes nothing.
    short, long = (
        make_recipe(JsrlConfig(mixture_share=0.5, mixture_steps=steps)) for steps in (100, 1_000)
    )
    assert _behaviour(short) != _behaviour(long)


def _changed(config: Any) -> Iterator[tuple[str, Any]]:
    """The config with one setting changed, for each of its settings, however deep they lie."""
    for field in dataclasses.fields(config):
        value = getattr(config, field.name)
        if field.name == "optimiser":
            changed = dataclasses.replace(value, epsilon=1e-8)
            yield field.name, dataclasses.replace(config, optimiser=changed)
        elif dataclasses.is_dataclass(value):
            for name, inner in _changed(value):
                yield f"{field.name}.{name}", dataclasses.replace(config, **{field.name: inner})
        elif field.name != "mixture_steps":
            other = OTHER_VALUES[field.name]
            assert other != value
            yield field.name, dataclasses.replace(config, **{field.name: other})


def _behaviour(recipe: Recipe) -> list[Any]:
    """What a recipe does, in numbers: schedules over a run, losses of one transition."""
    one = batch_of((10, 5, 1), 3, rows=1)._replace(
        action=jnp.int32([1]), teacher_outputs=jnp.float32([[0.5, 0.4, 0.3]])
    )
    values = ValueOutputs(q_values=jnp.float32([[0.1, 0.2, -0.2]]))
    row = TermInputs(one, values, values, jnp.float32([0.7]), KEY)
    weights = recipe.term_weights(BEGINNING, MLP, DQN)
    guide = recipe.guide
    seen: list[Any] = [
        [weights[term.name] * float(term.loss(row)[0]) for term in recipe.terms],
        recipe.offline_updates,
        recipe.q_learning.n_step,
        recipe.q_learning.discount,
        recipe.q_learning.batch_size,
        recipe.q_learning.update_period,
        recipe.q_learning.min_replay_size,
        recipe.q_learning.optimiser,
        [recipe.exploration(noisy=False)(steps) for steps in (0, 10, 10_000, 50_000, 10**6)],
        recipe.q_learning.target_update_period,
        [(guide.horizon(s), guide.share(s)) for s in (0, 500, 10**6)] if guide else None,
    ]
    for progress in _states_of_a_run():
        weaned = dataclasses.replace(progress, weaning_weight=recipe.weaning_weight(progress))
        rates = (recipe.learning_rate(weaned), recipe.teacher_share(weaned))
        seen.append((weaned.weaning_weight, *rates))
    return seen

"""Every student learns by every method: a few updates of each pair, on networks made small.

Many methods come to the same computation (tabula rasa, fine-tuning and JSRL differ in data and
behaviour): equal programs are compiled once. A compiled program cannot be compiled again, so that
it takes other weights, rates, periods and keys shows that these may change during a run.
"""

from __future__ import annotations

import dataclasses
import functools
from typing import Any

import jax
import numpy as np
import pytest

from rrl_agents.networks.registry import make_network
from rrl_agents.reincarnation.recipe import Recipe
from rrl_agents.reincarnation.registry import METHODS, make_recipe
from rrl_agents.students.registry import STUDENTS
from rrl_agents.training.train_state import TrainState, initial_train_state
from rrl_agents.training.update_block import BlockSchedule, filled, make_update_block
from rrl_agents.training.update_step import UpdateMetrics, make_update_step
from rrl_agents.types import Progress, Stage
from services.shared.compilations import compilations
from tests.support.small_students import ROWS, small_batch, small_student

ACTIONS = 3
OFFLINE = Progress(random_return=-20.0, teacher_return=20.0, stage=Stage.OFFLINE)
ONLINE = dataclasses.replace(OFFLINE, stage=Stage.ONLINE, weaning_weight=0.5)


FAST_COMPILATION = {
    "xla_backend_optimization_level": 0,
    "xla_cpu_parallel_codegen_split_count": 1,
}
"""A quarter of the time to compile, for programs that run a few times."""

PROGRAMS: dict[tuple[Any, ...], Any] = {}
"""Compiled updates by their text."""


def _arguments(student: str, recipe: Recipe, progress: Progress, seed: int) -> tuple[Any, ...]:
    """What an update takes beside the state."""
    network, learning, shape = small_student(student)
    factors = recipe.term_weights(progress, network, learning)
    weights = {name: np.float32(factor) for name, factor in factors.items()}
    rate = np.float32(recipe.learning_rate(progress))
    return small_batch(shape, seed), weights, rate, np.int32(2 + seed), jax.random.key(seed)


@functools.cache
def _initial_params(student: str) -> Any:
    """Parameters in the shapes of the network, drawn without compiling its initialisers."""
    network, _, shape = small_student(student)
    made = make_network(network, ACTIONS)
    tree = jax.eval_shape(made.init, jax.random.key(0), np.zeros((1, *shape), np.uint8))
    generator = np.random.default_rng(0)
    return jax.tree.map(lambda leaf: generator.normal(0, 0.2, leaf.shape).astype("f4"), tree)


def _compiled(student: str, recipe: Recipe, state: TrainState, arguments: tuple[Any, ...]) -> Any:
    network, learning, _ = small_student(student)
    made = make_network(network, ACTIONS)
    step: Any = make_update_step(made, recipe.terms, recipe.q_learning.optimiser, learning)
    lowered = step.lower(state, *arguments)
    name = (tuple(term.name for term in recipe.terms), lowered.as_text())
    if name not in PROGRAMS:
        PROGRAMS[name] = lowered.compile(compiler_options=FAST_COMPILATION)
    return PROGRAMS[name]


def _parameters_without_gradient(student: str, method: str) -> set[str]:
    """DAgger's loss compares policies, and a policy does not change with a dueling state value."""
    network = STUDENTS[student].network
    imitates_only = METHODS[method].config_class.__name__ == "DaggerConfig"
    return {"Dense_2"} if imitates_only and network.dueling else set()


def _pairs() -> list[Any]:
    """All; in the default run every student by one method, and two of them by every method."""
    return [
        pytest.param(
            student,
            method,
            marks=() if method == "qdagger" or student in ("dqn", "rainbow") else pytest.mark.slow,
        )
        for student in sorted(STUDENTS)
        for method in sorted(METHODS)
    ]


@pytest.mark.parametrize(("student", "method"), _pairs())
def test_a_student_learns_by_a_method(student: str, method: str) -> None:
    recipe = make_recipe(METHODS[method].config_class())
    before = _initial_params(student)
    state = initial_train_state(before, recipe.q_learning.optimiser)
    first = _arguments(student, recipe, OFFLINE, seed=0)
    update = _compiled(student, recipe, state, first)
    metrics: UpdateMetrics
    for arguments in (first, *(_arguments(student, recipe, ONLINE, seed) for seed in (1, 2))):
        state, metrics = update(state, *arguments)
        assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves((state, metrics)))
        assert metrics.priorities.shape == (ROWS,)
        assert (np.asarray(metrics.priorities) >= 0.0).all()
    assert int(state.learner_updates) == 3
    resting = _parameters_without_gradient(student, method)
    for layer, leaves in before["params"].items():
        moved = jax.tree.map(
            lambda a, b: bool((a != b).any()), leaves, state.params["params"][layer]
        )
        assert layer in resting or all(jax.tree.leaves(moved)), (layer, moved)


@pytest.mark.parametrize("student", sorted(STUDENTS))
def test_an_interrupted_run_goes_on_as_if_it_had_not_been(student: str) -> None:
    """Noise, shifts and quantile levels follow from the run's key and the count of updates."""
    recipe = make_recipe(METHODS["qdagger"].config_class())
    state = initial_train_state(_initial_params(student), recipe.q_learning.optimiser)
    arguments = _arguments(student, recipe, ONLINE, seed=0)
    update = _compiled(student, recipe, state, arguments)
    state, _ = update(state, *arguments)
    saved = jax.device_get(state)
    expected, _ = update(state, *arguments)
    resumed, _ = update(jax.tree.map(jax.numpy.asarray, saved), *arguments)
    jax.tree.map(np.testing.assert_array_equal, resumed, expected)


def _block_of_three(student: str, recipe: Recipe) -> tuple[list[Any], tuple[Any, ...]]:
    """The arguments of three updates, one by one and as a block; the second syncs the target.

    Those of the block are batches, schedule, target period and key.
    """
    single = [_arguments(student, recipe, ONLINE, seed) for seed in range(3)]
    batches, weights, rates, _, _ = zip(*single, strict=True)
    rates = tuple(rate * (1 + seed) for seed, rate in enumerate(rates))
    period, key = np.int32(2), jax.random.key(0)
    schedule = BlockSchedule(_stacked(weights), np.stack(rates))
    one_by_one = [
        (batch, weight, rate, period, key)
        for batch, weight, rate in zip(batches, weights, rates, strict=True)
    ]
    return one_by_one, (_stacked(batches), schedule, period, key)


def _stacked(trees: Any) -> Any:
    return jax.tree.map(lambda *rows: np.stack(rows), *trees)


@pytest.mark.parametrize("student", sorted(STUDENTS))
def test_a_scanned_block_gives_what_single_updates_give(student: str) -> None:
    recipe = make_recipe(METHODS["qdagger"].config_class())
    block = _block(student, recipe, "gpu")
    one_by_one, together = _block_of_three(student, recipe)
    start = initial_train_state(_initial_params(student), recipe.q_learning.optimiser)
    whole: Any = jax.jit(lambda state, batches, *rest: block(state, batches, rest[0], 3, *rest[1:]))
    compiled = whole.lower(start, *together).compile(compiler_options=FAST_COMPILATION)
    update = _compiled(student, recipe, start, one_by_one[0])
    _assert_same_results(compiled, together, update, one_by_one, student)


@pytest.mark.parametrize("platform", ["cpu", "gpu"])
@pytest.mark.parametrize("student", ["dqn", "rainbow"])
def test_a_block_that_ends_early_makes_its_updates_and_compiles_nothing_after_the_first(
    student: str, platform: str
) -> None:
    recipe = make_recipe(METHODS["qdagger"].config_class())
    block = _block(student, recipe, platform, may_end_early=True)
    one_by_one, (batches, schedule, period, key) = _block_of_three(student, recipe)
    state = initial_train_state(_initial_params(student), recipe.q_learning.optimiser)
    update = _compiled(student, recipe, state, one_by_one[0])
    block(state, batches, schedule, 3, period, key)
    before = compilations()
    for made in (1, 2):
        # Zeros as numbers of an action and as discounts are as good as others.
        some = filled(jax.tree.map(lambda rows, made=made: rows[:made], batches), 3)
        _assert_same_results(
            lambda state, made=made, some=some: block(state, some, schedule, made, period, key),
            (),
            update,
            one_by_one[:made],
            student,
        )
    assert compilations() == before


def _block(student: str, recipe: Recipe, platform: str, *, may_end_early: bool = False) -> Any:
    network, learning, _ = small_student(student)
    return make_update_block(
        make_network(network, ACTIONS),
        recipe.terms,
        recipe.q_learning.optimiser,
        learning,
        platform=platform,
        may_end_early=may_end_early,
    )


def _assert_same_results(
    block: Any, together: tuple[Any, ...], update: Any, one_by_one: list[Any], student: str
) -> None:
    """Parameters, target, moments, losses and priorities after some updates."""
    optimiser = make_recipe(METHODS["qdagger"].config_class()).q_learning.optimiser
    state = initial_train_state(_initial_params(student), optimiser)
    metrics = []
    for arguments in one_by_one:
        state, of_one = update(state, *arguments)
        metrics.append(of_one)
    actual = block(initial_train_state(_initial_params(student), optimiser), *together)
    actual_state, actual_metrics = jax.device_get(actual)
    made = jax.tree.map(lambda rows: rows[: len(one_by_one)], actual_metrics)
    jax.tree.map(
        functools.partial(np.testing.assert_allclose, rtol=2e-4, atol=2e-5),
        (actual_state, made),
        jax.device_get((state, _stacked(metrics))),
    )

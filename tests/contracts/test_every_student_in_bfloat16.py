"""Every student computes in bfloat16 where it is asked to: all layers but the last.

Forwards and back. Parameters, optimiser, outputs, targets and losses stay float32. The programs are
read as JAX traces them, each multiplication with the types of what it multiplies.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from typing import Any, get_args

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from rrl_agents.networks.config import ComputeType, NetworkConfig
from rrl_agents.networks.registry import action_values, initial_params, make_network
from rrl_agents.reincarnation.registry import METHODS, make_recipe
from rrl_agents.students.registry import STUDENTS
from rrl_agents.training.train_state import TrainState, initial_train_state
from rrl_agents.training.update_step import make_update_step
from rrl_agents.types import Batch, Params
from tests.support.batches import batch_of

ROWS, ACTIONS = 6, 3
IMAGES, VECTORS = (12, 12, 2), (4, 1)
FEATURES = {"nature_cnn": (4, 4, 8), "impala_cnn": (4, 8), "small_cnn": (4,), "mlp": (16,)}
# No other dimension has these sizes, so that they identify the last layer's products.
HIDDEN, ATOMS = 20, 7
RECIPE = make_recipe(METHODS["qdagger"].config_class())
RATE = np.float32(1e-3)
FAST_COMPILATION = {
    "xla_backend_optimization_level": 0,
    "xla_cpu_parallel_codegen_split_count": 1,
}


def _network(student: str) -> NetworkConfig:
    network = STUDENTS[student].network
    return dataclasses.replace(
        network,
        features=FEATURES[network.name],
        hidden_units=HIDDEN,
        num_atoms=ATOMS,
        quantile_embedding_dim=4,
    )


def _batch(student: str) -> Batch:
    is_vector = STUDENTS[student].network.name == "mlp"
    dtype = "float32" if is_vector else "uint8"
    return batch_of(VECTORS if is_vector else IMAGES, ACTIONS, rows=ROWS, dtype=dtype)


def _update(student: str, dtype: ComputeType) -> tuple[Any, TrainState, tuple[Any, ...]]:
    """An update, a state, and what else it takes."""
    learning = dataclasses.replace(STUDENTS[student].learning, quantile_samples=5)
    network = make_network(_network(student), ACTIONS, dtype=dtype)
    batch = _batch(student)
    params = initial_params(network, jax.random.key(0), batch.observation.shape[1:])
    optimiser = RECIPE.q_learning.optimiser
    weights = {term.name: np.float32(1.0) for term in RECIPE.terms}
    update = make_update_step(network, RECIPE.terms, optimiser, learning)
    arguments = (batch, weights, RATE, np.int32(2), jax.random.key(1))
    return update, initial_train_state(params, optimiser), arguments


def _products(program: Any) -> Iterator[tuple[set[Any], set[int]]]:
    """Types and sizes of what each convolution and matrix product of a program multiplies."""
    for equation in program.eqns:
        if equation.primitive.name in ("dot_general", "conv_general_dilated"):
            factors = [variable.aval for variable in equation.invars]
            dtypes = {factor.dtype for factor in factors}
            yield dtypes, {size for factor in factors for size in factor.shape}
        for inner in jax.core.jaxprs_in_params(equation.params):
            yield from _products(inner)


@pytest.mark.parametrize("student", sorted(STUDENTS))
def test_all_layers_but_the_last_multiply_bfloat16(student: str) -> None:
    update, state, arguments = _update(student, "bfloat16")
    products = [*_products(jax.make_jaxpr(update)(state, *arguments).jaxpr)]
    wide = [sizes for dtypes, sizes in products if dtypes != {jnp.dtype("bfloat16")}]
    config = _network(student)
    last = {ACTIONS * config.atoms_per_action, *([config.atoms_per_action] * config.dueling)}
    # The last layer's, and the projection of a categorical target on its atoms.
    assert all(sizes & {*last, ATOMS} for sizes in wide), wide
    # Of one layer at least: online, target, and the gradient of its weights.
    assert len(products) - len(wide) >= 3


def _students() -> list[Any]:
    """All; in the default run those that share no layer or loss."""
    default = ("qr_dqn", "rainbow_impala", "vector_dqn")
    return [
        pytest.param(name, marks=() if name in default else pytest.mark.slow)
        for name in sorted(STUDENTS)
    ]


@pytest.mark.parametrize("student", _students())
def test_a_bfloat16_update_is_nearly_that_of_float32(student: str) -> None:
    results = {}
    for dtype in get_args(ComputeType):
        update, state, arguments = _update(student, dtype)
        compiled = update.lower(state, *arguments).compile(compiler_options=FAST_COMPILATION)
        results[dtype] = compiled(state, *arguments)
    state, metrics = results["bfloat16"]
    assert {leaf.dtype for leaf in jax.tree.leaves(state)} <= {jnp.dtype("f4"), jnp.dtype("i4")}
    assert {leaf.dtype for leaf in jax.tree.leaves(metrics)} == {jnp.dtype("f4")}
    expected, of_float32 = results["float32"]
    # bfloat16 has 8 significant bits: each product may be off by 0.4 %.
    np.testing.assert_allclose(metrics.loss, of_float32.loss, rtol=0.004)
    np.testing.assert_allclose(metrics.priorities, of_float32.priorities, rtol=0.02, atol=0.02)
    _assert_point_the_same_way(state.opt_state.mu, expected.opt_state.mu)


def _assert_point_the_same_way(ours: Params, theirs: Params) -> None:
    """Gradients, each as one vector."""
    a, b = (np.concatenate([np.ravel(leaf) for leaf in jax.tree.leaves(t)]) for t in (ours, theirs))
    assert a @ b / np.linalg.norm(a) / np.linalg.norm(b) > 0.97


@pytest.mark.parametrize("dtype", ["float32", None])
def test_float32_stays_what_it_is(dtype: ComputeType | None) -> None:
    states = _batch("rainbow").observation
    plain, asked = (make_network(_network("rainbow"), ACTIONS, dtype=one) for one in (None, dtype))
    params = initial_params(plain, jax.random.key(0), states.shape[1:])
    np.testing.assert_array_equal(
        action_values(plain, params, states), action_values(asked, params, states)
    )

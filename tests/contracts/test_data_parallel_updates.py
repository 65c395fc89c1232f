"""Two devices that share the rows of each batch give what one device gives.

A process of its own has two virtual devices: JAX counts those of a CPU once, at its start.
"""

from __future__ import annotations

import os
import pickle
import subprocess
import sys

import jax
import numpy as np
import pytest

from tests.support.patience import PATIENCE_SECONDS
from tests.support.small_students import small_batch, small_student

PROGRAM = """
import functools, pickle, sys
import jax, numpy as np
from rrl_agents.networks.registry import initial_params, make_network
from rrl_agents.reincarnation.registry import METHODS, make_recipe
from rrl_agents.training.devices import choose_devices
from rrl_agents.training.train_state import initial_train_state
from rrl_agents.training.update_block import BlockSchedule, make_update_block

network, learning, batches, platform, updates = pickle.load(sys.stdin.buffer)
recipe = make_recipe(METHODS["qdagger"].config_class())
made = make_network(network, 3)
shape = batches.observation.shape[2:]
params = jax.device_get(initial_params(made, jax.random.key(0), shape))
ones = np.ones(3, np.float32)
schedule = BlockSchedule({term.name: ones for term in recipe.terms}, 1e-3 * ones)


def results(devices):
    devices = choose_devices(devices)
    block = make_update_block(
        made, recipe.terms, recipe.q_learning.optimiser, learning, devices=devices,
        platform=platform,
    )
    state = devices.place_state(initial_train_state(params, recipe.q_learning.optimiser))
    placed = jax.device_put(batches, devices.batches)
    state, metrics = block(state, placed, schedule, updates, np.int32(2), jax.random.key(1))
    return placed, state, jax.tree.map(lambda rows: np.asarray(rows)[:updates], metrics)


placed, state, metrics = results(2)
# Three of six rows on each device, and all parameters on both.
assert {shard.data.shape[:2] for shard in placed.observation.addressable_shards} == {(3, 3)}
assert len(placed.observation.addressable_shards) == 2
for leaf in jax.tree.leaves(state):
    assert leaf.sharding.is_fully_replicated and len(leaf.sharding.device_set) == 2, leaf.sharding
_, expected, of_one = results(1)
jax.tree.map(
    functools.partial(np.testing.assert_allclose, rtol=2e-4, atol=2e-5),
    jax.device_get((state, metrics)),
    jax.device_get((expected, of_one)),
)
try:
    choose_devices(3)
except ValueError as error:
    assert "learner.devices is 3, but JAX finds 2" in str(error), error
else:
    raise AssertionError("there are but two")
print("equal")
"""


@pytest.mark.parametrize(
    ("student", "platform", "updates"),
    [
        ("rainbow", "cpu", 3),
        ("dqn", "cpu", 2),
        ("minatar_dqn", "gpu", 3),
        *(
            pytest.param(student, "cpu", 3, marks=pytest.mark.slow)
            for student in ("drq", "iqn", "noisy_dqn", "qr_dqn", "rainbow_impala", "vector_dqn")
        ),
    ],
)
def test_two_devices_give_what_one_gives(student: str, platform: str, updates: int) -> None:
    network, learning, shape = small_student(student)
    batches = jax.tree.map(
        lambda *rows: np.stack(rows), *(small_batch(shape, seed) for seed in range(3))
    )
    flags = "--xla_force_host_platform_device_count=2 --xla_backend_optimization_level=0"
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM],
        input=pickle.dumps((network, learning, batches, platform, updates)),
        env=os.environ | {"XLA_FLAGS": flags, "JAX_PLATFORMS": "cpu"},
        capture_output=True,
        timeout=PATIENCE_SECONDS,
    )
    assert done.returncode == 0, done.stderr.decode()
    assert done.stdout.decode().strip() == "equal"

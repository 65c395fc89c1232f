"""Exports a student as a teacher's directory: atomically, and never over another.

    DIR/params.safetensors, card.json, README.md   for `rrl teacher serve`
    DIR/model.onnx                                 on request
    DIR/dopamine/                                  on request: for Dopamine's JaxDQNAgent

Each form is read back, or evaluated, before the directory gets its name.
"""

from __future__ import annotations

import contextlib
import os
import shutil
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import onnx
from numpy.typing import NDArray

from rrl_agents.checkpoints.dopamine_agents.export import TrainingState, write_dopamine_agent
from rrl_agents.checkpoints.import_dopamine import import_dopamine_agent
from rrl_agents.checkpoints.onnx_export import INPUT_NAME, OUTPUT_NAME, export_onnx
from rrl_agents.checkpoints.onnx_policy_file import open_session
from rrl_agents.checkpoints.params_codec import params_to_bytes
from rrl_agents.checkpoints.teacher_card import Teacher
from rrl_agents.checkpoints.teacher_directory import load_teacher_directory, save_teacher
from rrl_agents.durable_files import rename_whole
from rrl_agents.environments.registry import EnvironmentConfig, make_environment
from rrl_agents.networks.registry import action_values, make_network
from rrl_agents.types import Params
from services.shared.errors import UserError

ONNX_FILE = "model.onnx"
DOPAMINE_FOLDER = "dopamine"

TOLERANCE = 1e-4
"""Largest difference between values, relative to the largest value or to 1. Sums of some thousand
float32 products in another order differ by about 1e-6 of their terms."""


_ENVIRONMENTS = 8
_STEPS_BETWEEN = 4


def export_teacher(
    directory: Path,
    teacher: Teacher,
    *,
    onnx_states: NDArray[Any] | None = None,
    dopamine: TrainingState | None = None,
) -> None:
    """Write a teacher's directory.

    Args:
        directory: The directory; must not exist. Its parents are created.
        teacher: The teacher.
        onnx_states: [N, *observation_shape], real states, to also write an ONNX model, which must
            give the teacher's values there; None for no ONNX model.
        dopamine: State to also write a Dopamine checkpoint, from which Dopamine can continue
            training; None for none.

    Raises:
        UserError: The directory exists or cannot be written, or a form does not support this
            teacher; nothing is left behind.
    """
    refuse_taken(directory)
    unfinished = directory.with_name(f".{directory.name}.{os.getpid()}.tmp")
    try:
        unfinished.mkdir(parents=True)
        save_teacher(unfinished, teacher.params, teacher.card)
        _check_equal(load_teacher_directory(unfinished).params, teacher, "safetensors")
        if onnx_states is not None:
            model = onnx_model(teacher)
            check_same_values(model, teacher, onnx_states)
            (unfinished / ONNX_FILE).write_bytes(model)
        if dopamine is not None:
            agent = unfinished / DOPAMINE_FOLDER
            write_dopamine_agent(agent, teacher, dopamine)
            _check_equal(import_dopamine_agent(agent).params, teacher, "the Dopamine checkpoint")
        # Another process may have created it since; only an empty directory would be replaced.
        refuse_taken(directory)
        rename_whole(unfinished, directory)
    except (ValueError, OSError) as error:
        raise UserError(f"{directory} is not written: {error}") from error
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)


def refuse_taken(directory: Path) -> None:
    """Refuse an existing directory.

    Raises:
        UserError: it exists.
    """
    if directory.exists() or directory.is_symlink():
        raise UserError(
            f"{directory} exists already, and nothing is overwritten: give another --name, or "
            "another --out"
        )


def _check_equal(written: Params, teacher: Teacher, form: str) -> None:
    if params_to_bytes(written) != params_to_bytes(teacher.params):
        raise ValueError(f"{form} was read back with other parameters; this is a fault of the disk")


def onnx_model(teacher: Teacher) -> bytes:
    """Write a teacher's network as an ONNX model that names its game and itself.

    Args:
        teacher: The teacher.

    Returns:
        The encoded model, with the metadata "rrl.game", "rrl.name" and "rrl.output".

    Raises:
        ValueError: ONNX cannot hold this network.
    """
    card = teacher.card
    if card.network is None:
        raise ValueError(f"{card.name!r} has no network of ours to export to ONNX")
    model = onnx.load_model_from_string(export_onnx(card.network, teacher.params, card.spec))
    about = {"rrl.game": card.game, "rrl.name": card.name, "rrl.output": card.output}
    onnx.helper.set_model_props(model, about)
    return model.SerializeToString()


def check_same_values(model: bytes, teacher: Teacher, states: NDArray[Any]) -> None:
    """Compare a model's outputs with those of its network.

    Args:
        model: From `onnx_model`.
        teacher: The same teacher.
        states: [N, *observation_shape], real ones.

    Raises:
        ValueError: They differ by more than the order of additions can explain.
    """
    card = teacher.card
    assert card.network is not None, "the model was made from it"
    network = make_network(card.network, card.num_actions)
    answer = jax.jit(lambda params, batch: action_values(network, params, batch))
    expected = np.asarray(answer(teacher.params, jnp.asarray(states)))
    (found,) = open_session(model).run((OUTPUT_NAME,), {INPUT_NAME: states})
    # Written so that NaN fails, too.
    difference = float(np.abs(found - expected).max())
    if not difference <= TOLERANCE * max(1.0, float(np.abs(expected).max())):
        raise ValueError(
            f"the ONNX model of {card.name!r} answers up to {difference:g} differently from the "
            "network it was made from, and is not written; this is a fault of the export"
        )


def played_states(config: EnvironmentConfig, *, count: int = 64) -> NDArray[np.uint8]:
    """Play at random and sample some of the states.

    Args:
        config: The environment.
        count: Number of states, at least 1.

    Returns:
        uint8 [count, H, W, stack], the same for the same arguments.
    """
    random = np.random.default_rng(0)
    kept: list[NDArray[np.uint8]] = []
    with contextlib.closing(make_environment(config, _ENVIRONMENTS)) as environment:
        kept.append(environment.reset(seed=0))
        while len(kept) * _ENVIRONMENTS < count:
            for _ in range(_STEPS_BETWEEN):
                actions = random.integers(environment.spec.num_actions, size=_ENVIRONMENTS)
                step = environment.step(actions)
            kept.append(step.observation)
    return np.concatenate(kept)[:count]

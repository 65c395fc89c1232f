"""A teacher of any kind, put on what computes it."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from rrl_agents.checkpoints.teacher_card import Teacher
from services.teacher.backends.choice import check_has_onnx, choose_policy
from services.teacher.backends.entry_point import card_of_policy, make_policy
from services.teacher.backends.python_policy import PythonPolicy
from services.teacher.backends.scores import WrongScores
from services.teacher.cards import as_told, load_network, refuse_number
from services.teacher.config import ModelConfig
from services.teacher.kinds import Kind, kind_of
from services.teacher.policy import Policy

_TRIED_ROWS = (1, 3)


def policy_of(
    model: ModelConfig, *, backend: str, dtype: str, largest_batch: int, callers: int | None
) -> Policy:
    """Load a teacher.

    Args:
        model: Which one, by its path or entry point: names of the catalogue are looked up before.
        backend: For our networks, as in `choice.choose_policy`.
        dtype: For our networks, as in `choice.choose_policy`.
        largest_batch: Rows of the largest batch to expect.
        callers: Calls side by side that ONNX Runtime is set up for.

    Raises:
        ValueError: It is not there, damaged, or breaks its promises; says what to do.
        UserError: What it needs is not installed.
    """
    kind = kind_of(model.checkpoint)
    if kind is Kind.NETWORK:
        teacher = load_network(model)
        return choose_policy(
            Teacher(params=teacher.params, card=as_told(teacher.card, model)),
            backend=backend,
            dtype=dtype,
            largest_batch=largest_batch,
            callers=callers,
        )
    refuse_number(model)
    policy = _python_policy(model) if kind is Kind.PYTHON else _onnx_file_policy(model, callers)
    _try_out(policy, model.checkpoint)
    return policy


def _python_policy(model: ModelConfig) -> Policy:
    found = make_policy(model.checkpoint)
    card = card_of_policy(found, model.checkpoint, model)
    return PythonPolicy(found, as_told(card, model))


def _onnx_file_policy(model: ModelConfig, callers: int | None) -> Policy:
    check_has_onnx("an ONNX file")
    from services.teacher.backends.onnx_file import read_onnx_file
    from services.teacher.backends.onnx_file_policy import OnnxFilePolicy

    file = read_onnx_file(Path(model.checkpoint), model)
    return OnnxFilePolicy(file, callers=callers)


def _try_out(policy: Policy, checkpoint: str) -> None:
    """Ask once before anybody else does: a promise broken for zeros is broken for all.

    Raises:
        ValueError: It fails, or gives something else than promised.
    """
    info = policy.info
    for rows in _TRIED_ROWS:
        try:
            policy.evaluate(np.zeros((rows, *info.observation_shape), info.observation_dtype))
        except WrongScores as error:
            raise ValueError(f"{checkpoint}: {error}") from error
        except Exception as error:
            raise ValueError(
                f"{checkpoint}: it fails on {rows} observations of zeros "
                f"({type(error).__name__}: {error})"
            ) from error

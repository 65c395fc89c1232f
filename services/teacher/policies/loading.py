"""A teacher of any kind by the name a user gives it: its card, or its policy ready to answer.

The only file that tells the kinds apart.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from rrl_agents.checkpoints.load_teacher import load_teacher
from rrl_agents.checkpoints.teacher_card import Teacher, TeacherCard
from services.library.catalogue import locate
from services.shared.errors import user_errors
from services.teacher.config import DEFAULT_BUCKETS
from services.teacher.policies.backend_choice import check_has_onnx, choose_policy
from services.teacher.policies.entry_point import card_of_policy, make_policy
from services.teacher.policies.interface import Policy
from services.teacher.policies.kinds import Kind, kind_of
from services.teacher.policies.output_checks import InvalidPolicyOutput
from services.teacher.policies.python_policy import PythonPolicy
from services.teacher.policies.source import TeacherSource

if TYPE_CHECKING:
    from rrl_agents.checkpoints.onnx_files.policy_file import OnnxFile

_TRIED_ROWS = (1, 3)


def load_card(source: TeacherSource) -> TeacherCard:
    """Find out what a teacher is.

    A Python policy is made for that, by its factory; of an ONNX file only the graph is read.

    Args:
        source: Which teacher.

    Returns:
        Its card, with what the user says; of a teacher of logits always with a temperature.

    Raises:
        UserError: There is no such teacher, or it cannot be used; says what to do.
    """
    with user_errors((ValueError, OSError)):
        source, kind = _found(source)
        if kind is Kind.NETWORK:
            return _network(source).card
        if kind is Kind.PYTHON:
            return card_of_policy(make_policy(source.checkpoint), source)
        return _onnx_file(source).card


def load_policy(
    source: TeacherSource,
    *,
    backend: str = "auto",
    dtype: str = "float32",
    buckets: Iterable[int] = DEFAULT_BUCKETS,
    max_concurrency: int | None = None,
) -> Policy:
    """Load a policy.

    Args:
        source: Which teacher.
        backend: What computes our own networks: "jax", "onnx" or "auto", as in `choose_policy`.
            ONNX files and Python policies bring what computes them.
        dtype: What JAX computes in, "float32" or "bfloat16".
        buckets: Batch sizes it will be asked for, in rows; "auto" compares at the largest.
        max_concurrency: Calls side by side that ONNX Runtime is set up for; None for what gets the
            most done, 1 where there is only ever one: then all cores share each batch.

    Raises:
        UserError: There is no such teacher, it cannot be read or breaks its promises, or the
            backend is not to be had; says what to do.
    """
    with user_errors((ValueError, OSError)):
        source, kind = _found(source)
        if kind is Kind.NETWORK:
            return choose_policy(
                _network(source),
                backend=backend,
                dtype=dtype,
                largest_batch=max(buckets),
                max_concurrency=max_concurrency,
            )
        policy = (
            _python_policy(source)
            if kind is Kind.PYTHON
            else _onnx_file_policy(source, max_concurrency)
        )
        _try_out(policy, source.checkpoint)
        return policy


def _found(source: TeacherSource) -> tuple[TeacherSource, Kind]:
    """The same with its path or entry point, and its kind.

    Raises:
        ValueError: It has no numbered checkpoints, and a number is given.
        UserError: There is no teacher of that name.
    """
    source = dataclasses.replace(source, checkpoint=locate(source.checkpoint))
    kind = kind_of(source.checkpoint)
    if kind is not Kind.NETWORK and source.checkpoint_number is not None:
        raise ValueError(
            f"{source.checkpoint} has no numbered checkpoints; leave out the checkpoint number "
            f"{source.checkpoint_number}"
        )
    return source, kind


def _network(source: TeacherSource) -> Teacher:
    """One of our networks, or a Dopamine agent."""
    teacher = load_teacher(source.checkpoint, source.checkpoint_number, source.game, source.hints)
    spec = source.stated_scores.applied_to(teacher.card.spec)
    card = dataclasses.replace(teacher.card, output=spec.output, temperature=spec.temperature)
    return Teacher(params=teacher.params, card=card)


def _python_policy(source: TeacherSource) -> Policy:
    policy = make_policy(source.checkpoint)
    return PythonPolicy(policy, card_of_policy(policy, source))


def _onnx_file(source: TeacherSource) -> OnnxFile:
    check_has_onnx("an ONNX file")
    from rrl_agents.checkpoints.onnx_files.policy_file import read_onnx_file

    return read_onnx_file(Path(source.checkpoint), source.stated_scores, source.game)


def _onnx_file_policy(source: TeacherSource, max_concurrency: int | None) -> Policy:
    file = _onnx_file(source)
    from services.teacher.policies.onnx_policy import OnnxPolicy

    return OnnxPolicy(file, max_concurrency=max_concurrency)


def _try_out(policy: Policy, checkpoint: str) -> None:
    """Run once on zeros, to catch a wrong answer or a failure before anyone asks.

    Raises:
        ValueError: It fails, or gives something else than promised.
    """
    for rows in _TRIED_ROWS:
        try:
            policy.evaluate(policy.info.spec.zeros(rows))
        except InvalidPolicyOutput as error:
            raise ValueError(f"{checkpoint}: {error}") from error
        except Exception as error:
            raise ValueError(
                f"{checkpoint}: it fails on {rows} observations of zeros "
                f"({type(error).__name__}: {error})"
            ) from error

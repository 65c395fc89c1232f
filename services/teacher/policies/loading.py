"""Loads teachers of any kind by reference: the card, or the policy, ready to answer."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rrl_agents.checkpoints.ensemble_card import ensemble_card
from rrl_agents.checkpoints.params_codec import flatten_params
from rrl_agents.checkpoints.teacher_card import ONNX_POLICY_FILE, TeacherCard
from rrl_agents.checkpoints.teacher_directory import load_teacher_directory
from rrl_agents.ensembles import Ensemble
from services.library.teacher_references import EntryPoint, open_reference
from services.shared.errors import user_errors
from services.teacher.config import DEFAULT_BUCKETS
from services.teacher.policies.backend_choice import check_has_onnx, choose_policy
from services.teacher.policies.ensemble_policy import EnsemblePolicy
from services.teacher.policies.entry_point import card_of_policy, make_policy
from services.teacher.policies.interface import Policy
from services.teacher.policies.output_checks import InvalidPolicyOutput
from services.teacher.policies.python_policy import PythonPolicy

if TYPE_CHECKING:
    from rrl_agents.checkpoints.onnx_policy_file import OnnxFile

_TRIED_ROWS = (1, 3)


def load_card(reference: str) -> TeacherCard:
    """Load the card of a teacher.

    A Python policy is built by its factory for this; the files of all others are verified.

    Args:
        reference: The teacher, as for `services.library.teacher_references.open_reference`.

    Raises:
        UserError: There is no such teacher, or it cannot be used.
    """
    opened = open_reference(reference)
    with user_errors((ValueError, OSError)):
        if isinstance(opened, Ensemble):
            return ensemble_card(opened, [load_card(member) for member in opened.members])
        if not isinstance(opened, Path):
            return card_of_policy(make_policy(opened), opened)
        if _is_onnx(opened):
            return _onnx_model(opened).card
        return load_teacher_directory(opened).card


def count_parameters(opened: Path | EntryPoint | Ensemble) -> int | None:
    """The number of a teacher's parameters; None for a Python policy, whose parameters are unknown.

    None also for an ensemble with such a member.

    Raises:
        UserError: They cannot be read.
    """
    with user_errors((ValueError, OSError)):
        if isinstance(opened, Ensemble):
            counts = [count_parameters(open_reference(member)) for member in opened.members]
            return None if None in counts else sum(count or 0 for count in counts)
        if not isinstance(opened, Path):
            return None
        if _is_onnx(opened):
            return _onnx_model(opened).num_parameters
        flat = flatten_params(load_teacher_directory(opened).params)
        return sum(leaf.size for leaf in flat.values())


def load_policy(
    reference: str,
    *,
    backend: str = "auto",
    dtype: str = "float32",
    buckets: Iterable[int] = DEFAULT_BUCKETS,
    max_concurrency: int | None = None,
) -> Policy:
    """Load a policy.

    Args:
        reference: The teacher, as for `services.library.teacher_references.open_reference`.
        backend: Backend of our own networks: "jax", "onnx" or "auto", as in `choose_policy`. ONNX
            models and Python policies ignore it.
        dtype: Type JAX computes in, "float32" or "bfloat16".
        buckets: Batch sizes that will be used, in rows; "auto" compares at the largest.
        max_concurrency: Parallel calls that ONNX Runtime is set up for; None for the highest
            throughput; 1 if calls are never parallel, so that all cores share each batch.

    Raises:
        UserError: There is no such teacher, it cannot be read or gives invalid answers, or the
            backend is unavailable.
    """
    policy, _ = _policy_and_card(
        reference,
        backend=backend,
        dtype=dtype,
        largest_batch=max(buckets),
        max_concurrency=max_concurrency,
    )
    return policy


def _policy_and_card(reference: str, **settings: Any) -> tuple[Policy, TeacherCard]:
    """Load a policy and its card; settings as for `choose_policy`."""
    opened = open_reference(reference)
    with user_errors((ValueError, OSError)):
        if isinstance(opened, Ensemble):
            loaded = [_policy_and_card(member, **settings) for member in opened.members]
            card = ensemble_card(opened, [card for _, card in loaded])
            return EnsemblePolicy(opened, [policy for policy, _ in loaded], card), card
        if isinstance(opened, Path) and not _is_onnx(opened):
            teacher = load_teacher_directory(opened)
            return choose_policy(teacher, **settings), teacher.card
        policy: Policy
        if isinstance(opened, Path):
            policy, card = _onnx_policy(opened, settings["max_concurrency"])
        else:
            made = make_policy(opened)
            card = card_of_policy(made, opened)
            policy = PythonPolicy(made, card)
        _try_out(policy, reference)
        return policy, card


def _is_onnx(directory: Path) -> bool:
    return (directory / ONNX_POLICY_FILE).is_file()


def _onnx_model(directory: Path) -> OnnxFile:
    check_has_onnx("an ONNX model")
    from rrl_agents.checkpoints.onnx_policy_file import read_onnx_directory

    return read_onnx_directory(directory)


def _onnx_policy(directory: Path, max_concurrency: int | None) -> tuple[Policy, TeacherCard]:
    file = _onnx_model(directory)
    from services.teacher.policies.onnx_policy import OnnxPolicy

    return OnnxPolicy(file, max_concurrency=max_concurrency), file.card


def _try_out(policy: Policy, reference: str) -> None:
    """Run once on zeros, to catch failures and wrong shapes early.

    Raises:
        ValueError: It fails, or its answer does not match its description.
    """
    for rows in _TRIED_ROWS:
        try:
            policy.evaluate(policy.info.spec.zeros(rows))
        except InvalidPolicyOutput as error:
            raise ValueError(f"{reference}: {error}") from error
        except Exception as error:
            raise ValueError(
                f"{reference}: it fails on {rows} observations of zeros "
                f"({type(error).__name__}: {error})"
            ) from error

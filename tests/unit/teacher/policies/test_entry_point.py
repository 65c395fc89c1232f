"""Python policies of users' own packages: what they must be, and what is said when they are not."""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from rrl_agents.checkpoints.teacher_card import TeacherCard
from rrl_agents.teacher_policy_interface import ScoringPolicy
from services.shared.errors import UserError
from services.teacher.policies.entry_point import card_of_policy, make_policy
from services.teacher.policies.loading import load_card, load_policy
from services.teacher.policies.output_checks import InvalidPolicyOutput
from services.teacher.policies.python_policy import PythonPolicy

SOURCE = "package:make"


class Sums:
    """Scores of two actions: the sum of what is observed, and its negative."""

    name = "sums"
    game = "counting"
    num_actions = 2
    observation_shape = (3,)
    observation_dtype = "float32"
    output = "logits"
    temperature: Any = 0.5
    version = "1"

    def evaluate(self, observations: NDArray[Any]) -> NDArray[np.float32]:
        sums = observations.sum(axis=1)
        return np.stack([sums, -sums], axis=1)


def changed(**attributes: Any) -> Any:
    policy = Sums()
    for name, value in attributes.items():
        setattr(policy, name, value)
    return policy


def served(policy: ScoringPolicy) -> PythonPolicy:
    return PythonPolicy(policy, card_of_policy(policy, SOURCE))


def test_an_object_with_the_attributes_is_a_policy() -> None:
    policy: ScoringPolicy = Sums()
    card = card_of_policy(policy, SOURCE)
    assert (card.name, card.game, card.num_actions) == ("sums", "counting", 2)
    assert (card.observation_shape, card.observation_dtype) == ((3,), "float32")
    assert (card.output, card.temperature, card.network) == ("logits", 0.5, None)
    assert served(policy).evaluate(OBSERVATIONS).tolist() == [[6, -6], [1, -1]]


def test_the_hash_depends_on_entry_point_and_version_alone() -> None:
    hashes = {
        card_of_policy(policy, entry_point).parameters_sha256
        for policy, entry_point in (
            (changed(), "package:make"),
            (changed(version="2"), "package:make"),
            (changed(), "package:other"),
            (changed(name="another"), "package:make"),
        )
    }
    assert len(hashes) == 3


NAMES = (
    "name game num_actions observation_shape observation_dtype output temperature version evaluate"
)


@pytest.mark.parametrize("name", NAMES.split())
def test_a_missing_attribute_is_named(name: str) -> None:
    rest = {key: value for key, value in vars(Sums).items() if key in NAMES.split()}
    del rest[name]
    policy = type("Partial", (), rest)()
    with pytest.raises(ValueError, match=f"package:make: Partial has no attribute '{name}'"):
        card_of_policy(policy, SOURCE)


# What kinds are right, PolicySpec judges (tests/unit/teacher/test_client_spec).
@pytest.mark.parametrize(
    ("attributes", "reason"),
    [
        ({"name": 3}, "name is 3; it must be a string"),
        ({"game": ""}, "game is ''; it must be a string that is not empty"),
        ({"num_actions": "two"}, "num_actions is 'two'; it must be a whole number"),
        ({"num_actions": True}, "num_actions is True"),
        ({"num_actions": 10**9}, "num_actions is 1000000000; it must be at least 1 and at most"),
        ({"observation_shape": 3}, "observation_shape is 3; it must be a list, each a whole"),
        ({"observation_shape": (3.0,)}, r"observation_shape is \(3.0,\); it must be a list,"),
        ({"observation_dtype": "float64"}, "observation_dtype is 'float64'"),
        ({"observation_dtype": np.float32}, "observation_dtype is .*must be a string"),
        ({"temperature": "warm"}, "temperature is 'warm'; it must be a finite number"),
        ({"output": "q_values"}, "temperature is 0.5 for Q-values"),
        ({"version": 7}, "version is 7"),
        ({"evaluate": None}, "evaluate is None; it must be a method"),
    ],
)
def test_an_attribute_of_the_wrong_kind_is_named(attributes: dict[str, Any], reason: str) -> None:
    with pytest.raises(ValueError, match=f"package:make: {reason}"):
        card_of_policy(changed(**attributes), SOURCE)


def test_an_attribute_that_raises_is_named() -> None:
    class Broken(Sums):
        @property
        def num_actions(self) -> int:  # type: ignore[override]
            raise RuntimeError("not loaded yet")

    with pytest.raises(ValueError, match=r"'num_actions' failed \(RuntimeError: not loaded yet\)"):
        card_of_policy(Broken(), SOURCE)


def test_numbers_of_numpy_and_lists_are_taken() -> None:
    policy = changed(
        num_actions=np.int64(2), observation_shape=[np.int64(3)], temperature=np.float32(2)
    )
    card = card_of_policy(policy, SOURCE)
    assert (card.num_actions, card.observation_shape, card.temperature) == (2, (3,), 2.0)
    assert TeacherCard.from_json(card.to_json()) == card


OBSERVATIONS = np.asarray([[1, 2, 3], [0, 0, 1]], np.float32)


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        (lambda rows: np.zeros((rows, 3), np.float32), r"float32 \[2, 2\]; got float32 \[2, 3\]"),
        (lambda rows: np.zeros((1, 2), np.float32), r"got float32 \[1, 2\]"),
        (lambda rows: np.zeros(2, np.float32), r"got float32 \[2\]"),
        (lambda rows: np.zeros((rows, 2)), r"got float64 \[2, 2\]"),
        (lambda rows: [[0.0, 0.0]] * rows, "got builtins.list"),
        (lambda rows: None, "got builtins.NoneType"),
        (lambda rows: sys.exit(3), r"called sys.exit\(3\)"),
        (lambda rows: np.full((rows, 2), np.nan, np.float32), "finite; 4 are not"),
        (lambda rows: np.asarray([[0, -np.inf]] * rows, np.float32), "finite; 2 are not"),
    ],
)
def test_a_wrong_answer_is_an_error_and_never_an_answer(
    answer: Callable[[int], Any], reason: str
) -> None:
    policy = served(changed(evaluate=lambda observations: answer(len(observations))))
    with pytest.raises(InvalidPolicyOutput, match=reason):
        policy.evaluate(OBSERVATIONS)


def test_a_policy_may_keep_and_change_what_it_gets_and_what_it_gave() -> None:
    kept: list[NDArray[Any]] = []

    def evaluate(observations: NDArray[Any]) -> NDArray[Any]:
        kept.append(observations)
        observations += 1
        kept.append(observations[:, :2])
        return kept[-1]

    policy = served(changed(evaluate=evaluate))
    given = OBSERVATIONS.copy()
    scores = policy.evaluate(given)
    kept[0][:] = 99
    np.testing.assert_array_equal(given, OBSERVATIONS)
    assert scores.tolist() == [[2, 3], [1, 1]]


def test_only_one_thread_is_in_the_policy() -> None:
    inside: list[int] = []
    most: list[int] = []

    def evaluate(observations: NDArray[Any]) -> NDArray[Any]:
        inside.append(1)
        most.append(len(inside))
        threading.Event().wait(0.01)
        inside.pop()
        return np.zeros((len(observations), 2), np.float32)

    policy = served(changed(evaluate=evaluate))
    threads = [threading.Thread(target=policy.evaluate, args=(OBSERVATIONS,)) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert most == [1, 1, 1, 1]


MODULES = {
    "fails_to_import": "raise RuntimeError('no licence')",
    "ends_the_process": "import sys; sys.exit(4)",
    "needs_another": "import a_library_nobody_has",
    "holds_a_value": "make = 3",
    "factory_fails": "def make(): raise OSError('weights.zip is missing')",
    "factory_wants_arguments": "def make(path): return None",
    "makes_nothing": "def make(): return None",
}


@pytest.mark.parametrize(
    ("entry_point", "reason"),
    [
        ("fails_to_import:make", r"importing fails_to_import failed \(RuntimeError: no licence\)"),
        ("ends_the_process:make", r"importing ends_the_process failed \(SystemExit: 4\)"),
        ("needs_another:make", "needs a_library_nobody_has, which is not installed"),
        ("holds_a_value:make", "has a value, not a function, of the name 'make'"),
        ("holds_a_value:other", "has no 'other'"),
        ("factory_fails:make", r"factory failed \(OSError: weights.zip is missing\)"),
        ("factory_wants_arguments:make", r"factory failed \(TypeError: make\(\) missing 1"),
        ("makes_nothing:make", "NoneType has no attribute 'version'"),
        ("no_such_package.at_all:make", "no module 'no_such_package'; install your package"),
        ("makes_nothing.inner:make", "no module 'makes_nothing.inner'"),
    ],
)
def test_an_entry_point_that_leads_nowhere_is_refused_with_the_reason(
    entry_point: str, reason: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, text in MODULES.items():
        (tmp_path / f"{name}.py").write_text(text)
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(UserError, match=f"{entry_point}: .*{reason}"):
        load_card(entry_point)
    with pytest.raises(UserError, match=reason):
        load_policy(entry_point)


def test_a_package_in_the_current_directory_is_found_at_last(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "beside_me.py").write_text("def make(): return 'made'")
    (tmp_path / "sched.py").write_text("scheduler = None")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [entry for entry in sys.path if entry])
    assert make_policy("beside_me:make") == "made"  # type: ignore[comparison-overlap]
    # The standard library's scheduler, not the file of that name.
    assert type(make_policy("sched:scheduler")).__name__ == "scheduler"

"""What every kind of teacher keeps: the scores are those of the thing itself, asked directly."""

from __future__ import annotations

import dataclasses
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from rrl_agents.checkpoints.hints import Hints
from rrl_agents.checkpoints.params_codec import params_hash, params_to_bytes
from rrl_agents.checkpoints.teacher_card import TeacherCard
from rrl_agents.checkpoints.teacher_directory import save_teacher
from rrl_agents.networks.registry import NetworkConfig
from services.library.teacher_references import import_reference
from services.teacher.policies.interface import Policy
from services.teacher.policies.loading import load_card, load_policy

ACTIONS = 3
_ELEMENT_TYPES = {"uint8": TensorProto.UINT8, "float32": TensorProto.FLOAT}


@dataclasses.dataclass(frozen=True, kw_only=True)
class Case:
    """A teacher whose scores are `flattened observations @ weights + bias`."""

    reference: str
    weights: NDArray[np.float32]
    bias: NDArray[np.float32]
    shape: tuple[int, ...]
    dtype: str
    output: str
    temperature: float | None
    backend: str = "auto"

    def observations(self, rows: int) -> NDArray[Any]:
        random = np.random.default_rng(rows)
        if self.dtype == "uint8":
            return random.integers(0, 256, (rows, *self.shape), np.uint8)
        return random.normal(size=(rows, *self.shape)).astype(np.float32)

    def scores(self, observations: NDArray[Any]) -> NDArray[np.float32]:
        flat = observations.reshape(len(observations), -1).astype(np.float64)
        return (flat @ self.weights + self.bias).astype(np.float32)

    def load(self) -> Policy:
        return load_policy(self.reference, backend=self.backend, buckets=(1, 4))


def _linear(
    shape: tuple[int, ...], factor: float = 1
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    random = np.random.default_rng(7)
    inputs = int(np.prod(shape))
    return (
        random.normal(size=(inputs, ACTIONS), scale=factor / inputs).astype(np.float32),
        random.normal(size=ACTIONS, scale=factor).astype(np.float32),
    )


def _network(
    tmp_path: Path, backend: str, shape: tuple[int, ...], dtype: str, factor: float = 1
) -> Case:
    """A student's directory: an MLP without hidden layers, which divides pixels by 255."""
    weights, bias = _linear(shape, factor)
    params = {"params": {"Dense_0": {"kernel": weights, "bias": bias}}}
    card = TeacherCard(
        name="linear",
        game="catch",
        network=NetworkConfig(name="mlp", features=()),
        num_actions=ACTIONS,
        observation_shape=shape,
        observation_dtype=dtype,
        made="for a test",
        parameters_sha256=params_hash(params_to_bytes(params)),
    )
    save_teacher(tmp_path / "student", params, card)
    return Case(
        reference=str(tmp_path / "student"),
        weights=weights / np.float32(255) if dtype == "uint8" else weights,
        bias=bias,
        shape=shape,
        dtype=dtype,
        output="q_values",
        temperature=None,
        backend=backend,
    )


def _onnx_file(tmp_path: Path, shape: tuple[int, ...], dtype: str, batch: int | str) -> Case:
    weights, bias = _linear(shape)
    flat = numpy_helper.from_array(np.asarray([-1, len(weights)], np.int64), "flat_shape")
    graph = helper.make_graph(
        [
            helper.make_node("Cast", ["observations"], ["floats"], to=TensorProto.FLOAT),
            helper.make_node("Reshape", ["floats", "flat_shape"], ["flat"]),
            helper.make_node("Gemm", ["flat", "weights", "bias"], ["logits"]),
        ],
        "linear",
        [helper.make_tensor_value_info("observations", _ELEMENT_TYPES[dtype], [batch, *shape])],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, [batch, ACTIONS])],
        [
            flat,
            numpy_helper.from_array(weights, "weights"),
            numpy_helper.from_array(bias, "bias"),
        ],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)])
    model.ir_version = 7
    helper.set_model_props(model, {"rrl.temperature": "0.5", "rrl.game": "catch"})
    path = tmp_path / "policy.onnx"
    path.write_bytes(model.SerializeToString())
    return Case(
        reference=str(path),
        weights=weights,
        bias=bias,
        shape=shape,
        dtype=dtype,
        output="logits",
        temperature=0.5,
    )


_PACKAGE = """
import numpy as np

class Linear:
    name, game, version = "linear", "catch", "1"
    num_actions, observation_shape, observation_dtype = {actions}, {shape}, "{dtype}"
    output, temperature = "logits", 2.0

    def __init__(self):
        with np.load({path!r}) as arrays:
            self.weights, self.bias = arrays["weights"], arrays["bias"]

    def evaluate(self, observations):
        flat = observations.reshape(len(observations), -1).astype(np.float32)
        observations[:] = 0  # Its own to change.
        return flat @ self.weights + self.bias
"""


def _python(tmp_path: Path, shape: tuple[int, ...], dtype: str) -> Case:
    weights, bias = _linear(shape)
    arrays = tmp_path / "arrays.npz"
    np.savez(arrays, weights=weights, bias=bias)
    module = f"linear_of_{dtype}_{len(shape)}"
    text = _PACKAGE.format(actions=ACTIONS, shape=shape, dtype=dtype, path=str(arrays))
    (tmp_path / f"{module}.py").write_text(text)
    sys.modules.pop(module, None)
    return Case(
        reference=f"{module}:Linear",
        weights=weights,
        bias=bias,
        shape=shape,
        dtype=dtype,
        output="logits",
        temperature=2.0,
    )


def _ensemble(tmp_path: Path, backend: str) -> Case:
    """Two networks whose mean is taken: linear, with the mean of their weights."""
    shape = (7,)
    members = []
    for number in (1, 2):
        (folder := tmp_path / str(number)).mkdir()
        members.append(_network(folder, backend, shape, "float32", factor=number))
    first, second = members
    return dataclasses.replace(
        first,
        reference=f"ensemble:values:{first.reference},{second.reference}",
        weights=(first.weights + second.weights) / 2,
        bias=(first.bias + second.bias) / 2,
    )


KINDS: dict[str, Callable[[Path], Case]] = {
    "network_jax": lambda path: _network(path, "jax", (10, 5, 2), "uint8"),
    "network_jax_vector": lambda path: _network(path, "jax", (7,), "float32"),
    "network_onnx": lambda path: _network(path, "onnx", (10, 5, 2), "uint8"),
    "network_onnx_vector": lambda path: _network(path, "onnx", (7,), "float32"),
    "onnx_vector": lambda path: _onnx_file(path, (7,), "float32", "batch"),
    "onnx_image": lambda path: _onnx_file(path, (64, 64, 3), "uint8", "batch"),
    "onnx_one_row": lambda path: _onnx_file(path, (7,), "float32", 1),
    "onnx_fixed_batch": lambda path: _onnx_file(path, (8, 8, 3), "uint8", 4),
    "ensemble_jax": lambda path: _ensemble(path, "jax"),
    "ensemble_onnx": lambda path: _ensemble(path, "onnx"),
    "python_vector": lambda path: _python(path, (7,), "float32"),
    "python_image": lambda path: _python(path, (64, 64, 3), "uint8"),
}


@pytest.fixture(params=sorted(KINDS))
def case(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Case:
    monkeypatch.syspath_prepend(tmp_path)
    return KINDS[request.param](tmp_path)


def test_the_scores_are_those_of_the_thing_itself_for_every_batch_size(case: Case) -> None:
    policy = case.load()
    for rows in (1, 3, 4, 9):
        observations = case.observations(rows)
        before = observations.copy()
        scores = policy.evaluate(observations)
        assert scores.dtype == np.float32
        np.testing.assert_allclose(scores, case.scores(before), rtol=1e-4, atol=1e-5)
        np.testing.assert_array_equal(observations, before)
    # Rows must differ, or a mix-up of rows would pass.
    assert len(np.unique(scores[:, 0])) == 9


def test_read_only_observations_are_taken(case: Case) -> None:
    observations = case.observations(4)
    observations.flags.writeable = False
    np.testing.assert_allclose(
        case.load().evaluate(observations), case.scores(observations), rtol=1e-4, atol=1e-5
    )


def test_the_card_is_told_without_serving_and_is_the_policys(case: Case) -> None:
    card = load_card(case.reference)
    assert (card.num_actions, card.observation_shape) == (ACTIONS, case.shape)
    assert (card.observation_dtype, card.game) == (case.dtype, "catch")
    assert (card.output, card.temperature) == (case.output, case.temperature)
    info = case.load().info
    assert info.version == card.parameters_sha256[:16]
    assert (info.name, info.game, info.spec.num_actions) == (card.name, card.game, ACTIONS)
    assert (info.spec.observation_shape, info.spec.observation_dtype) == (case.shape, case.dtype)
    assert (info.spec.output, info.spec.temperature) == (case.output, case.temperature)
    assert TeacherCard.from_json(card.to_json()) == card


# A Python policy says by itself what it is, and an ensemble is not imported. Each case imports
# three times, in processes of their own; files of one format differ in nothing that is said here.
@pytest.mark.parametrize(
    "case",
    [
        pytest.param(kind, marks=() if kind in ("network_jax", "onnx_image") else pytest.mark.slow)
        for kind in sorted(KINDS)
        if not kind.startswith(("python", "ensemble"))
    ],
    indirect=True,
)
def test_what_the_user_says_of_the_scores_goes_first_when_it_is_imported(case: Case) -> None:
    def with_hints(**said: Any) -> Case:
        imported = import_reference(case.reference, Hints(**said))
        return dataclasses.replace(case, reference=str(imported))

    logits = with_hints(output="logits", temperature=3.0)
    card = load_card(logits.reference)
    assert card.spec == logits.load().info.spec
    assert (card.output, card.temperature) == ("logits", 3.0)
    as_q = load_card(with_hints(output="q_values").reference)
    assert (as_q.output, as_q.temperature) == ("q_values", None)
    # Logits always have a temperature: their own, or 1.
    assert load_card(with_hints(output="logits").reference).temperature == (case.temperature or 1.0)

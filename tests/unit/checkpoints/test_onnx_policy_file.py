"""Which ONNX files can be served, and what is said of the others."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from onnx import TensorProto, helper, numpy_helper

from rrl_agents.checkpoints import onnx_policy_file
from rrl_agents.checkpoints.hints import Hints
from rrl_agents.checkpoints.import_foreign import import_foreign
from rrl_agents.checkpoints.onnx_policy_file import read_onnx_file
from rrl_agents.checkpoints.teacher_card import TeacherCard
from services.library.door import import_reference
from services.shared.errors import UserError
from services.teacher.policies.interface import Policy
from services.teacher.policies.loading import load_card, load_policy
from services.teacher.policies.output_checks import InvalidPolicyOutput

FLOAT = TensorProto.FLOAT
VALUES = Hints(output="q_values")


def value(name: str, kind: int, shape: Sequence[int | str | None] | None) -> Any:
    return helper.make_tensor_value_info(name, kind, shape)


def model_of(
    nodes: Sequence[Any],
    *,
    inputs: Sequence[Any] = (value("observations", FLOAT, ["batch", 2]),),
    outputs: Sequence[Any] = (value("scores", FLOAT, ["batch", 2]),),
    weights: Sequence[Any] = (),
    metadata: dict[str, str] | None = None,
    domains: Sequence[str] = (),
) -> Any:
    graph = helper.make_graph(nodes, "policy", inputs, outputs, weights)
    opsets = [helper.make_opsetid("", 13), *(helper.make_opsetid(name, 1) for name in domains)]
    model = helper.make_model(graph, opset_imports=opsets, producer_name="a test")
    model.ir_version = 7
    helper.set_model_props(model, metadata or {})
    return model


def identity(**changes: Any) -> Any:
    """Two observed numbers are the scores of two actions."""
    return model_of([helper.make_node("Identity", ["observations"], ["scores"])], **changes)


def card_of(path: Path, **said: Any) -> TeacherCard:
    return read_onnx_file(path, Hints(**said)).card


def policy_of(path: Path, **said: Any) -> Policy:
    """The file imported and loaded from its directory."""
    directory = path.parent / "imported"
    import_foreign(str(path), str(directory), said)
    policy = load_policy(str(directory))
    assert policy.info.spec == load_card(str(directory)).spec == card_of(path, **said).spec
    return policy


def written(path: Path, model: Any) -> Path:
    file = path / "policy.onnx"
    file.write_bytes(model if isinstance(model, bytes) else model.SerializeToString())
    return file


@pytest.mark.parametrize(
    ("metadata", "said", "expected"),
    [
        (
            {
                "rrl.output": "logits",
                "rrl.temperature": "0.25",
                "rrl.game": "breakout",
                "rrl.name": "mine",
                "output": "of others",
            },
            {},
            ("logits", 0.25, "breakout", "mine"),
        ),
        (
            {"rrl.output": "logits", "rrl.game": "pong"},
            {"output": "q_values", "game": "breakout"},
            ("q_values", None, "breakout", "policy"),
        ),
        ({}, {"output": "logits"}, ("logits", 1.0, "unknown", "policy")),
    ],
    ids=["all metadata", "the user goes first", "neither"],
)
def test_a_card_has_what_the_user_or_the_metadata_says(
    metadata: dict[str, str], said: dict[str, Any], expected: tuple[Any, ...], tmp_path: Path
) -> None:
    card = card_of(written(tmp_path, identity(metadata=metadata)), **said)
    assert (card.output, card.temperature, card.game, card.name) == expected
    assert card.network is None
    assert card.made == "an ONNX file of a test"


@pytest.mark.parametrize(
    ("name", "output"),
    [("logits", "logits"), ("q_values", "q_values"), ("action_values", "q_values")],
)
def test_an_outputs_own_name_says_what_the_scores_are_and_its_shape_is_inferred(
    name: str, output: str, tmp_path: Path
) -> None:
    model = model_of(
        [helper.make_node("Identity", ["observations"], [name])],
        outputs=[value(name, FLOAT, None)],
    )
    card = card_of(written(tmp_path, model))
    assert (card.output, card.num_actions) == (output, 2)


def test_scores_that_nobody_names_are_asked_about(tmp_path: Path) -> None:
    path = written(tmp_path, identity())
    message = (
        "policy.onnx: nothing says what its scores 'scores' are.* teacher import` with --output"
    )
    with pytest.raises(ValueError, match=message):
        card_of(path)


def test_a_model_that_begins_like_onnx_runtimes_own_format_is_read_as_onnx(tmp_path: Path) -> None:
    model = identity()
    model.producer_name = "ORTM"
    path = written(tmp_path, model)
    assert path.read_bytes()[4:8] == b"ORTM"
    assert card_of(path, output="q_values").num_actions == 2


def test_weights_listed_among_the_inputs_are_no_observations(tmp_path: Path) -> None:
    model = model_of(
        [helper.make_node("MatMul", ["observations", "weights"], ["scores"])],
        inputs=[value("observations", FLOAT, ["batch", 2]), value("weights", FLOAT, [2, 2])],
        weights=[numpy_helper.from_array(2 * np.eye(2, dtype=np.float32), "weights")],
    )
    policy = policy_of(written(tmp_path, model), output="logits")
    scores = policy.evaluate(np.asarray([[1, 3]], np.float32))
    assert scores.tolist() == [[2, 6]]


def of_input(
    kind: int, shape: list[Any], operator: str = "Identity", gives: int = FLOAT, **attributes: Any
) -> Any:
    """One operator on an input of that kind and shape; the output says neither."""
    node = helper.make_node(operator, ["observations"], ["scores"], **attributes)
    gives = kind if operator == "Identity" else gives
    return model_of(
        [node],
        inputs=[value("observations", kind, shape)],
        outputs=[value("scores", gives, None)],
    )


def external() -> Any:
    tensor = numpy_helper.from_array(np.zeros(2, np.float32), "weights")
    tensor.ClearField("raw_data")
    tensor.data_location = TensorProto.EXTERNAL
    entry = tensor.external_data.add()
    entry.key, entry.value = "location", "../../etc/passwd"
    return model_of(
        [helper.make_node("Add", ["observations", "weights"], ["scores"])], weights=[tensor]
    )


def nested_external() -> Any:
    inner = external().graph
    inner.ClearField("input")
    del inner.node[0].input[0]
    branch = helper.make_node("If", ["always"], ["scores"], then_branch=inner, else_branch=inner)
    return model_of([branch])


def bomb() -> Any:
    """A few bytes that unfold into 4 TB while the session is prepared."""
    sizes = numpy_helper.from_array(np.asarray([10**6, 10**6], np.int64), "sizes")
    return model_of(
        [
            helper.make_node("ConstantOfShape", ["sizes"], ["huge"]),
            helper.make_node("ReduceSum", ["huge"], ["sum"]),
            helper.make_node("Add", ["observations", "sum"], ["scores"]),
        ],
        weights=[sizes],
    )


OBSERVED = value("observations", FLOAT, ["batch", 2])
SCORES = value("scores", FLOAT, ["batch", 2])
NO_POLICY = r"it must take observations \[batch, ...\]"

REFUSED = {
    "two inputs": (
        identity(inputs=[OBSERVED, value("mask", FLOAT, [2])]),
        "takes observations .*, mask .*one input",
    ),
    "two outputs": (
        model_of(
            [
                helper.make_node("Identity", ["observations"], [name])
                for name in ("scores", "values")
            ],
            outputs=[SCORES, value("values", FLOAT, ["batch", 2])],
        ),
        "gives scores .*, values .*one output",
    ),
    "no input": (
        model_of([helper.make_node("Constant", [], ["scores"], value_floats=[1.0])], inputs=[]),
        "takes nothing and gives scores",
    ),
    "free image": (
        of_input(FLOAT, ["batch", "height", 84]),
        rf"\['batch', 'height', 84\].*{NO_POLICY}",
    ),
    "no batch": (of_input(FLOAT, [2]), NO_POLICY),
    "int64": (of_input(TensorProto.INT64, ["batch", 2]), rf"tensor\(int64\).*{NO_POLICY}"),
    "absurd observations": (
        of_input(FLOAT, ["batch", 5000, 5000], "ReduceMax", axes=[2], keepdims=0),
        "at most 16777216 elements",
    ),
    "absurd actions": (of_input(FLOAT, ["batch", 70_000]), "at most 65536"),
    "whole scores": (
        of_input(FLOAT, ["batch", 2], "Cast", TensorProto.INT32, to=TensorProto.INT32),
        rf"gives scores tensor\(int32\).*{NO_POLICY}",
    ),
    "three axes": (of_input(FLOAT, ["batch", 1, 2]), NO_POLICY),
    "custom operator": (
        model_of(
            [helper.make_node("Policy", ["observations"], ["scores"], domain="my.ops")],
            domains=["my.ops"],
        ),
        "my.ops",
    ),
    "an operator that does not exist": (
        model_of([helper.make_node("NoSuchOperator", ["observations"], ["scores"])]),
        "ONNX Runtime cannot compute this model.*NoSuchOperator",
    ),
    "weights elsewhere": (external(), "'weights' lie in another file"),
    "weights of a branch elsewhere": (nested_external(), "'weights' lie in another file"),
    "no number": (
        identity(metadata={"rrl.output": "logits", "rrl.temperature": "warm"}),
        "rrl.temperature is 'warm'",
    ),
    "no model": (b"PK\x03\x04 something else entirely", "no ONNX file"),
    "nothing": (b"", "cannot compute this model"),
}


@pytest.mark.parametrize("name", sorted(REFUSED))
def test_a_file_that_cannot_be_served_is_refused_with_its_name_and_the_reason(
    name: str, tmp_path: Path
) -> None:
    model, reason = REFUSED[name]
    path = written(tmp_path, model)
    with pytest.raises(ValueError, match=reason) as refused:
        read_onnx_file(path, VALUES)
    assert str(refused.value).startswith(str(path))


def test_a_few_bytes_that_unfold_into_terabytes_are_refused_by_the_import(tmp_path: Path) -> None:
    path = written(tmp_path, bomb())
    with pytest.raises(UserError, match=rf"{path}: reading it (failed|took more than)"):
        import_reference(str(path), VALUES, store=tmp_path / "store")


def test_a_changed_model_is_found_by_the_hash_of_its_card(tmp_path: Path) -> None:
    import_foreign(str(written(tmp_path, identity())), str(tmp_path / "a"), {"output": "logits"})
    model = tmp_path / "a" / "policy.onnx"
    model.write_bytes(model.read_bytes() + b"\x00")
    with pytest.raises(UserError, match="SHA-256 .* copy the teacher again"):
        load_card(str(tmp_path / "a"))


def test_a_file_beyond_the_limit_is_not_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(onnx_policy_file, "MAX_FILE_BYTES", 10)
    with pytest.raises(ValueError, match="more than the 10 that an ONNX file may have"):
        read_onnx_file(written(tmp_path, identity()), VALUES)


def test_a_model_that_mixes_rows_up_is_refused_when_it_is_tried_out(tmp_path: Path) -> None:
    # Only the first row is kept, whatever went in; no shape in the file shows that.
    first = numpy_helper.from_array(np.asarray([True]), "first")
    model = model_of(
        [helper.make_node("Compress", ["observations", "first"], ["scores"], axis=0)],
        weights=[first],
    )
    path = written(tmp_path, model)
    with pytest.raises(UserError, match=r"float32 \[3, 2\]; got float32 \[1, 2\]"):
        policy_of(path, output="logits")


def test_scores_that_are_not_finite_are_an_error_and_not_an_answer(tmp_path: Path) -> None:
    model = model_of([helper.make_node("Log", ["shifted"], ["scores"])])
    one = numpy_helper.from_array(np.float32(1), "one")
    model.graph.node.insert(0, helper.make_node("Add", ["observations", "one"], ["shifted"]))
    model.graph.initializer.append(one)
    path = written(tmp_path, model)
    policy = policy_of(path, output="logits")
    # ln(0 + 1) = 0; the logarithms of -1 and of 0 are none.
    assert policy.evaluate(np.zeros((1, 2), np.float32)).tolist() == [[0, 0]]
    with pytest.raises(InvalidPolicyOutput, match="finite; 2 are not"):
        policy.evaluate(np.asarray([[-2, 0], [0, -1]], np.float32))

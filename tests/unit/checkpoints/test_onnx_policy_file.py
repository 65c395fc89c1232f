"""Which ONNX files can be served, and what is said of the others."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnx.parser
import pytest

from rrl_agents.checkpoints import onnx_policy_file
from rrl_agents.checkpoints.hints import Hints
from rrl_agents.checkpoints.import_foreign import import_foreign
from rrl_agents.checkpoints.onnx_policy_file import read_onnx_file
from rrl_agents.checkpoints.teacher_card import TeacherCard
from services.library.teacher_references import import_reference
from services.shared.errors import UserError
from services.teacher.policies.interface import Policy
from services.teacher.policies.loading import load_card, load_policy
from services.teacher.policies.output_checks import InvalidPolicyOutput

VALUES = Hints(output="q_values")


def model_of(
    body: str = "scores = Identity(observations)",
    takes: str = "float[batch, 2] observations",
    gives: str = "float[batch, 2] scores",
    metadata: dict[str, str] | None = None,
) -> Any:
    """A model from ONNX's own text; as it is, two observed numbers are the scores of two actions.

    In the text, `float[]` is of any shape.
    """
    about = 'ir_version: 7, opset_import: ["" : 13, "my.ops" : 1], producer_name: "a test"'
    model = onnx.parser.parse_model(f"<{about}> policy ({takes}) => ({gives}) {{ {body} }}")
    onnx.helper.set_model_props(model, metadata or {})
    return model


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
    card = card_of(written(tmp_path, model_of(metadata=metadata)), **said)
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
    model = model_of(f"{name} = Identity(observations)", gives=f"float[] {name}")
    card = card_of(written(tmp_path, model))
    assert (card.output, card.num_actions) == (output, 2)


def test_scores_that_nobody_names_are_asked_about(tmp_path: Path) -> None:
    path = written(tmp_path, model_of())
    message = "policy.onnx: nothing says what its scores 'scores' are, q_values .*best.* or logits"
    with pytest.raises(ValueError, match=message):
        card_of(path)


def test_a_model_that_begins_like_onnx_runtimes_own_format_is_read_as_onnx(tmp_path: Path) -> None:
    model = model_of()
    model.producer_name = "ORTM"
    path = written(tmp_path, model)
    assert path.read_bytes()[4:8] == b"ORTM"
    assert card_of(path, output="q_values").num_actions == 2


def test_weights_listed_among_the_inputs_are_no_observations(tmp_path: Path) -> None:
    model = model_of(
        "scores = MatMul(observations, weights)",
        "float[batch, 2] observations, float[2, 2] weights = {2, 0, 0, 2}",
    )
    policy = policy_of(written(tmp_path, model), output="logits")
    scores = policy.evaluate(np.asarray([[1, 3]], np.float32))
    assert scores.tolist() == [[2, 6]]


def external() -> Any:
    model = model_of(
        "weights = Constant <value = float[2] {0, 0}> () scores = Add(observations, weights)"
    )
    tensor = model.graph.node[0].attribute[0].t
    tensor.name, tensor.data_location = "weights", onnx.TensorProto.EXTERNAL
    tensor.ClearField("float_data")
    tensor.external_data.add(key="location", value="../../etc/passwd")
    return model


def nested_external() -> Any:
    model = external()
    inner = model.graph.node[0]
    model.graph.node[0].CopyFrom(
        onnx.helper.make_node(
            "If", ["always"], ["weights"], then_branch=onnx.helper.make_graph([inner], "b", [], [])
        )
    )
    return model


BOMB = """
    sizes = Constant <value = int64[2] {1000000, 1000000}> ()
    huge = ConstantOfShape(sizes)
    sum = ReduceSum(huge)
    scores = Add(observations, sum)
"""
"""Of a few bytes; unfolds into 4 TB."""

NO_POLICY = r"it must take observations \[batch, ...\]"

REFUSED = {
    "two inputs": (
        model_of(takes="float[batch, 2] observations, float[2] mask"),
        "takes observations .*, mask .*one input",
    ),
    "two outputs": (
        model_of(
            "scores = Identity(observations) values = Identity(observations)",
            gives="float[batch, 2] scores, float[batch, 2] values",
        ),
        "gives scores .*, values .*one output",
    ),
    "no input": (
        model_of("scores = Constant <value_float = 1.0> ()", takes="", gives="float[] scores"),
        "takes nothing and gives scores",
    ),
    "free image": (
        model_of(takes="float[batch, height, 84] observations", gives="float[] scores"),
        rf"\['batch', 'height', 84\].*{NO_POLICY}",
    ),
    "no batch": (model_of(takes="float[2] observations", gives="float[] scores"), NO_POLICY),
    "int64": (
        model_of(takes="int64[batch, 2] observations", gives="int64[batch, 2] scores"),
        rf"tensor\(int64\).*{NO_POLICY}",
    ),
    "absurd observations": (
        model_of(
            "scores = ReduceMax <axes = [2], keepdims = 0> (observations)",
            "float[batch, 5000, 5000] observations",
            "float[batch, 5000] scores",
        ),
        "at most 16777216 elements",
    ),
    "absurd actions": (
        model_of(takes="float[batch, 70000] observations", gives="float[batch, 70000] scores"),
        "at most 65536",
    ),
    "whole scores": (
        model_of("scores = Cast <to = 6> (observations)", gives="int32[batch, 2] scores"),
        rf"gives scores tensor\(int32\).*{NO_POLICY}",
    ),
    "three axes": (
        model_of(takes="float[batch, 1, 2] observations", gives="float[] scores"),
        NO_POLICY,
    ),
    "a custom operator": (model_of("scores = my.ops.Policy(observations)"), "my.ops"),
    "an operator that does not exist": (
        model_of("scores = NoSuchOperator(observations)"),
        "ONNX Runtime cannot compute this model.*NoSuchOperator",
    ),
    "weights elsewhere": (external(), "'weights' are in another file"),
    "weights of a branch elsewhere": (nested_external(), "'weights' are in another file"),
    "no number": (model_of(metadata={"rrl.temperature": "warm"}), "rrl.temperature is 'warm'"),
    "no model": (b"PK\x03\x04 something else entirely", "not an ONNX file"),
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
    path = written(tmp_path, model_of(BOMB))
    with pytest.raises(UserError, match=rf"{path}: reading it (failed|took more than)"):
        import_reference(str(path), VALUES, store=tmp_path / "store")


def test_a_changed_model_is_found_by_the_hash_of_its_card(tmp_path: Path) -> None:
    import_foreign(str(written(tmp_path, model_of())), str(tmp_path / "a"), {"output": "logits"})
    model = tmp_path / "a" / "policy.onnx"
    model.write_bytes(model.read_bytes() + b"\x00")
    with pytest.raises(UserError, match="SHA-256 .* copy the teacher again"):
        load_card(str(tmp_path / "a"))


def test_a_file_beyond_the_limit_is_not_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(onnx_policy_file, "MAX_FILE_BYTES", 10)
    with pytest.raises(ValueError, match="more than the 10 that an ONNX file may have"):
        read_onnx_file(written(tmp_path, model_of()), VALUES)


def test_a_model_that_mixes_rows_up_is_refused_when_it_is_tried_out(tmp_path: Path) -> None:
    # Only the first row is kept, whatever went in; no shape in the file shows that.
    model = model_of(
        "first = Constant <value = bool[1] {1}> () "
        "scores = Compress <axis = 0> (observations, first)"
    )
    path = written(tmp_path, model)
    with pytest.raises(UserError, match=r"float32 \[3, 2\]; got float32 \[1, 2\]"):
        policy_of(path, output="logits")


def test_scores_that_are_not_finite_are_an_error_and_not_an_answer(tmp_path: Path) -> None:
    body = """
        one = Constant <value_float = 1.0> ()
        shifted = Add(observations, one)
        scores = Log(shifted)
    """
    path = written(tmp_path, model_of(body))
    policy = policy_of(path, output="logits")
    # ln(0 + 1) = 0; the logarithms of -1 and of 0 are none.
    assert policy.evaluate(np.zeros((1, 2), np.float32)).tolist() == [[0, 0]]
    with pytest.raises(InvalidPolicyOutput, match="finite; 2 are not"):
        policy.evaluate(np.asarray([[-2, 0], [0, -1]], np.float32))

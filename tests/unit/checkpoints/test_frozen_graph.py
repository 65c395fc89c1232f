"""Perciatelli44, the balloon's teacher: imported, it scores as its frozen graph does."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from tensorboard.compat.proto.graph_pb2 import GraphDef

from rrl_agents.checkpoints.frozen_graph import import_frozen_graph
from rrl_agents.checkpoints.hints import NO_HINTS
from rrl_agents.environments.balloon import Balloon, package_file
from services.teacher.policies.loading import load_card, load_policy

GRAPH = package_file("models", "perciatelli44.pb")

# The graph, run by TensorFlow.
PROGRAM = """
import sys
import numpy as np
import tensorflow as tf

graph = tf.compat.v1.GraphDef.FromString(open(sys.argv[1], "rb").read())
with tf.Graph().as_default(), tf.compat.v1.Session() as session:
    tf.compat.v1.import_graph_def(graph, name="")
    values = session.run("q_values:0", {"observation:0": np.load(sys.argv[2])})
np.save(sys.argv[3], values)
"""


def flown(steps: int) -> NDArray[np.float32]:
    """Observations of two flights, up and down."""
    balloon, actions = Balloon(), np.random.default_rng(0).integers(3, size=steps)
    observations = []
    for seed in (0, 1):
        observations.append(balloon.reset(seed=seed)[0])
        observations += [balloon.step(action)[0] for action in actions]
    return np.stack(observations)


def test_the_teacher_of_that_name_scores_as_its_graph_does(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RRL_CACHE", str(tmp_path / "cache"))
    observations = flown(steps=40)
    np.save(tmp_path / "seen.npy", observations)
    files = [GRAPH, tmp_path / "seen.npy", tmp_path / "values.npy"]
    subprocess.run([sys.executable, "-c", PROGRAM, *map(str, files)], check=True)
    expected = np.load(tmp_path / "values.npy")
    assert expected.shape == (82, 3) and 1.0 < expected.min() < expected.max() < 140.0
    scores = load_policy("BLE/perciatelli44").evaluate(observations)
    # Both are float32: each lies up to 1e-4 from the same sums in float64, on values up to 100.
    np.testing.assert_allclose(scores, expected, atol=1e-4, rtol=1e-6)


def test_its_card_says_what_it_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RRL_CACHE", str(tmp_path / "cache"))
    card = load_card("ble/perciatelli44")
    assert (card.name, card.game, card.algorithm) == ("perciatelli44", "balloon", "QR-DQN")
    assert (card.observation_shape, card.observation_dtype) == ((1_099,), "float32")
    network = card.network
    assert network is not None and card.num_actions == 3
    assert (network.name, network.features, network.head) == ("mlp", (600,) * 7, "quantile")
    assert network.num_atoms == 51


def _tanh(nodes: dict[str, Any]) -> None:
    nodes["Online/fully_connected_3/Relu"].op = "Tanh"


def _renamed(nodes: dict[str, Any]) -> None:
    nodes["q_values"].name = "values"


def _short(nodes: dict[str, Any]) -> None:
    tensor = nodes["Online/fully_connected_2/biases"].attr["value"].tensor
    tensor.tensor_content = tensor.tensor_content[:-4]


def _circle(nodes: dict[str, Any]) -> None:
    nodes["Online/fully_connected/MatMul"].input[0] = "Online/fully_connected/Relu"


def _transposed(nodes: dict[str, Any]) -> None:
    nodes["Online/fully_connected_1/MatMul"].attr["transpose_b"].b = True


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (_tanh, "is Tanh, not Relu"),
        (_renamed, "no node 'q_values'"),
        (_short, "has 599 numbers for the shape"),
        (_circle, "more than 16 layers"),
        (_transposed, "transposed"),
    ],
)
def test_a_graph_that_computes_anything_else_is_refused(
    tmp_path: Path, change: Any, message: str
) -> None:
    graph = GraphDef.FromString(GRAPH.read_bytes())
    change({node.name: node for node in graph.node})
    file = tmp_path / "other.pb"
    file.write_bytes(graph.SerializeToString())
    with pytest.raises(ValueError, match=message) as caught:
        import_frozen_graph(file, NO_HINTS)
    assert str(file) in str(caught.value)


def test_a_damaged_file_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "cut.pb"
    file.write_bytes(GRAPH.read_bytes()[:100_000])
    with pytest.raises(ValueError, match="not a graph of TensorFlow, or damaged"):
        import_frozen_graph(file, NO_HINTS)

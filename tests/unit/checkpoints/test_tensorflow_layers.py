"""Checkpoints of every naming style, and those that Dopamine's own TensorFlow networks write."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from rrl_agents.checkpoints.tensorflow_files.layers import tensorflow_layers

FIXTURE = "dopamine2.0.5_tf1/1/checkpoints/tf_ckpt-199"

SLIM = ("Conv", "Conv_1", "Conv_2", "fully_connected", "fully_connected_1")
KERAS = ("conv2d", "conv2d_1", "conv2d_2", "dense", "dense_1")
LINEN = ["Conv_0", "Conv_1", "Conv_2", "Dense_0", "Dense_1"]


def save(prefix: Path, names: list[str]) -> dict[str, NDArray[np.float32]]:
    """Write variables that can be told apart: the first holds 0, the second 1, and so on."""
    import tensorflow as tf

    arrays = {name: np.full(2, number, np.float32) for number, name in enumerate(names)}
    tf.raw_ops.SaveV2(
        prefix=str(prefix),
        tensor_names=names,
        shape_and_slices=[""] * len(names),
        tensors=list(arrays.values()),
    )
    return arrays


def variables(
    scope: str, layers: tuple[str, ...], leaves: tuple[str, str] = ("kernel", "bias")
) -> list[str]:
    return [f"{scope}{layer}/{leaf}" for layer in layers for leaf in leaves]


def values(layers: dict[str, Any]) -> list[float]:
    """Of kernel and bias of every layer in order of the names."""
    return [float(layers[name][leaf][0]) for name in sorted(layers) for leaf in ("kernel", "bias")]


@pytest.mark.parametrize(
    ("online", "target"),
    [
        (variables("Online/", SLIM, ("weights", "biases")), []),
        (variables("Online/", SLIM), variables("Target/", SLIM)),
        (variables("Online/", KERAS), variables("Target/", KERAS)),
        (variables("agent001/Online/", SLIM), variables("agent001/Target/", SLIM)),
        (variables("online/", SLIM), variables("target/", SLIM)),
        (variables("Online/nature_dqn_network/", SLIM), variables("Target/nature/", SLIM)),
        (variables("nature_dqn_network/", SLIM), []),
        (variables("", SLIM, ("weights", "biases")), []),
        (variables("", KERAS), variables("Target/", KERAS)),
    ],
)
def test_every_style_of_names_gives_the_layers_in_order(
    tmp_path: Path, online: list[str], target: list[str]
) -> None:
    slots = [f"{name}/{slot}" for name in online for slot in ("RMSProp", "RMSProp_1", "Adam")]
    save(tmp_path / "c", [*online, *target, *slots, "beta1_power", "global_step"])
    tree = tensorflow_layers(tmp_path / "c")
    assert list(tree["online"]) == LINEN
    assert values(tree["online"]) == list(range(10))
    if target:
        assert values(tree["target"]) == list(range(10, 20))
    else:
        assert tree["target"] is None


def test_the_embedding_of_quantiles_comes_first_in_both_styles(tmp_path: Path) -> None:
    slim = (*SLIM, "fully_connected_2")
    keras = (*SLIM[:3], "dense", *SLIM[3:])
    counted_on = (*SLIM[:3], "dense_1", *SLIM[3:])
    for online, target in ((slim, slim), (keras, counted_on)):
        save(tmp_path / "c", [*variables("Online/", online), *variables("Target/", target)])
        tree = tensorflow_layers(tmp_path / "c")
        assert list(tree["online"]) == [*LINEN, "Dense_2"]
        assert values(tree["online"]) == list(range(12))
        assert values(tree["target"]) == list(range(12, 24))


def test_layers_are_counted_not_spelled(tmp_path: Path) -> None:
    layers = tuple(f"dense_{number}" for number in (2, 10, 9))
    save(tmp_path / "c", variables("Online/", layers))
    # In order dense_2 (0, 1), dense_9 (4, 5), dense_10 (2, 3).
    assert values(tensorflow_layers(tmp_path / "c")["online"]) == [0, 1, 4, 5, 2, 3]


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (
            ["Online/Conv/weights"],
            r"layer 'Online/Conv' has the variables \['Online/Conv/weights'\]",
        ),
        (["Online/Conv/weights", "Online/Conv/kernel"], "expected a kernel .* and a bias"),
        (
            ["global_step", "w/Adam"],
            r"in the scopes \[\]; .* variables: \['global_step', 'w/Adam'\]",
        ),
        (
            variables("a/", SLIM) + variables("b/", SLIM),
            r"in the scopes \['a', 'b'\]; expected one",
        ),
        (variables("0/Online/", SLIM) + variables("1/Online/", SLIM), "expected one in Online"),
    ],
)
def test_what_is_no_agent_is_an_error_that_lists_what_there_is(
    tmp_path: Path, names: list[str], message: str
) -> None:
    save(tmp_path / "c", names)
    with pytest.raises(ValueError, match=message):
        tensorflow_layers(tmp_path / "c")


def test_files_that_are_cut_off_changed_or_missing_are_an_error_with_their_path(
    tmp_path: Path,
) -> None:
    save(tmp_path / "c", variables("Online/", SLIM))
    index, data = tmp_path / "c.index", tmp_path / "c.data-00000-of-00001"
    whole = data.read_bytes()
    # Ten variables of two float32 each.
    assert len(whole) == 80
    for content, reason in (
        (bytes([whole[0] ^ 1]) + whole[1:], "Checksum does not match"),
        (whole[:79], "80 bytes of variables in 79 bytes of data files"),
    ):
        data.write_bytes(content)
        with pytest.raises(ValueError, match=rf"{tmp_path}/c: no whole .*{reason}.* copy all"):
            tensorflow_layers(tmp_path / "c")
    data.write_bytes(whole)
    index.write_bytes(index.read_bytes()[:-1])
    with pytest.raises(ValueError, match=rf"{tmp_path}/c: no whole .*bad magic number"):
        tensorflow_layers(tmp_path / "c")
    index.unlink()
    with pytest.raises(ValueError, match=rf"{tmp_path}/c: no whole .*find any matching files"):
        tensorflow_layers(tmp_path / "c")


def test_variables_may_lie_in_several_files(tmp_path: Path) -> None:
    import tensorflow as tf

    parts = {"a": variables("Online/", SLIM), "b": variables("Target/", SLIM)}
    for name, variables_of_part in parts.items():
        save(tmp_path / name, variables_of_part)
    tf.raw_ops.MergeV2Checkpoints(
        checkpoint_prefixes=[str(tmp_path / name) for name in parts],
        destination_prefix=str(tmp_path / "c"),
    )
    assert (tmp_path / "c.data-00001-of-00002").exists()
    tree = tensorflow_layers(tmp_path / "c")
    assert values(tree["online"]) == values(tree["target"]) == list(range(10))


def test_without_tensorflow_the_error_says_where_to_import(
    fixtures: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "tensorflow", None)
    with pytest.raises(ValueError, match=r"tf_ckpt-199: only TensorFlow .* `rrl teacher import`"):
        tensorflow_layers(fixtures / FIXTURE)


def test_the_agent_of_dopamine_2_has_the_shapes_its_own_description_lists(fixtures: Path) -> None:
    tree = tensorflow_layers(fixtures / FIXTURE)
    meta = json.loads((fixtures / FIXTURE).parents[2].joinpath("meta.json").read_text())
    names = dict(zip(LINEN, SLIM, strict=True))
    for network, scope in (("online", "Online"), ("target", "Target")):
        assert list(tree[network]) == LINEN
        for layer, slim in names.items():
            for leaf, variable in (("kernel", "weights"), ("bias", "biases")):
                shape = meta["variables"][f"{scope}/{slim}/{variable}"]
                assert list(tree[network][layer][leaf].shape) == shape

"""Checkpoints of every naming style, and those that Dopamine's own TensorFlow networks write."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from rrl_agents.checkpoints.dopamine_agents.layers import online_leaves
from rrl_agents.checkpoints.dopamine_agents.tensorflow_files import leaves_of_tensorflow

SLIM = ("Conv", "Conv_1", "Conv_2", "fully_connected", "fully_connected_1")
KERAS = ("conv2d", "conv2d_1", "conv2d_2", "dense", "dense_1")
LINEN = ("Conv_0", "Conv_1", "Conv_2", "Dense_0", "Dense_1")


def variables(
    scope: str, layers: tuple[str, ...], leaves: tuple[str, str] = ("kernel", "bias")
) -> list[str]:
    return [f"{scope}{layer}/{leaf}" for layer in layers for leaf in leaves]


def save(prefix: Path, names: list[str]) -> None:
    """Write distinct variables: the first holds 0, the second 1, and so on."""
    import tensorflow as tf

    tf.raw_ops.SaveV2(
        prefix=str(prefix),
        tensor_names=names,
        shape_and_slices=[""] * len(names),
        tensors=[np.full(2, number, np.float32) for number in range(len(names))],
    )


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
        # The embedding of quantiles comes first in both styles.
        (variables("Online/", (*SLIM, "fully_connected_2")), variables("Target/", SLIM)),
        (variables("Online/", (*SLIM[:3], "dense", *SLIM[3:])), []),
        # Layers are counted, not spelt, and counted on behind another network's.
        (variables("Online/", (*KERAS[:3], "dense_2", "dense_9", "dense_10")), []),
    ],
)
def test_every_style_of_names_gives_the_layers_in_order(
    online: list[str], target: list[str]
) -> None:
    slots = [f"{name}/{slot}" for name in online for slot in ("RMSProp", "RMSProp_1", "Adam")]
    found = online_leaves(sorted([*online, *target, *slots, "beta1_power", "global_step"]))
    layers = LINEN if len(online) == 10 else (*LINEN, "Dense_2")
    assert [found[name] for name in variables("", layers)] == online


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (["global_step", "w/Adam"], r"scopes \[\]; .* begins with \['global_step', 'w/Adam'\]"),
        (variables("a/", SLIM) + variables("b/", SLIM), r"scopes \['a', 'b'\]; expected one"),
        (variables("0/Online/", SLIM) + variables("1/Online/", SLIM), "expected one"),
    ],
)
def test_what_is_no_agent_is_an_error_that_lists_what_there_is(
    names: list[str], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        online_leaves(names)


def test_files_that_are_cut_off_changed_or_missing_are_an_error(tmp_path: Path) -> None:
    save(tmp_path / "c", variables("Online/", SLIM))
    index, data = tmp_path / "c.index", tmp_path / "c.data-00000-of-00001"
    whole = data.read_bytes()
    # Ten variables of two float32 each.
    assert len(whole) == 80
    for file, content, reason in (
        (data, bytes([whole[0] ^ 1]) + whole[1:], "Checksum does not match"),
        (data, whole[:79], "80 bytes of variables in 79 bytes of data files; copy all its files"),
        (index, index.read_bytes()[:-1], "bad magic number"),
    ):
        file.write_bytes(content)
        with pytest.raises(Exception, match=reason):
            leaves_of_tensorflow(tmp_path / "c")
    index.unlink()
    with pytest.raises(Exception, match="find any matching files"):
        leaves_of_tensorflow(tmp_path / "c")


def test_variables_may_lie_in_several_files(tmp_path: Path) -> None:
    import tensorflow as tf

    parts = {"a": variables("Online/", SLIM[:3]), "b": variables("Online/", SLIM[3:])}
    for name, variables_of_part in parts.items():
        save(tmp_path / name, variables_of_part)
    tf.raw_ops.MergeV2Checkpoints(
        checkpoint_prefixes=[str(tmp_path / name) for name in parts],
        destination_prefix=str(tmp_path / "c"),
    )
    assert (tmp_path / "c.data-00001-of-00002").exists()
    leaves = leaves_of_tensorflow(tmp_path / "c")
    # Six in the first, then four.
    assert [float(leaf[0]) for leaf in leaves.values()] == [*range(6), *range(4)]

"""TensorFlow writes, and reads for comparison; the fuzzed files are its own, damaged."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from rrl_agents.checkpoints.tensorflow_files import tensor_bundle
from rrl_agents.checkpoints.tensorflow_files.protobuf_wire import read_varint
from rrl_agents.checkpoints.tensorflow_files.sorted_table import masked_crc32c
from rrl_agents.checkpoints.tensorflow_files.tensor_bundle import (
    list_tensor_bundle,
    read_tensor_bundle,
)

Arrays = dict[str, NDArray[Any]]

FIXTURE = "dopamine2.0.5_tf1/1/checkpoints/tf_ckpt-199"


def save(prefix: Path, arrays: Arrays, slices: dict[str, str] | None = None) -> None:
    import tensorflow as tf

    tf.raw_ops.SaveV2(
        prefix=str(prefix),
        tensor_names=list(arrays),
        shape_and_slices=[(slices or {}).get(name, "") for name in arrays],
        tensors=list(arrays.values()),
    )


def check_against_tensorflow(prefix: Path, found: Arrays) -> None:
    import tensorflow as tf

    reader = tf.train.load_checkpoint(str(prefix))
    for name, array in found.items():
        expected = reader.get_tensor(name)
        assert (array.dtype, array.shape) == (expected.dtype, expected.shape)
        np.testing.assert_array_equal(array, expected)


@pytest.fixture
def small(tmp_path: Path) -> Path:
    """Types and shapes of all kinds."""
    arrays: Arrays = {
        "Online/Conv/kernel": np.arange(24, dtype=np.float32).reshape(2, 3, 4),
        "double": np.asarray([np.pi, -np.inf]),
        "empty": np.zeros((0, 5), np.float32),
        "global_step": np.asarray(2**40, np.int64),
        "halves": np.ones(3, np.float16),
        "int32": np.asarray([[-7]], np.int32),
        "text": np.asarray(["a", "bb"], object),
    }
    save(tmp_path / "small", arrays)
    return tmp_path / "small"


def test_an_agents_checkpoint_is_read_as_tensorflow_reads_it(fixtures: Path) -> None:
    import tensorflow as tf

    found = read_tensor_bundle(fixtures / FIXTURE)
    shapes = tf.train.load_checkpoint(str(fixtures / FIXTURE)).get_variable_to_shape_map()
    assert {name: list(array.shape) for name, array in found.items()} == shapes
    check_against_tensorflow(fixtures / FIXTURE, found)


def test_numbers_are_read_and_other_types_listed(small: Path) -> None:
    listed = list_tensor_bundle(small)
    assert {name: (tensor.dtype, tensor.shape) for name, tensor in listed.items()} == {
        "Online/Conv/kernel": ("float32", (2, 3, 4)),
        "double": ("float64", (2,)),
        "empty": ("float32", (0, 5)),
        "global_step": ("int64", ()),
        "halves": ("float16", (3,)),
        "int32": ("int32", (1, 1)),
        "text": ("string", (2,)),
    }
    found = read_tensor_bundle(small)
    assert found.keys() == listed.keys() - {"halves", "text"}
    check_against_tensorflow(small, found)


def test_only_what_is_wanted_is_read(small: Path) -> None:
    assert read_tensor_bundle(small, lambda name: name == "int32").keys() == {"int32"}
    with pytest.raises(ValueError, match="text is of string or stored in parts"):
        read_tensor_bundle(small, lambda name: name == "text")


def test_tensors_may_lie_in_several_files(tmp_path: Path) -> None:
    import tensorflow as tf

    parts = [tmp_path / f"part{number}" for number in range(3)]
    for number, part in enumerate(parts):
        save(part, {f"layer_{number}": np.full(5, number, np.float32)})
    tf.raw_ops.MergeV2Checkpoints(
        checkpoint_prefixes=[str(part) for part in parts], destination_prefix=str(tmp_path / "all")
    )
    assert (tmp_path / "all.data-00002-of-00003").exists()
    found = read_tensor_bundle(tmp_path / "all")
    assert len(found) == 3
    check_against_tensorflow(tmp_path / "all", found)
    (tmp_path / "all.data-00001-of-00003").unlink()
    with pytest.raises(ValueError, match=r"data-00001-of-00003: cannot be read \(No such file"):
        read_tensor_bundle(tmp_path / "all")
    # Files that hold nothing wanted are not opened.
    read_tensor_bundle(tmp_path / "all", lambda name: name != "layer_1")


def test_an_index_of_many_blocks_is_read(tmp_path: Path) -> None:
    """TensorFlow fills blocks of 256 kB: 4000 entries with names of 150 characters need several."""
    arrays: Arrays = {
        f"{number:04}{'x' * 100}{number:046}": np.asarray(number, np.int32)
        for number in range(4000)
    }
    save(tmp_path / "many", arrays)
    assert (tmp_path / "many.index").stat().st_size > 2 * 2**18
    found = read_tensor_bundle(tmp_path / "many")
    assert [int(array) for array in found.values()] == list(range(4000))


def test_a_partitioned_variable_is_listed_and_not_read(tmp_path: Path) -> None:
    save(tmp_path / "parts", {"w": np.ones((5, 4), np.float32)}, {"w": "10 4 0,5:-"})
    (tensor,) = list_tensor_bundle(tmp_path / "parts").values()
    assert (tensor.shape, tensor.is_readable) == ((10, 4), False)
    assert read_tensor_bundle(tmp_path / "parts") == {}
    with pytest.raises(ValueError, match="w is of float32 or stored in parts"):
        read_tensor_bundle(tmp_path / "parts", lambda name: True)


def test_what_is_missing_is_named(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"absent\.index: cannot be read .*TensorFlow"):
        read_tensor_bundle(tmp_path / "absent")


def test_a_file_that_is_cut_off_is_an_error_that_says_where(small: Path) -> None:
    data = small.with_name("small.data-00000-of-00001")
    content = data.read_bytes()
    data.write_bytes(content[:50])
    # 24 float32 are 96 bytes, the first of the file.
    with pytest.raises(ValueError, match=r"ends at byte 50, but Online/Conv/kernel .* 0 to 96"):
        read_tensor_bundle(small)
    # The rest of the file is not needed for what lies before the cut.
    data.write_bytes(content[:96])
    read_tensor_bundle(small, lambda name: name == "Online/Conv/kernel")


def test_a_changed_tensor_is_an_error_that_names_it(small: Path) -> None:
    data = small.with_name("small.data-00000-of-00001")
    content = bytearray(data.read_bytes())
    content[40] ^= 0x10
    data.write_bytes(content)
    with pytest.raises(ValueError, match=r"checksum of Online/Conv/kernel \(bytes 0 to 96\)"):
        read_tensor_bundle(small)


def test_an_index_that_is_too_large_is_not_read(small: Path) -> None:
    with small.with_name("small.index").open("r+b") as file:
        file.truncate(2**40)  # Sparse: it takes no room.
    with pytest.raises(ValueError, match="bytes, more than the 8388608"):
        list_tensor_bundle(small)


def test_all_that_is_read_at_once_is_bounded(small: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tensor_bundle, "MAX_TENSORS_BYTES", 100)
    with pytest.raises(ValueError, match="announces 124 bytes of tensors"):
        # 24 float32, two float64, one int64 and one int32: 96 + 16 + 8 + 4 bytes.
        read_tensor_bundle(small)


@settings(max_examples=300)
@given(data=st.data())
def test_damaged_files_are_refused_or_give_the_same_values(
    data: st.DataObject, tmp_path: Path
) -> None:
    sound = tmp_path / "sound"
    if not sound.with_name("sound.index").exists():
        save(sound, {"a": np.arange(6, dtype=np.float32), "b": np.asarray(3, np.int64)})
    endings = ("index", "data-00000-of-00001")
    for ending in endings:
        shutil.copyfile(f"{sound}.{ending}", tmp_path / f"hurt.{ending}")
    hurt = tmp_path / f"hurt.{data.draw(st.sampled_from(endings))}"
    content = bytearray(hurt.read_bytes())
    for _ in range(data.draw(st.integers(1, 3))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    hurt.write_bytes(content[: data.draw(st.integers(0, len(content)))])
    try:
        found = read_tensor_bundle(tmp_path / "hurt")
    except ValueError:
        return
    assert {name: array.tolist() for name, array in found.items()} == {"a": [*range(6)], "b": 3}


@settings(max_examples=500)
@given(data=st.data())
def test_an_index_that_lies_under_a_right_checksum_is_refused_or_read_within_its_files(
    data: st.DataObject, small: Path
) -> None:
    """The checksum is fitted again after the damage, so that the entries themselves are parsed."""
    index = bytearray(small.with_name("small.index").read_bytes())
    # The footer begins with the place of the meta block, right after the only block of entries.
    end = read_varint(bytes(index[-48:]), 0)[0] - 5
    for _ in range(data.draw(st.integers(1, 3))):
        position = data.draw(st.integers(0, end - 9))  # Before the restart points.
        index[position] = data.draw(st.integers(0, 255))
    index[end + 1 : end + 5] = masked_crc32c(bytes(index[: end + 1])).to_bytes(4, "little")
    lying = small.with_name("lying")
    lying.with_name("lying.index").write_bytes(index)
    content = small.with_name("small.data-00000-of-00001").read_bytes()
    lying.with_name("lying.data-00000-of-00001").write_bytes(content)
    try:
        found = read_tensor_bundle(lying)
    except ValueError:
        return
    assert sum(array.nbytes for array in found.values()) <= len(content)

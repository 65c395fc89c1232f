"""Files of `torch.save`, read without PyTorch: what they hold, and what is refused in them."""

from __future__ import annotations

import gzip
import os
import pickle
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from rrl_agents.checkpoints.hints import Hints
from rrl_agents.checkpoints.import_other_agent import import_other_agent
from rrl_agents.checkpoints.torch_files import read_torch_file
from rrl_agents.checkpoints.zip_members import ZipMembers
from services.library.confined import Limits, run_confined
from services.library.teacher_references import import_reference
from services.shared.errors import UserError
from tests.support.other_agents import (
    OTHER_AGENTS,
    changed,
    members,
    torch_file,
    torch_tensor,
    zipped,
)

NUMBERS = np.arange(6, dtype="<f4")


def test_tensors_are_views_of_their_storages_by_offset_and_strides() -> None:
    content = torch_file(
        {
            "whole": torch_tensor((2, 3)),
            "turned": torch_tensor((3, 2), size=6, strides=(1, 3)),
            "second": torch_tensor((3,), size=6, offset=3),
            "none": torch_tensor((0, 4), size=6),
            "scalar": torch_tensor((), size=6, offset=5),
        },
        {"0": NUMBERS},
    )
    found = read_torch_file(content)
    np.testing.assert_array_equal(found["whole"], NUMBERS.reshape(2, 3))
    np.testing.assert_array_equal(found["turned"], NUMBERS.reshape(2, 3).T)
    np.testing.assert_array_equal(found["second"], NUMBERS[3:])
    assert found["none"].shape == (0, 4)
    assert found["scalar"] == 5


@pytest.mark.parametrize(
    ("storage", "dtype"),
    [
        ("DoubleStorage", "<f8"),
        ("HalfStorage", "<f2"),
        ("LongStorage", "<i8"),
        ("BoolStorage", "?"),
    ],
)
def test_storages_of_other_types(storage: str, dtype: str) -> None:
    numbers = np.asarray([0, 1, 1], dtype)
    content = torch_file({"x": torch_tensor((3,), storage=storage)}, {"0": numbers.tobytes()})
    found = read_torch_file(content)["x"]
    assert found.dtype == numbers.dtype
    np.testing.assert_array_equal(found, numbers)


def test_numbers_of_the_other_byte_order() -> None:
    parts = members(torch_file({"x": torch_tensor((6,))}, {"0": NUMBERS.astype(">f4").tobytes()}))
    found = read_torch_file(zipped({**parts, "archive/byteorder": b"big"}))
    np.testing.assert_array_equal(found["x"], NUMBERS)
    with pytest.raises(ValueError, match="byte order is b'middle'"):
        read_torch_file(zipped({**parts, "archive/byteorder": b"middle"}))


@pytest.mark.parametrize(
    ("tensor", "message"),
    [
        (torch_tensor((7,), size=6), r"shape \(7,\) does not fit its storage '0' of 6 numbers"),
        (torch_tensor((3,), size=6, offset=4), "does not fit its storage"),
        (torch_tensor((2,), size=6, strides=(6,)), "does not fit its storage"),
        # Without a check, one number would fill any memory.
        (torch_tensor((2**40,), size=6, strides=(0,)), "does not fit its storage"),
        (torch_tensor((2**31, 2**31), size=6), "does not fit its storage"),
        (torch_tensor((-1, -6), size=6), r"shape \(-1, -6\)"),
        (torch_tensor((6,), size=6, offset=-1), "a tensor has shape"),
        (torch_tensor((1,) * 9, size=6), "a tensor has shape"),
        (torch_tensor((2, 3), size=6, strides=(1,)), "a tensor has shape"),
        (torch_tensor((8,)), "storage '0' has 24 bytes, not the 32 that it announces"),
        (torch_tensor((2**40,)), "storage '0' has 24 bytes, not the"),
        (torch_tensor((6,), key="1"), "archive has no 'archive/data/1'"),
        (torch_tensor((6,), key="../data.pkl"), "archive has no 'archive/data/../data.pkl'"),
        (torch_tensor((6,), storage="QInt8Storage"), "asks for 'torch.QInt8Storage'"),
    ],
)
def test_a_tensor_that_its_storage_does_not_hold_is_refused(tensor: bytes, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        read_torch_file(torch_file({"x": tensor}, {"0": NUMBERS}))


class Asks:
    """Pickled, it creates a file when it is unpickled."""

    def __init__(self, place: Path) -> None:
        self.place = place

    def __reduce__(self) -> Any:
        return os.system, (f"touch {self.place}",)


def test_a_pickle_that_asks_for_more_is_refused_and_nothing_runs(tmp_path: Path) -> None:
    hostile = pickle.dumps({"weight": Asks(tmp_path / "ran")}, protocol=2)
    model = tmp_path / "model.pth"
    model.write_bytes(zipped({"archive/data.pkl": hostile}))
    message = "asks for 'posix.system', which no file of weights needs; nothing was run"
    with pytest.raises(UserError, match=message):
        import_reference(str(model), store=tmp_path / "store")
    content = (OTHER_AGENTS / "sb3_dqn_cart_pole" / "model.zip").read_bytes()
    parts = members(content)
    model = tmp_path / "model.zip"
    model.write_bytes(zipped({**parts, "policy.pth": zipped({"archive/data.pkl": hostile})}))
    with pytest.raises(UserError, match=message):
        import_reference(str(model), store=tmp_path / "store")
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize(
    "name", ["torch.nn.modules.linear.Linear", "builtins.eval", "torch.load", "torch.storage.x"]
)
def test_a_name_outside_the_list_is_refused(name: str) -> None:
    module, _, attribute = name.rpartition(".")
    data = b"\x80\x02c%s\n%s\n)R." % (module.encode(), attribute.encode())
    with pytest.raises(ValueError, match=f"asks for '{name}'.*state_dict"):
        read_torch_file(zipped({"archive/data.pkl": data}))


@pytest.mark.parametrize("pid", [b"I1\n", b"(Vstorage\nVx\nV0\nVcpu\nI6\nt", b"(Vmodule\nt"])
def test_a_persistent_id_that_is_no_storage_is_refused(pid: bytes) -> None:
    with pytest.raises(ValueError, match="is not a storage of numbers"):
        read_torch_file(zipped({"archive/data.pkl": b"\x80\x02" + pid + b"Q."}))


def test_an_archive_without_a_pickle_or_with_two_is_refused() -> None:
    with pytest.raises(ValueError, match=r"no file of PyTorch 1\.6"):
        read_torch_file(zipped({"archive/model": b""}))
    with pytest.raises(ValueError, match="several data.pkl"):
        read_torch_file(zipped({"a/data.pkl": b"N.", "b/data.pkl": b"N."}))
    with pytest.raises(ValueError, match="no whole zip archive"):
        read_torch_file(zipped({"archive/data.pkl": b"N."})[:40])


def test_what_unpacks_to_more_than_a_model_has_is_refused_before_it_is_unpacked() -> None:
    zeros = bytes(80 << 20)
    packed = zipped({"data": zeros, "policy.pth": b""}, zipfile.ZIP_DEFLATED)
    assert len(packed) < 1 << 20
    with pytest.raises(ValueError, match="'data' in the archive has 83886080 bytes unpacked"):
        ZipMembers(packed).read("data", 64 << 20)
    packed = zipped({"archive/data.pkl": zeros}, zipfile.ZIP_DEFLATED)
    with pytest.raises(ValueError, match=r"data.pkl' in the archive has 83886080 bytes"):
        read_torch_file(packed)
    # Storages are as large as their file at most: PyTorch packs none.
    tensor = torch_tensor((20 << 20,))
    parts = members(torch_file({"x": tensor}, {"0": zeros}))
    packed = zipped(parts, zipfile.ZIP_DEFLATED)
    with pytest.raises(ValueError, match=r"data/0' in the archive has 83886080 bytes unpacked"):
        read_torch_file(packed)


def test_a_member_that_lies_about_its_size_is_refused() -> None:
    packed = zipped({"data": bytes(1 << 20)}, zipfile.ZIP_DEFLATED)
    size = (1 << 20).to_bytes(4, "little")
    lying = packed.replace(size, (100).to_bytes(4, "little"))
    assert lying != packed
    with pytest.raises(ValueError, match="cannot be read"):
        ZipMembers(lying).read("data", 64 << 20)


def test_a_bomb_of_gzip_ends_in_one_line(tmp_path: Path) -> None:
    """Behind the wall: 1 GiB of zeros in 1 MB."""
    bomb = tmp_path / "model.gz"
    with gzip.open(bomb, "wb", compresslevel=1) as file:
        for _ in range(65):
            file.write(bytes(16 << 20))
    with pytest.raises(UserError, match="more than 1073741824 bytes") as caught:
        run_confined(
            "rrl_agents.checkpoints.import_foreign:import_foreign",
            {"source": str(bomb), "destination": str(tmp_path / "teacher"), "hints": {}},
            limits=Limits(memory_bytes=4 << 30),
            subject=bomb,
        )
    assert "\n" not in str(caught.value)


def test_settings_that_are_no_json_end_in_one_line(tmp_path: Path) -> None:
    content = (OTHER_AGENTS / "sb3_dqn_cart_pole" / "model.zip").read_bytes()
    model = tmp_path / "model.zip"
    for damage in (lambda _: b"[" * 100_000, lambda _: b"{", lambda _: b"[1]"):
        model.write_bytes(changed(content, data=damage))
        with pytest.raises(UserError) as caught:
            import_reference(str(model), store=tmp_path / "store")
        assert "\n" not in str(caught.value)


def test_weights_that_are_no_numbers_are_refused(tmp_path: Path) -> None:
    weights = {"only.weight": torch_tensor((2, 3)), "only.bias": torch_tensor((2,), size=6)}
    model = tmp_path / "model.pt"
    model.write_bytes(torch_file(weights, {"0": np.full(6, np.nan, np.float32)}))
    with pytest.raises(ValueError, match="numbers that are not finite"):
        import_other_agent(model, Hints(agent="dqn"))

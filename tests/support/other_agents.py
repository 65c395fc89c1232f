"""Models of other libraries with the scores that these libraries gave, and parts of their files."""

from __future__ import annotations

import gzip
import io
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from rrl_agents.checkpoints.teacher_card import Teacher
from rrl_agents.networks.registry import action_values, make_network

OTHER_AGENTS = Path(__file__).parents[1] / "fixtures" / "other_agents"

TOLERANCE = 1e-5
"""Of scores, as a share of the largest one: the libraries sum float32 in orders of their own."""


def model_file(name: str, folder: Path, *, source: Path = OTHER_AGENTS) -> Path:
    """A model as its library saved it, unpacked into a folder where it is packed."""
    (model,) = (file for file in (source / name).iterdir() if file.name.startswith("model"))
    if model.suffix != ".gz":
        return model
    unpacked = folder / model.stem
    unpacked.write_bytes(gzip.decompress(model.read_bytes()))
    return unpacked


def check_scores(teacher: Teacher, name: str, *, source: Path = OTHER_AGENTS) -> None:
    """Hold a teacher to the scores that the library itself gave."""
    card = teacher.card
    with np.load(source / name / "expected.npz") as arrays:
        observations, scores = arrays["observations"], arrays["scores"]
    assert (observations.shape[1:], observations.dtype) == (
        card.observation_shape,
        np.dtype(card.observation_dtype),
    )
    assert card.network is not None
    network = make_network(card.network, card.num_actions)
    found = action_values(network, teacher.params, observations)
    assert np.ptp(scores) > 0.1, "scores that differ, or the comparison says little"
    np.testing.assert_allclose(found, scores, rtol=0, atol=TOLERANCE * max(1, np.abs(scores).max()))


def members(content: bytes) -> dict[str, bytes]:
    """What a zip archive holds."""
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def zipped(content: Mapping[str, bytes], compression: int = zipfile.ZIP_STORED) -> bytes:
    """An archive of these members."""
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", compression) as archive:
        for name, member in content.items():
            archive.writestr(name, member)
    return file.getvalue()


def changed(content: bytes, **changes: Callable[[bytes], bytes]) -> bytes:
    """An archive with some members changed; their names have `_` for `.` here."""
    parts = members(content)
    for name, change in changes.items():
        (member,) = (part for part in parts if part.rpartition("/")[2].replace(".", "_") == name)
        parts[member] = change(parts[member])
    return zipped(parts)


def torch_tensor(
    shape: tuple[int, ...],
    *,
    key: str = "0",
    size: int | None = None,
    offset: int = 0,
    strides: tuple[int, ...] | None = None,
    storage: str = "FloatStorage",
) -> bytes:
    """The pickle's part for one tensor, as PyTorch writes it, in the opcodes for text.

    Args:
        shape: Of the tensor.
        key: Names its storage.
        size: Numbers that the storage is said to have; as many as the shape by default.
        offset: First number of the tensor in it.
        strides: Of the tensor; those of C order by default.
        storage: Class of the storage.
    """
    steps = strides
    if steps is None:
        steps = tuple(int(np.prod(shape[axis + 1 :])) for axis in range(len(shape)))
    numbers = int(np.prod(shape)) if size is None else size

    def whole(values: tuple[int, ...]) -> bytes:
        return b"(" + b"".join(b"I%d\n" % value for value in values) + b"t"

    return (
        b"ctorch._utils\n_rebuild_tensor_v2\n"
        + b"((Vstorage\nctorch\n%s\nV%s\nVcpu\nI%d\ntQ" % (storage.encode(), key.encode(), numbers)
        + b"I%d\n" % offset
        + whole(shape)
        + whole(steps)
        + b"I00\nccollections\nOrderedDict\n)RtR"
    )


def torch_file(
    weights: Mapping[str, bytes], storages: Mapping[str, NDArray[np.float32] | bytes]
) -> bytes:
    """A file as `torch.save` writes a dict of tensors.

    Args:
        weights: Name -> pickle of its tensor.
        storages: Key -> content.
    """
    items = b"".join(b"V%s\n" % name.encode() + tensor for name, tensor in weights.items())
    contents = {
        f"archive/data/{key}": stored if isinstance(stored, bytes) else stored.tobytes()
        for key, stored in storages.items()
    }
    data = b"\x80\x02(" + items + b"d."
    return zipped({"archive/data.pkl": data, "archive/byteorder": b"little", **contents})

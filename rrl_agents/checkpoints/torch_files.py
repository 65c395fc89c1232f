"""Reads the tensors in a file of PyTorch's `torch.save`, without PyTorch.

The file is a zip archive: `NAME/data.pkl` is a pickle of the saved object, in which each tensor
refers to a storage by its key, and `NAME/data/KEY` holds that storage's numbers. Only weights are
read: dicts, lists, numbers and text with tensors. A pickle with any other name, e.g. of a whole
module, is refused, and nothing is run (`safe_unpickling`).
"""

from __future__ import annotations

import math
from typing import Any, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from rrl_agents.checkpoints.safe_unpickling import MAKERS, InertUnpickler, Made, Maker, plain
from rrl_agents.checkpoints.zip_members import ZipMembers

MAX_PICKLE_BYTES = 16 << 20
"""Bound of the pickle of names and shapes, which typically has some kilobytes."""

_PICKLE = "/data.pkl"
_MAX_DIMENSIONS = 8
_DTYPES = {
    "torch.FloatStorage": "f4",
    "torch.DoubleStorage": "f8",
    "torch.HalfStorage": "f2",
    "torch.LongStorage": "i8",
    "torch.IntStorage": "i4",
    "torch.ShortStorage": "i2",
    "torch.CharStorage": "i1",
    "torch.ByteStorage": "u1",
    "torch.BoolStorage": "?",
}
_ADVICE = (
    "which no file of weights needs; nothing was run. Save the weights alone, "
    "torch.save(model.state_dict(), FILE), and take files from sources you trust"
)


def is_torch_archive(archive: ZipMembers) -> bool:
    """Whether PyTorch wrote this archive."""
    return any(name.endswith(_PICKLE) and name.count("/") == 1 for name in archive.names)


def read_torch_file(data: bytes) -> Any:
    """Read the saved object.

    Args:
        data: Untrusted content of the file.

    Returns:
        The object, made of plain containers, numbers, text and NumPy arrays.

    Raises:
        ValueError: It is no such file, names what is not allowed, or a tensor does not fit its
            storage; nothing was run.
        Exception: It is damaged; of nearly any class.
    """
    archive = ZipMembers(data)
    if not is_torch_archive(archive):
        raise ValueError(
            "no file of PyTorch 1.6 or newer: the archive holds no data.pkl; save the weights "
            "again with torch.save"
        )
    return _TorchFile(archive, len(data)).read()


class _Storage(NamedTuple):
    """A storage as described in a pickle.

    Attributes:
        dtype: Type of its numbers.
        key: Name of its member in the archive.
        size: Count of its numbers.
    """

    dtype: np.dtype[Any]
    key: str
    size: int


class _Unpickler(InertUnpickler):
    """An unpickler with support for storages."""

    def persistent_load(self, pid: Any) -> _Storage:
        match pid:
            case ("storage", type() as kind, str() as key, str(), int() as size) if issubclass(
                kind, Made
            ):
                dtype = _DTYPES.get(kind.kind)
                if dtype is not None and size >= 0:
                    return _Storage(np.dtype(dtype), key, size)
        raise ValueError(f"refused: {str(pid)[:100]} is not a storage of numbers; nothing was run")


class _TorchFile:
    """A file being read."""

    def __init__(self, archive: ZipMembers, size: int) -> None:
        """Prepare to read.

        Args:
            archive: The archive.
            size: Its bytes: PyTorch does not compress, so all storages together are smaller.
        """
        self._archive = archive
        (pickle, *others) = [name for name in sorted(archive.names) if name.endswith(_PICKLE)]
        if others:
            raise ValueError("the archive holds several data.pkl; give a file of PyTorch's")
        self._pickle = pickle
        self._folder = pickle.removesuffix(_PICKLE)
        self._bytes_left = size
        self._storages: dict[_Storage, NDArray[Any]] = {}

    def read(self) -> Any:
        self._order = self._byte_order()
        data = self._archive.read(self._pickle, MAX_PICKLE_BYTES)
        return plain(_Unpickler(data, self._maker_of, _ADVICE).load())

    def _byte_order(self) -> Literal["<", ">"]:
        name = f"{self._folder}/byteorder"
        order = self._archive.read(name, 16) if name in self._archive.names else b"little"
        if order not in (b"little", b"big"):
            raise ValueError(f"its byte order is {order!r}; it must be little or big")
        return "<" if order == b"little" else ">"

    def _maker_of(self, kind: str) -> Maker | None:
        if kind in _DTYPES:
            return lambda made: made.kind
        makers: dict[str, Maker] = {
            "torch._utils._rebuild_tensor_v2": lambda made: self._tensor(*made.args[:4]),
            # The tensor is a parameter's first argument.
            "torch._utils._rebuild_parameter": lambda made: plain(made.args[0]),
            "torch.Size": lambda made: tuple(plain(made.args[0])),
        }
        return makers.get(kind) or MAKERS.get(kind)

    def _tensor(self, storage: Any, offset: Any, shape: Any, strides: Any) -> NDArray[Any]:
        """A view of a storage: `torch._utils._rebuild_tensor_v2`."""
        if not isinstance(storage, _Storage):
            raise ValueError("a tensor has no storage")
        numbers = (offset, *shape, *strides)
        is_whole = all(type(number) is int and number >= 0 for number in numbers)
        if not is_whole or not len(shape) == len(strides) <= _MAX_DIMENSIONS:
            raise ValueError(f"a tensor has shape {str(shape)[:100]}, strides {str(strides)[:100]}")
        elements = math.prod(shape)
        steps = zip(shape, strides, strict=True)
        last = offset + sum((size - 1) * stride for size, stride in steps)
        if elements > storage.size or (elements and last >= storage.size):
            raise ValueError(
                f"a tensor of shape {str(shape)[:100]} does not fit its storage "
                f"{storage.key[:40]!r} of {storage.size} numbers; copy the file again"
            )
        found = self._storage(storage)
        if elements == 0:
            return np.zeros(shape, found.dtype)
        bytes_apart = [stride * found.itemsize for stride in strides]
        return np.lib.stride_tricks.as_strided(found[offset:], shape, bytes_apart, writeable=False)

    def _storage(self, storage: _Storage) -> NDArray[Any]:
        if storage not in self._storages:
            size = storage.size * storage.dtype.itemsize
            name = f"{self._folder}/data/{storage.key}"
            content = self._archive.read(name, min(size, self._bytes_left))
            if len(content) != size:
                raise ValueError(
                    f"storage {storage.key[:40]!r} has {len(content)} bytes, not the {size} that "
                    "it announces; copy the file again"
                )
            self._bytes_left -= size
            self._storages[storage] = np.frombuffer(
                content, storage.dtype.newbyteorder(self._order)
            )
        return self._storages[storage]

"""Samples items of one Reverb table, block by block.

    Reverb table --items--> ReverbTrajectoryDataset --> BatchDataset --blocks--> Rows

The datasets are native operations of Reverb and TensorFlow, called by name. Reverb's Python class
`TrajectoryDataset` does the same, but imports the whole of TensorFlow.
"""

from __future__ import annotations

import contextlib
import functools
import importlib.util
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from services.replay.failures import SamplingFailed
from services.replay.item_layout import ItemLayout
from services.replay.reverb_library import tensorflow as tf
from services.replay.undecoded_rows import Rows

_REQUEST_ROWS = 32
"""Samples that one sampler has in flight. More would leave the CPU cache before they are assembled;
fewer would take more requests."""
_OPERATIONS = "cc/ops/libgen_reverb_ops_gen_op.so"
"""Reverb's native operations, in its package."""
# Types of the columns: key, probability, items in the table, priority, times sampled, rows.
_COLUMN_TYPES = (np.uint64, np.float64, np.int64, np.float64, np.int32, np.uint8)


class SampleStream:
    """Blocks of items of one table. One thread reads them; any other thread may cancel the read.

    Args:
        address: "host:port" of the replay server, which must have the table.
        table: Name of the table to sample from.
        layout: Shapes of its items.
        block_rows: Rows of a block; also the most samples that all samplers have in flight.
        samplers: Threads that Reverb uses, each with its own stream; fewer for small blocks.
        items: Number of items to sample in total, beyond which none is prefetched; None for no
            limit.
        timeout_ms: Longest wait for the rate limiter, in milliseconds; None for no limit.
    """

    def __init__(
        self,
        address: str,
        table: str,
        layout: ItemLayout,
        *,
        block_rows: int,
        samplers: int = 1,
        items: int | None = None,
        timeout_ms: int | None = None,
    ) -> None:
        self._table = table
        self._layout = layout
        self._cancellation = tf.CancellationManager()
        item = [layout.window, layout.row_dtype.itemsize]
        shapes = [*([] for _ in _COLUMN_TYPES[1:]), item]
        types = [_type_number(one) for one in _COLUMN_TYPES]
        self._output = ("output_types", types, "output_shapes", [[-1, *one] for one in shapes])
        _load_operations()
        samples = _run(
            "ReverbTrajectoryDataset",
            [_tensor(address, np.str_), _tensor(table, np.str_)],
            *("dtypes", types, "shapes", shapes),
            *("max_in_flight_samples_per_worker", min(block_rows, _REQUEST_ROWS)),
            *("num_workers_per_iterator", max(1, min(samplers, block_rows // _REQUEST_ROWS))),
            *("rate_limiter_timeout_ms", -1 if timeout_ms is None else timeout_ms),
            *("max_samples", -1 if items is None else items),
        )
        sizes = [_tensor(block_rows, np.int64), _tensor(False, np.bool_)]
        blocks = _run("BatchDatasetV2", [*samples, *sizes], *self._output)
        options = ("serialized_options", _dataset_options())
        self._dataset = _run("OptionsDataset", blocks, *options, *self._output)
        self._iterator = _run("AnonymousIteratorV3", [], *self._output)

    def open(self) -> bool:
        """Connect, and start sampling; False if the server is unavailable.

        Raises:
            SamplingFailed: the server refused.
        """
        with self._failures():
            try:
                _run("MakeIterator", [*self._dataset, *self._iterator], outputs=0)
            except tf.errors.UnavailableError:
                return False
        return True

    def next_block(self) -> Rows | None:
        """The next block, after `open`; None after the last. Has no timeout besides `timeout_ms`.

        Raises:
            SamplingFailed: the server is down, or refused to sample; or `cancel` was called.
        """
        with self._failures():
            try:
                columns = tf.execute.execute_with_cancellation(
                    b"IteratorGetNext",
                    num_outputs=len(_COLUMN_TYPES),
                    inputs=self._iterator,
                    attrs=self._output,
                    ctx=tf.context(),
                    cancellation_manager=self._cancellation,
                )
            except tf.errors.OutOfRangeError:
                return None
        # These arrays are views of TensorFlow's memory.
        key, probability, table_size, _, _, rows = map(np.asarray, columns)
        return Rows(self._layout.columns(rows), key, probability * table_size)

    def cancel(self) -> None:
        """End a waiting read, and all later reads, with `SamplingFailed`."""
        self._cancellation.start_cancel()

    @contextlib.contextmanager
    def _failures(self) -> Iterator[None]:
        try:
            yield
        except tf.errors.OpError as error:
            raise SamplingFailed(f"sampling {self._table!r} failed: {error}") from error


def _run(operation: str, inputs: list[Any], *attributes: Any, outputs: int = 1) -> list[Any]:
    """Run a native operation; returns its outputs."""
    made: list[Any] = tf.execute.execute(
        operation.encode(), outputs, inputs, attributes, tf.context()
    )
    return made


def _tensor(value: object, kind: type[np.generic]) -> Any:
    context = tf.context()
    context.ensure_initialized()
    return tf.EagerTensor(value, context.device_name, _type_number(kind))


def _type_number(kind: type[np.generic]) -> int:
    number: int = tf.as_dtype(kind).as_datatype_enum
    return number


def _dataset_options() -> bytes:
    """Options without autotuning, which would make TensorFlow prefetch more on more threads."""
    options = tf.DatasetOptions()
    options.autotune_options.enabled = False
    options.optimization_options.apply_default_optimizations = False
    options.threading_options.private_threadpool_size = 1
    serialized: bytes = options.SerializeToString()
    return serialized


@functools.cache
def _load_operations() -> None:
    reverb = importlib.util.find_spec("reverb")
    assert reverb is not None and reverb.submodule_search_locations
    tf.load_library(str(Path(reverb.submodule_search_locations[0], _OPERATIONS)))

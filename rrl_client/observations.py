"""What callers give as observations, as the array that every transport sends.

Anything that is no array has no dtype that somebody chose, so it takes the teacher's: nested lists,
tuples, and objects with `__array__` such as Gymnasium's LazyFrames. An array keeps its own, which
must be the teacher's: float frames of a teacher of uint8 were most likely scaled.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from rrl_client.codec import TeacherDescription, one_observation
from rrl_client.errors import TeacherRejected

_INTEGERS = "biu"
_NUMBERS = "biuf"


def as_observations(given: ArrayLike, about: TeacherDescription | None) -> NDArray[Any]:
    """The array of a query, in the byte order of this machine.

    Args:
        given: [B, *observation_shape]: an array, nested lists of numbers, or an object with
            `__array__`.
        about: What the teacher takes; None where that is not known yet, which only an array may be
            sent without.

    Raises:
        TeacherRejected: It is no array of numbers, a single observation, or its numbers do not fit
            the teacher's dtype.
    """
    array = read_array(given)
    if about is not None:
        if array.shape == about.spec.observation_shape:
            raise TeacherRejected(one_observation(about.spec.observation_shape))
        if array is not given:
            array = in_dtype(array, about.spec.observation_dtype)
    return array if array.dtype.isnative else array.astype(array.dtype.newbyteorder("="))


def read_array(given: ArrayLike) -> NDArray[Any]:
    """An array itself, or what numpy makes of nested lists and of objects with `__array__`.

    Raises:
        TeacherRejected: That is no array of numbers.
    """
    if isinstance(given, np.ndarray):
        return given
    try:
        array: NDArray[Any] = np.asarray(given)
    except Exception as error:
        # `__array__` is the caller's code, or e.g. that of a tensor on another device.
        raise TeacherRejected(
            f"observations are a {type(given).__name__} that is no array ({error}); give a numpy "
            "array [B, ...], or lists whose rows are alike"
        ) from error
    if array.dtype.kind not in _NUMBERS:
        raise TeacherRejected(
            f"observations are a {type(given).__name__} that numpy reads as {array.dtype.name}; "
            "give a numpy array [B, ...], or lists of numbers"
        )
    return array


def in_dtype(array: NDArray[Any], dtype: str) -> NDArray[Any]:
    """Numbers without a dtype that anybody chose, in the teacher's.

    Decimal fractions are rounded to the nearest float32, as they are wherever they become one.

    Args:
        array: What `numpy.asarray` made of lists or the like.
        dtype: The teacher's, one of `spec.OBSERVATION_DTYPES`.

    Raises:
        TeacherRejected: A number has no counterpart in `dtype`.
    """
    found, wanted = array.dtype, np.dtype(dtype)
    if found == wanted or not array.size:
        return array.astype(wanted)
    if wanted.kind in _INTEGERS:
        if found.kind not in _INTEGERS:
            raise TeacherRejected(
                f"observations hold fractions ({found.name}); this teacher takes {dtype}, whole "
                "numbers from 0 to 255: do not scale observations"
            )
        limits = np.iinfo(wanted)
        _check(array, (array >= limits.min) & (array <= limits.max), dtype)
        return array.astype(wanted)
    with np.errstate(over="ignore"):
        made = array.astype(wanted)
    if found.kind in _INTEGERS:
        # Beyond 2 ** 53 the comparison itself would round.
        is_small = (array >= -(2**53)) & (array <= 2**53)
        _check(array, is_small & (made.astype(np.float64) == array), dtype)
    else:
        _check(array, np.isfinite(made) | ~np.isfinite(array), dtype)
    return made


def _check(array: NDArray[Any], fits: NDArray[np.bool_], dtype: str) -> None:
    if not fits.all():
        raise TeacherRejected(
            f"observations hold {array[~fits].flat[0]}, which {dtype} cannot; this teacher takes "
            f"{dtype}"
        )

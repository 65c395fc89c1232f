from __future__ import annotations

import collections
import os
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as numpy_st
from numpy.typing import NDArray

from rrl_agents.checkpoints.safe_unpickling import load_safely
from services.library.confined import Limits, run_confined
from services.shared.errors import UserError

PROTOCOLS = (3, 4, 5)


DTYPE = b"\x80\x03cnumpy\ndtype\n"


class Asks:
    """Pickles as a call of any function with any arguments."""

    def __init__(self, function: Any, *args: Any) -> None:
        self.call = (function, args)

    def __reduce__(self) -> Any:
        return self.call


def assert_refused(data: bytes, pattern: str) -> None:
    """Refused, or damaged, which the unpickler says by an error of nearly any class."""
    with pytest.raises(Exception, match=pattern):
        load_safely(data)


@pytest.mark.parametrize("protocol", PROTOCOLS)
@given(
    array=numpy_st.arrays(
        dtype=st.sampled_from(["f2", "f4", "f8", "i1", "i4", "i8", "u1", "?", ">f4", ">i2"]),
        shape=numpy_st.array_shapes(min_dims=0, max_dims=4, min_side=0, max_side=5),
    ),
    fortran=st.booleans(),
)
def test_arrays_of_numbers_come_back_equal_in_every_protocol(
    protocol: int, array: NDArray[Any], fortran: bool
) -> None:
    array = np.asarray(array, order="F" if fortran else "C")
    loaded = load_safely(pickle.dumps(array, protocol=protocol))
    assert loaded.dtype == array.dtype
    np.testing.assert_array_equal(loaded, array)


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_plain_containers_and_numpy_scalars_come_back_equal(protocol: int) -> None:
    value = {
        "list": [1, -(2**70), 2.5, None, True, b"\xff\x00"],
        "tuple": ((), ("é", np.float32(0.5), np.int64(3))),
        "ordered": collections.OrderedDict([("b", 1), ("a", 2)]),
    }
    loaded = load_safely(pickle.dumps(value, protocol=protocol))
    assert loaded == value
    assert type(loaded["ordered"]) is dict
    assert list(loaded["ordered"]) == ["b", "a"]


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_objects_of_the_installed_jax_flax_and_optax_become_numpy_and_containers(
    protocol: int,
) -> None:
    import flax.core
    import jax.numpy as jnp
    import optax

    params = flax.core.freeze({"params": {"w": jnp.array([[1.0, 2.0]])}})
    state = optax.adam(1e-3).init(params)
    loaded = load_safely(pickle.dumps({"p": params, "s": state}, protocol=protocol))
    assert (type(loaded["p"]), type(loaded["p"]["params"]["w"])) == (dict, np.ndarray)
    np.testing.assert_array_equal(loaded["p"]["params"]["w"], [[1.0, 2.0]])
    # Adam's state is ((count, mu, nu), ()), both moments 0 at the start.
    (count, mu, _), empty = loaded["s"]
    assert (int(count), empty) == (0, ())
    np.testing.assert_array_equal(mu["params"]["w"], [[0.0, 0.0]])


def test_a_class_of_optax_is_kept_as_its_fields_and_never_imported() -> None:
    made_up = b"\x80\x03coptax._src.no_such_module\nState\nK\x05\x85\x81."
    assert load_safely(made_up) == (5,)
    with_fields = b"\x80\x03cflax.optim.base\nOptimizer\n)\x81}X\x01\x00\x00\x00aK\x01sb."
    assert load_safely(with_fields) == {"a": 1}


@pytest.mark.parametrize("protocol", PROTOCOLS)
@pytest.mark.parametrize(
    ("make", "named"),
    [
        (lambda marker: Asks(os.system, f"touch {marker}"), r"posix\.system"),
        (lambda marker: Asks(eval, f"open({str(marker)!r}, 'w')"), r"eval"),
        (lambda marker: Asks(open, str(marker), "w"), r"io\.open"),
        (lambda marker: Asks(getattr, "", "join"), r"getattr"),
        (lambda marker: Asks(np.save, str(marker), np.zeros(1)), r"save"),
        (
            lambda marker: Asks(collections.OrderedDict, [Asks(os.mkdir, str(marker))]),
            r"posix\.mkdir",
        ),
        (lambda marker: {"online_params": Path(marker)}, r"pathlib\..*PosixPath"),
    ],
)
def test_what_a_pickle_wants_run_is_refused_by_name_and_not_run(
    tmp_path: Path, protocol: int, make: Any, named: str
) -> None:
    marker = tmp_path / "ran"
    data = pickle.dumps(make(marker), protocol=protocol)
    assert_refused(data, f"refused: the pickle asks for .*{named}")
    assert not marker.exists()


@pytest.mark.parametrize(
    ("array", "named"),
    [
        (np.array([None, {}], dtype=object), "O8"),
        (np.array(["text"]), "U4"),
        (np.zeros(2, dtype=[("a", "O"), ("b", "f4")]), "V12"),
    ],
)
def test_an_array_of_anything_but_numbers_is_refused(array: NDArray[Any], named: str) -> None:
    assert_refused(pickle.dumps(array), f"refused: an array of type '{named}'")


@pytest.mark.parametrize(
    ("data", "pattern"),
    [
        # The allowed names called with what no pickler gives them.
        (b"\x80\x03cnumpy.core.multiarray\n_reconstruct\nNNN\x87R.", "NoneType"),
        (b"\x80\x03cjax._src.array\n_reconstruct_array\n(NNNNtR.", "NoneType"),
        (b"\x80\x03cnumpy.core.multiarray\nscalar\nX\x02\x00\x00\x00f4C\x04aaaa\x86R.", "dtype"),
        (b"\x80\x03cnumpy.core.multiarray\nscalar\nNN\x86R.", "not a plain numpy dtype"),
        (b"\x80\x03ccollections\nOrderedDict\nK\x01b.", "missing 1 required"),
        (b"\x80\x03cflax.core.frozen_dict\nFrozenDict\n)R.", "NoneType"),
        # A dtype in parts that are harmless one by one.
        (DTYPE + b"X\x02\x00\x00\x00f4\x85R(K\x03X\x02\x00\x00\x00O,tb.", "array of type 'f4'"),
        # State given to the classes themselves, and an instance called.
        (b"\x80\x03cnumpy\ndtype\n}b.", "missing 1 required"),
        (b"\x80\x03cflax.core.frozen_dict\nFrozenDict\nN}\x86b.", "missing 1 required"),
        (b"\x80\x03coptax.x\nState\nN}X\x07\x00\x00\x00__new__K\x01s\x86b.", "missing 1 required"),
        (b"\x80\x03coptax.x\nState\n)\x81)R.", "not callable"),
        # Persistent ids, the extension registry and the opcodes of protocol 0.
        (b"\x80\x03X\x01\x00\x00\x00aQ.", "persistent"),
        (b"\x80\x03\x82\x01.", "extension code"),
        (b"cos\nsystem\n(S'true'\ntR.", r"asks for 'os\.system'"),
        (b"\x80\x03(X\x01\x00\x00\x00aios\nsystem\n.", r"asks for 'os\.system'"),
        (b"\x80\x03(cos\nsystem\nX\x01\x00\x00\x00ao.", r"asks for 'os\.system'"),
        (b"\x80\x04\x8c\x02o\n\x8c\x06system\x93.", r"asks for 'o\\n\.system'"),
        (b"\x80\x03cbuiltins\nbytearray\nJ\xff\xff\xff\x7f\x85R.", "asks for 'builtins.bytearray'"),
        # Keys that cannot be hashed, and too little on the stack.
        (b"\x80\x04}]Ns.", "unhashable"),
        (b"\x80\x04s.", "stack underflow"),
    ],
)
def test_no_opcode_turns_an_allowed_name_into_something_else(data: bytes, pattern: str) -> None:
    assert_refused(data, pattern)
    # What was tried left the allowed names as they were.
    np.testing.assert_array_equal(load_safely(pickle.dumps(np.arange(3))), [0, 1, 2])


def test_an_array_larger_than_its_bytes_is_not_made() -> None:
    data = pickle.dumps(np.zeros((3, 7), dtype="u1"), protocol=4)
    grown = data.replace(b"K\x03K\x07\x86", b"K\xffK\xff\x86")
    assert grown != data
    # 255 * 255 = 65025 bytes of content are promised, 21 are there.
    assert_refused(grown, r"cannot reshape array of size 21 into shape \(255,\s*255\)")


def read_pickle(path: str) -> None:
    load_safely(Path(path).read_bytes())


SHARED_PAIRS = b"X\x01\x00\x00\x00a" + b"q\x00h\x00\x86" * 40
EXPENSIVE: dict[str, tuple[bytes, Limits, str]] = {
    # "a", then forty times: keep it as 0, take it again, make a pair. 2 ** 40 leaves to hash.
    "a key that takes days to hash": (
        b"\x80\x02}" + SHARED_PAIRS + b"Ns.",
        Limits(cpu_seconds=5),
        "CPU time limit exceeded",
    ),
    # The memo is an array as long as its largest index.
    "a place far away": (b"\x80\x03Nr\xff\xff\xff\xff.", Limits(), "more than 4294967296 bytes of"),
    "a length far beyond the file": (
        b"\x80\x04\x8e" + bytes(5) + b"\x01\0\0.",
        Limits(),
        "more than 4294967296 bytes of memory",
    ),
    "a list that contains itself": (b"\x80\x04]\x94h\0a.", Limits(), "failed .RecursionError"),
    # One byte each in the file; a list takes some 70 bytes of memory.
    "millions of lists": (
        b"\x80\x04](" + b"]" * 4_000_000 + b"e.",
        Limits(memory_bytes=256 << 20),
        "more than 268435456 bytes of memory",
    ),
    # Python hashes a tuple by recursion in C.
    "a key that nests deep": (
        b"\x80\x02})" + b"\x85" * 1_000_000 + b"Ns.",
        Limits(),
        "Segmentation fault",
    ),
}


@pytest.mark.parametrize("what", EXPENSIVE)
def test_a_pickle_that_costs_or_breaks_too_much_ends_at_the_wall(what: str, tmp_path: Path) -> None:
    content, limits, words = EXPENSIVE[what]
    (tmp_path / "ckpt.0").write_bytes(content)
    with pytest.raises(UserError, match=f"{words}.* copy it again from a source you trust"):
        run_confined(f"{__name__}:read_pickle", {"path": tmp_path / "ckpt.0"}, limits=limits)

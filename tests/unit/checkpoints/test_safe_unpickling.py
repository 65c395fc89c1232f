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

from rrl_agents.checkpoints.safe_unpickling import load_safely, loads_safely
from services.library import confined
from services.library.confined import Limits, run_confined
from services.shared.errors import UserError

PROTOCOLS = (2, 3, 4, 5)


class Asks:
    """Pickles as a call of any function with any arguments."""

    def __init__(self, function: Any, *args: Any) -> None:
        self.call = (function, args)

    def __reduce__(self) -> Any:
        return self.call


def assert_refused(data: bytes, pattern: str) -> None:
    with pytest.raises(ValueError, match=pattern) as caught:
        loads_safely(data)
    assert "\n" not in str(caught.value)


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
    loaded = loads_safely(pickle.dumps([array, array], protocol=protocol))
    assert loaded[0].dtype == array.dtype
    assert loaded[0] is loaded[1]
    np.testing.assert_array_equal(loaded[0], array)


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_plain_containers_and_numpy_scalars_come_back_equal(protocol: int) -> None:
    value = {
        "list": [1, -(2**70), 2.5, None, True, b"\xff\x00"],
        "tuple": ((), ("é", np.float32(0.5), np.int64(3))),
        "ordered": collections.OrderedDict([("b", 1), ("a", 2)]),
    }
    loaded = loads_safely(pickle.dumps(value, protocol=protocol))
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
    loaded = loads_safely(pickle.dumps({"p": params, "s": state}, protocol=protocol))
    assert type(loaded["p"]) is dict
    assert type(loaded["p"]["params"]["w"]) is np.ndarray
    np.testing.assert_array_equal(loaded["p"]["params"]["w"], [[1.0, 2.0]])
    # Adam's state is ((count, mu, nu), ()), both moments 0 at the start.
    (count, mu, _), empty = loaded["s"]
    assert (int(count), empty) == (0, ())
    np.testing.assert_array_equal(mu["params"]["w"], [[0.0, 0.0]])


def test_a_class_of_optax_is_kept_as_its_fields_and_never_imported() -> None:
    made_up = b"\x80\x03coptax._src.no_such_module\nState\nK\x05\x85\x81."
    assert loads_safely(made_up) == (5,)
    with_fields = b"\x80\x03cflax.optim.base\nOptimizer\n)\x81}X\x01\x00\x00\x00aK\x01sb."
    assert loads_safely(with_fields) == {"a": 1}


@pytest.mark.parametrize("protocol", PROTOCOLS)
@pytest.mark.parametrize(
    ("make", "named"),
    [
        (lambda marker: Asks(os.system, f"touch {marker}"), r"posix\.system"),
        (lambda marker: Asks(eval, f"open({str(marker)!r}, 'w')"), r"eval"),
        (lambda marker: Asks(open, str(marker), "w"), r"io\.open"),
        (lambda marker: Asks(getattr, "", "join"), r"getattr"),
        (lambda marker: Asks(np.save, str(marker), np.zeros(1)), r"save"),
        (lambda marker: Asks(dict, [Asks(os.mkdir, str(marker))]), r"posix\.mkdir"),
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


def test_a_name_that_would_break_the_line_is_shown_escaped() -> None:
    asks = b"\x80\x04\x8c\x02o\n\x8c\x06system\x93."
    assert_refused(asks, r"asks for 'o\\n\.system'")


def test_an_array_of_objects_is_refused_even_if_its_objects_are_harmless() -> None:
    data = pickle.dumps(np.array([None, {}], dtype=object))
    assert_refused(data, "refused: an array of type 'O8'")
    assert_refused(pickle.dumps(np.array(["text"])), "refused: an array of type 'U4'")


def test_a_structured_array_is_refused() -> None:
    assert_refused(pickle.dumps(np.zeros(2, dtype=[("a", "O"), ("b", "f4")])), "refused")


@pytest.mark.parametrize(
    ("data", "pattern"),
    [
        # The allowed names called with what no pickler gives them.
        (b"\x80\x03cnumpy\nndarray\nK\x05\x85R.", "calls numpy.ndarray itself"),
        (b"\x80\x03cnumpy\nndarray\n)\x81.", "calls numpy.ndarray itself"),
        (b"\x80\x03cnumpy.core.multiarray\n_reconstruct\nNNN\x87R.", "damaged"),
        (b"\x80\x03cjax._src.array\n_reconstruct_array\n(c_codecs\nencode\n)NNtR.", "damaged"),
        (b"\x80\x03cnumpy.core.multiarray\nscalar\nX\x02\x00\x00\x00f4C\x04aaaa\x86R.", "dtype"),
        (b"\x80\x03cnumpy.core.multiarray\nscalar\nNN\x86R.", "not a plain numpy dtype"),
        (b"\x80\x03c_codecs\nencode\nX\x01\x00\x00\x00aX\x03\x00\x00\x00hex\x86R.", "latin1"),
        (b"\x80\x03cbuiltins\nbytearray\nJ\xff\xff\xff\x7f\x85R.", "damaged"),
        (b"\x80\x03cbuiltins\nset\nK\x01\x85R.", "damaged"),
        (b"\x80\x03ccollections\nOrderedDict\nK\x01\x85R.", "damaged"),
        (b"\x80\x03cflax.core.frozen_dict\nFrozenDict\n)R.", "damaged"),
        # State given to the classes themselves, and an instance called.
        (b"\x80\x03cnumpy\ndtype\n}b.", "damaged"),
        (b"\x80\x03cflax.core.frozen_dict\nFrozenDict\nN}\x86b.", "damaged"),
        (b"\x80\x03coptax.x\nState\nN}X\x07\x00\x00\x00__new__K\x01s\x86b.", "damaged"),
        (b"\x80\x03coptax.x\nState\n)\x81)R.", "damaged"),
        # A class left as a value.
        (b"\x80\x03cnumpy\ndtype\n.", "holds a callable"),
        (b"\x80\x03coptax.x\nState\n.", "holds a callable"),
        # Persistent ids, the extension registry and the opcodes of protocol 0.
        (b"\x80\x03X\x01\x00\x00\x00aQ.", "damaged"),
        (b"\x80\x03\x82\x01.", "damaged"),
        (b"cos\nsystem\n(S'true'\ntR.", r"asks for os\.system"),
        (b"\x80\x03(X\x01\x00\x00\x00aios\nsystem\n.", r"asks for os\.system"),
        (b"\x80\x03(cos\nsystem\nX\x01\x00\x00\x00ao.", r"asks for os\.system"),
        # Sizes: the memo is an array as long as its largest index.
        (b"\x80\x03Nr\xff\xff\xff\xff.", "memo index 4294967295 in 9 bytes"),
        (b"\x80\x02Np4000000000\n.", "memo index 4000000000 in 16 bytes"),
        (b"\x80\x04\x8e" + bytes(5) + b"\x01\0\0.", "damaged .* only 1 remain"),
        (b"\x80\x05\x96" + bytes(5) + b"\x01\0\0.", "damaged .* only 1 remain"),
        # Keys that cannot be hashed, and too little on the stack.
        (b"\x80\x04}]Ns.", "damaged"),
        (b"\x80\x04s.", "damaged"),
    ],
)
def test_no_opcode_turns_an_allowed_name_into_something_else(data: bytes, pattern: str) -> None:
    assert_refused(data, pattern)
    # What was tried left the allowed names as they were.
    np.testing.assert_array_equal(loads_safely(pickle.dumps(np.arange(3))), [0, 1, 2])


def test_an_array_larger_than_its_bytes_is_not_made() -> None:
    data = pickle.dumps(np.zeros((3, 7), dtype="u1"), protocol=4)
    grown = data.replace(b"K\x03K\x07\x86", b"K\xffK\xff\x86")
    assert grown != data
    # 255 * 255 = 65025 bytes of content are promised, 21 are there.
    assert_refused(grown, r"cannot reshape array of size 21 into shape \(255,\s*255\)")


def test_the_slots_of_flaxs_first_frozen_dicts_are_read() -> None:
    name = b"\x80\x03cflax.core.frozen_dict\nFrozenDict\n)\x81"
    slots = b"}(X\x05\x00\x00\x00_dict}X\x01\x00\x00\x00aK\x01sX\x05\x00\x00\x00_hashNu"
    assert loads_safely(name + b"N" + slots + b"\x86b.") == {"a": 1}


def test_a_list_that_contains_itself_is_refused() -> None:
    endless: list[Any] = []
    endless.append(endless)
    assert_refused(pickle.dumps(endless), "nest too deep or contain themselves")


def test_an_ordered_dict_of_python_2_comes_with_its_items() -> None:
    name = b"\x80\x02ccollections\nOrderedDict\n"
    pair = b"](X\x01\x00\x00\x00aK\x01e"
    assert loads_safely(name + b"]" + pair + b"a\x85R.") == {"a": 1}


def test_shared_parts_are_converted_once_however_often_they_are_named() -> None:
    laughs: Any = [1]
    for _ in range(40):  # Spelt out it would hold 2 ** 40 numbers.
        laughs = [laughs, laughs]
    loaded = loads_safely(pickle.dumps(laughs))
    assert loaded[0] is loaded[1]


def test_a_file_over_the_limit_is_not_read_to_its_end(tmp_path: Path) -> None:
    file = tmp_path / "ckpt.0"
    file.write_bytes(pickle.dumps([0] * 1000))
    with pytest.raises(ValueError, match=r"ckpt\.0: [0-9]+ bytes, more than the 100"):
        load_safely(file, max_bytes=100)


def test_an_unreadable_file_is_an_error_with_its_path(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="absent: cannot be read"):
        load_safely(tmp_path / "absent")


def read_pickle(path: str) -> None:
    load_safely(Path(path))


SHARED_PAIRS = b"X\x01\x00\x00\x00a" + b"q\x00h\x00\x86" * 40
EXPENSIVE: dict[str, tuple[bytes, Limits, str]] = {
    # "a", then forty times: keep it as 0, take it again, make a pair. 2 ** 40 leaves to hash.
    "a key that takes days to hash": (
        b"\x80\x02}" + SHARED_PAIRS + b"Ns.",
        Limits(cpu_seconds=5),
        "more than 5 s of CPU time",
    ),
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
def test_a_pickle_that_costs_or_breaks_too_much_ends_at_the_wall(
    what: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    content, limits, words = EXPENSIVE[what]
    (tmp_path / "ckpt.0").write_bytes(content)
    monkeypatch.setattr(confined, "PACKAGES", (__name__,))
    with pytest.raises(UserError, match=f"{words}.* copy it again from a source you trust"):
        run_confined(f"{__name__}:read_pickle", {"path": tmp_path / "ckpt.0"}, limits=limits)

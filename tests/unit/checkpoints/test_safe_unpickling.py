from __future__ import annotations

import collections
import os
import pickle
import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as numpy_st
from numpy.typing import NDArray

from rrl_agents.checkpoints import pickled_sizes
from rrl_agents.checkpoints.safe_unpickling import load_safely, loads_safely

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
        # The allow-listed callables called with what no pickler gives them.
        (b"\x80\x03cnumpy\nndarray\nK\x05\x85R.", "calls numpy.ndarray itself"),
        (b"\x80\x03cnumpy\nndarray\n)\x81.", "damaged"),
        (b"\x80\x03cnumpy.core.multiarray\n_reconstruct\nNNN\x87R.", "another class"),
        (
            b"\x80\x03cjax._src.array\n_reconstruct_array\n(c_codecs\nencode\n)NNtR.",
            "not made by numpy's _reconstruct",
        ),
        (b"\x80\x03cnumpy.core.multiarray\nscalar\nX\x02\x00\x00\x00f4C\x04aaaa\x86R.", "dtype"),
        (b"\x80\x03c_codecs\nencode\nX\x01\x00\x00\x00aX\x03\x00\x00\x00hex\x86R.", "latin1"),
        (b"\x80\x03cbuiltins\nbytearray\nJ\xff\xff\xff\x7f\x85R.", "bytearray"),
        (b"\x80\x03cnumpy.core.multiarray\nscalar\nNN\x86R.", "not a plain numpy dtype"),
        (b"\x80\x03cflax.core.frozen_dict\nFrozenDict\nK\x01\x85R.", "else than a dict"),
        (
            b"\x80\x03cnumpy.core.multiarray\n_reconstruct\ncnumpy\nndarray\nNN\x87R.",
            "an array without content",
        ),
        # State given to the stand-ins themselves, which later pickles would meet.
        (b"\x80\x03cnumpy\ndtype\n}b.", "gives state to a callable"),
        (b"\x80\x03cflax.core.frozen_dict\nFrozenDict\nN}\x86b.", "damaged"),
        (b"\x80\x03coptax.x\nState\nN}X\x07\x00\x00\x00__new__K\x01s\x86b.", "damaged"),
        # A callable left as a value.
        (b"\x80\x03cnumpy\ndtype\n.", "holds a callable"),
        (b"\x80\x03coptax.x\nState\n.", "holds a callable"),
        # Persistent ids, the extension registry and protocol 0.
        (b"\x80\x03X\x01\x00\x00\x00aQ.", "opcode BINPERSID at byte 8"),
        (b"\x80\x03\x82\x01.", "opcode EXT1"),
        (b"cos\nsystem\n(S'true'\ntR.", "opcode STRING"),
        (b"\x80\x03(X\x01\x00\x00\x00aios\nsystem\n.", "opcode INST"),
    ],
)
def test_no_opcode_turns_an_allowed_name_into_something_else(data: bytes, pattern: str) -> None:
    assert_refused(data, pattern)
    # What was tried left the stand-ins as they were.
    np.testing.assert_array_equal(loads_safely(pickle.dumps(np.arange(3))), [0, 1, 2])


def test_an_array_larger_than_its_bytes_is_not_made() -> None:
    data = pickle.dumps(np.zeros((3, 7), dtype="u1"), protocol=4)
    grown = data.replace(b"K\x03K\x07\x86", b"K\xffK\xff\x86")
    assert grown != data
    # 255 * 255 = 65025 bytes of content are promised, 21 are there.
    assert_refused(grown, r"shape \(255, 255\) has 21 bytes, needs 65025")


@pytest.mark.parametrize(
    ("shape", "raw", "message"),
    [
        (b"K\x01", b"C\x01a", "no short tuple"),
        (b"J\xff\xff\xff\xff\x85", b"C\x01a", "something else than numbers"),
        (b"\x88\x85", b"C\x01a", "something else than numbers"),
        (b"K\x01\x85", b"X\x01\x00\x00\x00a", "content is not bytes"),
    ],
)
def test_an_array_of_impossible_shape_or_content_is_refused(
    shape: bytes, raw: bytes, message: str
) -> None:
    # _frombuffer(raw, dtype("u1"), shape, "C"), as protocol 5 has it.
    data = b"\x80\x03cnumpy.core.numeric\n_frombuffer\n(" + raw
    data += b"cnumpy\ndtype\nX\x02\x00\x00\x00u1\x85R" + shape
    assert_refused(data + b"X\x01\x00\x00\x00CtR.", message)


def test_the_slots_of_flaxs_first_frozen_dicts_are_read() -> None:
    name = b"\x80\x03cflax.core.frozen_dict\nFrozenDict\n)\x81"
    slots = b"}(X\x05\x00\x00\x00_dict}X\x01\x00\x00\x00aK\x01sX\x05\x00\x00\x00_hashNu"
    assert loads_safely(name + b"N" + slots + b"\x86b.") == {"a": 1}


def test_a_huge_memo_index_is_refused_before_memory_is_taken() -> None:
    bomb = b"\x80\x03Nr" + struct.pack("<I", 2**32 - 1) + b"."
    assert_refused(bomb, "memo index 4294967295 after 0 entries")


def test_more_opcodes_or_containers_than_an_agent_has_are_refused_before_they_are_made(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # One byte each in the file; a list and what keeps track of it take some 280 bytes of memory.
    lists = b"\x80\x04](" + b"]" * 100 + b"e."
    numbers = b"\x80\x04](" + b"K\x01" * 100 + b"e."
    assert loads_safely(lists) == [[]] * 100
    monkeypatch.setattr(pickled_sizes, "MAX_OBJECTS", 100)
    assert_refused(lists, "that make containers")
    assert loads_safely(numbers) == [1] * 100
    monkeypatch.setattr(pickled_sizes, "MAX_OPCODES", 100)
    assert_refused(numbers, "more than 100 opcodes")


def test_a_huge_promised_length_is_refused_before_memory_is_taken() -> None:
    assert_refused(b"\x80\x04\x8e" + struct.pack("<Q", 2**40) + b".", "truncated or damaged")


def test_a_list_that_contains_itself_is_refused() -> None:
    endless: list[Any] = []
    endless.append(endless)
    assert_refused(pickle.dumps(endless), "contain themselves")


def _with_key(pushes_key: bytes) -> bytes:
    """The dict {key: None} by SETITEM, in protocol 4."""
    return b"\x80\x04}" + pushes_key + b"Ns."


def test_a_key_whose_hash_would_take_days_is_refused_unhashed() -> None:
    # "a", then forty times: keep it as 0, take it again, make a pair. 2 ** 40 leaves.
    nest = b"X\x01\x00\x00\x00a" + b"q\x00h\x00\x86" * 40
    for item in (nest + b"Ns", b"(" + nest + b"Nu", b"(K\x01N" + nest + b"Nu"):
        assert_refused(b"\x80\x02}" + item + b".", "a key that is neither text nor a small number")
    # As a value it costs nothing.
    assert set(loads_safely(b"\x80\x02}K\x01" + nest + b"s.")) == {1}


@pytest.mark.parametrize(
    "pushes_key",
    [
        b"\x8a\x09" + (5 * (2**61 - 1)).to_bytes(9, "little"),  # one hash for all such numbers
        b"G?\xf0\x00\x00\x00\x00\x00\x00",
        b"\x8c\x09optax.any\x8c\x05State\x93)\x81",
        b"\x8c\x07_codecs\x8c\x06encode\x93\x8c\x01a\x8c\x06latin1\x86R",
        b"(" + b"K\x01" * 100 + b"t",
    ],
)
def test_a_key_of_an_odd_kind_is_refused(pushes_key: bytes) -> None:
    assert_refused(_with_key(pushes_key), "a key that is neither text nor a small number")


def test_a_key_that_is_a_container_or_a_callable_is_refused() -> None:
    assert_refused(_with_key(b"]"), "damaged")
    assert_refused(
        _with_key(b"\x8c\x05numpy\x8c\x05dtype\x93"), "only text and numbers are read as keys"
    )


def test_small_tuples_of_text_and_numbers_are_fine_as_keys() -> None:
    value = {("params", ("Dense_0", 1)): 1, 2: 3, None: 4, True: 5}
    for protocol in PROTOCOLS:
        assert loads_safely(pickle.dumps(value, protocol=protocol)) == value


def test_an_ordered_dict_of_python_2_comes_with_its_items() -> None:
    name = b"\x80\x02ccollections\nOrderedDict\n"
    pair = b"](X\x01\x00\x00\x00aK\x01e"
    assert loads_safely(name + b"]" + pair + b"a\x85R.") == {"a": 1}
    number = b"](K\x01K\x01e"
    assert_refused(name + b"]" + number + b"a\x85R.", "whose keys are not text")


def test_the_stack_of_a_pickle_is_followed_as_python_does() -> None:
    # POP may take a value or a mark, POP_MARK all down to one; both leave "a": 1.
    assert loads_safely(b"\x80\x04N0(0(NN1}\x8c\x01aK\x01s.") == {"a": 1}
    for underflow in (b"\x80\x04s.", b"\x80\x04t.", b"\x80\x04}N\x85s.", b"\x80\x04h\x07."):
        assert_refused(underflow, "damaged")


def test_shared_parts_are_converted_once_however_often_they_are_named() -> None:
    laughs: Any = [1]
    for _ in range(40):  # Spelt out it would hold 2 ** 40 numbers.
        laughs = [laughs, laughs]
    loaded = loads_safely(pickle.dumps(laughs))
    assert loaded[0] is loaded[1]


@given(st.binary(max_size=200))
def test_random_bytes_give_a_value_or_a_one_line_error(data: bytes) -> None:
    for candidate in (data, b"\x80\x04" + data + b"."):
        try:
            loads_safely(candidate)
        except ValueError as error:
            assert "\n" not in str(error)


@given(data=st.data())
def test_a_flipped_or_cut_checkpoint_never_raises_anything_but_one_line(
    data: st.DataObject,
) -> None:
    whole = pickle.dumps({"a": np.arange(4, dtype="f4"), "b": [(1, 2.0), "x"]}, protocol=4)
    cut = data.draw(st.integers(0, len(whole) - 1))
    with pytest.raises(ValueError, match="truncated or damaged"):
        loads_safely(whole[:cut])
    flipped = bytearray(whole)
    flipped[cut] ^= data.draw(st.integers(1, 255))
    try:
        loads_safely(bytes(flipped))
    except ValueError as error:
        assert "\n" not in str(error)


def test_a_file_over_the_limit_is_not_read_to_its_end(tmp_path: Path) -> None:
    file = tmp_path / "ckpt.0"
    file.write_bytes(pickle.dumps([0] * 1000))
    with pytest.raises(ValueError, match=r"ckpt\.0: [0-9]+ bytes, more than the 100"):
        load_safely(file, max_bytes=100)


def test_an_unreadable_file_is_an_error_with_its_path(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="absent: cannot be read"):
        load_safely(tmp_path / "absent")

"""Gin text: what the released code's files use is read, nothing is run, the rest is refused."""

from __future__ import annotations

import sys
from pathlib import Path

import gin
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from services.cli.gin.reading import MAX_BYTES, SHIPPED, Binding, Reference, read
from services.shared.errors import UserError


def bound(*single: str) -> list[Binding]:
    return read([], single)[0]


def values_of(*files: str, single: tuple[str, ...] = ()) -> list[object]:
    return [one.value for one in read(files, single)[0]]


def written(path: Path, text: str) -> str:
    path.write_text(text)
    return str(path)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("20000  # agent steps", 20_000),
        ("1e-4", 1e-4),
        ("10.", 10.0),
        ("-1", -1),
        ("'adam'", "adam"),
        ("True", True),
        ("None", None),
        ("(16, 32, 32)", (16, 32, 32)),
        ("[1, 2]", [1, 2]),
        ("@ImpalaRainbowNetwork", Reference(name="ImpalaRainbowNetwork")),
        ("@networks.Net()", Reference(name="networks.Net", called=True)),
    ],
)
def test_values_are_read(text: str, value: object) -> None:
    assert values_of(single=(f"A.b = {text}",)) == [value]


def test_a_block_is_the_same_as_single_bindings_and_names_may_have_modules(tmp_path: Path) -> None:
    file = written(tmp_path / "a.gin", "dqn_agent.JaxDQNAgent:\n  gamma = 0.9\n  n = 3\n")
    assert read([file], ["dqn_agent.JaxDQNAgent.n = 4"])[0] == [
        Binding(selector="dqn_agent.JaxDQNAgent", parameter=name, value=value, origin=o, where=w)
        for name, value, o, w in (
            ("gamma", 0.9, file, f"{file} line 2"),
            ("n", 3, file, f"{file} line 3"),
            ("n", 4, "--gin_bindings", "--gin_bindings"),
        )
    ]


def test_imports_are_skipped_and_import_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "imported_by_gin.py").write_text("raise AssertionError('imported')\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    text = (
        "import imported_by_gin\nfrom imported_by_gin import x as y\nA.b = @imported_by_gin.x()\n"
    )
    assert values_of(written(tmp_path / "a.gin", text)) == [
        Reference(name="imported_by_gin.x", called=True)
    ]
    assert "imported_by_gin" not in sys.modules


def test_gins_global_state_stays_as_it_is() -> None:
    bound("A.b = 1", "n = 2")
    assert gin.config_str() == ""


def test_a_scope_is_refused_with_what_to_give_instead() -> None:
    with pytest.raises(UserError, match=r"bindings: s/A.b has the scope 's'.*give A\.b"):
        bound("s/A.b = 1")


@pytest.mark.parametrize(
    "text",
    [
        "A.b = Pong",
        "A.b 1",
        "A.b =",
        "A.b = (1",
        "A.b = {[1]: 2}",
        "= 1",
        "A.b = 1 2",
        "A.b = open('x')",
        "A.b = '" + "\\",
        "A:\nb = 1",
        "\x00",
        "A.b = " + "(" * 5_000,
        "%a.value = 1",
    ],
)
def test_what_is_no_gin_is_refused_with_the_form_it_should_have(text: str, tmp_path: Path) -> None:
    file = written(tmp_path / "a.gin", text)
    with pytest.raises(UserError, match=r"a.gin.* is no gin .*NAME\.PARAMETER = VALUE"):
        read([file], [])


def test_the_line_that_is_no_gin_is_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"a.gin line 2 is no gin .*'A.b = Pong'"):
        read([written(tmp_path / "a.gin", "A.a = 1\nA.b = Pong\n")], [])


@settings(deadline=None)
@given(st.text(max_size=200))
def test_any_text_is_read_or_refused(text: str) -> None:
    try:
        bound(text)
    except UserError as error:
        assert "gin" in str(error)


def test_bindings_stand_in_their_order(tmp_path: Path) -> None:
    first = written(tmp_path / "first.gin", "A.b = 1\nA.b = 2")
    last = written(tmp_path / "last.gin", "A.b = 3")
    assert values_of(first, last, single=("A.b = 4", "A.b = 5")) == [1, 2, 3, 4, 5]


@pytest.mark.parametrize(
    ("text", "advice"),
    [
        ("include 'more.gin'", "give more.gin as one more of --gin_files"),
        ("A.b = (1, %n)", "write the value of %n in its place"),
    ],
)
def test_includes_and_macros_are_refused_with_what_to_give_instead(text: str, advice: str) -> None:
    with pytest.raises(UserError, match=advice):
        bound(text)


@pytest.mark.parametrize("start", ["", "./", "no/such/place/", "/no/such/place/"])
def test_a_path_of_the_released_code_stands_for_our_file_of_that_name(start: str) -> None:
    found, notes = read([f"{start}reincarnating_rl/configs/qdagger_dqn.gin"], [])
    ours, _ = read([str(SHIPPED / "qdagger_dqn.gin")], [])
    assert [(one.parameter, one.value) for one in found] == [
        (one.parameter, one.value) for one in ours
    ]
    assert "comes with rrl" in notes[0]


@pytest.mark.parametrize(
    "name", ["qdagger_dqn.gin", "configs/qdagger_dqn.gin", "/x/qdagger_dqn.gin"]
)
def test_no_other_name_is_replaced_by_ours(name: str) -> None:
    with pytest.raises(UserError, match="is not there") as refused:
        read([name], [])
    assert "give reincarnating_rl/configs/qdagger_dqn.gin;" in str(refused.value)


def test_a_file_that_is_nowhere_is_refused_with_the_nearest_and_all_there_are() -> None:
    with pytest.raises(
        UserError, match=r"qdager_dqn\.gin is not there.* give \S*/qdagger_dqn\.gin.*drq"
    ):
        read(["qdager_dqn.gin"], [])
    with pytest.raises(UserError, match="none of the released code; rrl ships dqfd_dqn.gin"):
        read(["zzz.gin"], [])


@pytest.mark.parametrize("content", [b"#" * (MAX_BYTES + 1), b"\xff\xfe"])
def test_a_file_that_is_too_large_or_no_text_is_refused(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "a.gin").write_bytes(content)
    with pytest.raises(UserError, match="--gin_files: "):
        read([str(tmp_path / "a.gin")], [])

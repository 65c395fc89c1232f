"""Gin text: what the released code's files use is read, nothing is run, the rest is refused."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from services.cli.gin.parsing import (
    COMMAND_LINE,
    Binding,
    Include,
    MacroDefinition,
    Reference,
    parse,
)
from services.cli.gin.reading import MAX_BYTES, SHIPPED, read
from services.shared.errors import UserError


def only(text: str) -> Binding:
    (found,) = parse(text, "a.gin")
    assert isinstance(found, Binding)
    return found


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
    assert only(f"A.b = {text}").value == value


def test_a_name_may_have_modules_before_it() -> None:
    found = only("atari_lib.create_atari_environment.game_name = 'Pong'")
    assert found.selector == "atari_lib.create_atari_environment"
    assert found.parameter == "game_name"
    assert found.where == "a.gin line 1"


def test_blocks_are_the_same_as_single_bindings() -> None:
    first, second = parse("JaxDQNAgent:\n  gamma = 0.9\n  update_horizon = 3\n", "a.gin")
    assert isinstance(first, Binding)
    assert isinstance(second, Binding)
    assert (first.selector, first.parameter, first.value) == ("JaxDQNAgent", "gamma", 0.9)
    assert (second.parameter, second.value, second.where) == ("update_horizon", 3, "a.gin line 3")


def test_imports_are_read_over_and_import_nothing(tmp_path: Path) -> None:
    (tmp_path / "imported_by_gin.py").write_text("raise AssertionError('imported')\n")
    sys.path.insert(0, str(tmp_path))
    try:
        text = "import imported_by_gin\nfrom imported_by_gin import x as y\nA.b = 1\n"
        assert only(text).value == 1
    finally:
        sys.path.remove(str(tmp_path))
    assert "imported_by_gin" not in sys.modules


def test_macros_and_includes_are_statements_of_their_own() -> None:
    macro, long_form, include = parse("n = 3\nm/macro.value = 4\ninclude 'b.gin'\n", "a.gin")
    assert macro == MacroDefinition(name="n", value=3, where="a.gin line 1")
    assert long_form == MacroDefinition(name="m", value=4, where="a.gin line 2")
    assert include == Include(path="b.gin", where="a.gin line 3")


def test_a_scope_is_refused_with_what_to_give_instead() -> None:
    with pytest.raises(UserError, match=r"a.gin line 1: s/A.b has the scope 's'.*give A\.b"):
        parse("s/A.b = 1", "a.gin")


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
def test_what_is_no_gin_is_refused_with_the_form_it_should_have(text: str) -> None:
    with pytest.raises(UserError, match=r"a.gin.* is no gin .*NAME\.PARAMETER = VALUE"):
        parse(text, "a.gin")


@settings(deadline=None)
@given(st.text(max_size=200))
def test_any_text_is_read_or_refused(text: str) -> None:
    try:
        parse(text, COMMAND_LINE)
    except UserError as error:
        assert "--gin_bindings" in str(error)


def written(path: Path, text: str) -> str:
    path.write_text(text)
    return str(path)


def test_of_two_bindings_both_stand_in_their_order_and_single_ones_come_last(
    tmp_path: Path,
) -> None:
    first = written(tmp_path / "1.gin", "A.b = 1")
    second = written(tmp_path / "2.gin", "A.b = 2")
    found = read([first, second], ["A.b = 3"])
    assert [one.value for one in found.bindings] == [1, 2, 3]
    assert found.bindings[2].where == found.bindings[2].origin == "--gin_bindings"


def test_an_included_file_counts_where_it_is_included(tmp_path: Path) -> None:
    inner = written(tmp_path / "inner.gin", "A.b = 2")
    outer = written(tmp_path / "outer.gin", f"A.b = 1\ninclude '{inner}'\nA.b = 3")
    assert [one.value for one in read([outer], []).bindings] == [1, 2, 3]


def test_the_command_line_may_include_a_file(tmp_path: Path) -> None:
    inner = written(tmp_path / "inner.gin", "A.b = 1")
    assert [one.value for one in read([], [f"include '{inner}'", "A.b = 2"]).bindings] == [1, 2]
    with pytest.raises(UserError, match="none.gin is not there"):
        read([], ["include 'none.gin'"])


def test_a_macro_that_nothing_uses_is_told() -> None:
    # For "Runner.num_iterations = 3", likely.
    found = read([], ["num_iterations = 3", "n = 4", "A.b = (1, %n)"])
    assert found.notes == (
        "--gin_bindings: num_iterations = ... gives a macro that nothing uses; a binding is "
        "NAME.PARAMETER = VALUE",
    )


def test_macros_are_their_values_wherever_they_are_defined(tmp_path: Path) -> None:
    file = written(tmp_path / "a.gin", "A.b = %n\nA.c = (%n, [%m])\nm = %n\nn = 3")
    assert [one.value for one in read([file], []).bindings] == [3, (3, [3])]
    # The command line's definition comes last.
    assert read([file], ["n = 4"]).bindings[0].value == 4


def test_macros_without_an_end_or_a_definition_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="the macro %n is defined by itself"):
        read([written(tmp_path / "a.gin", "n = %m\nm = %n\nA.b = %n")], [])
    with pytest.raises(UserError, match="nothing defines the macro %step; did you mean %steps"):
        read([], ["steps = 1", "A.b = %step"])


def test_files_that_include_each_other_are_refused(tmp_path: Path) -> None:
    one, other = tmp_path / "1.gin", tmp_path / "2.gin"
    one.write_text(f"include '{other}'")
    other.write_text(f"include '{one}'")
    with pytest.raises(UserError, match="include each other"):
        read([str(one)], [])


@pytest.mark.parametrize("start", ["", "./", "no/such/place/", "/no/such/place/"])
def test_a_path_of_the_released_code_stands_for_our_file_of_that_name(start: str) -> None:
    released = f"{start}reincarnating_rl/configs/qdagger_dqn.gin"
    found = read([released], [])
    ours = parse((SHIPPED / "qdagger_dqn.gin").read_text(), released)
    assert found.bindings == tuple(one for one in ours if isinstance(one, Binding))
    assert "comes with rrl" in found.notes[0]


@pytest.mark.parametrize(
    "name", ["qdagger_dqn.gin", "configs/qdagger_dqn.gin", "/x/qdagger_dqn.gin"]
)
def test_no_other_name_is_replaced_by_ours(name: str, tmp_path: Path) -> None:
    including = written(tmp_path / "mine.gin", f"include '{name}'")
    for file in (name, including):
        with pytest.raises(UserError, match="is not there") as refused:
            read([file], [])
        assert "give reincarnating_rl/configs/qdagger_dqn.gin;" in str(refused.value)


def test_an_include_is_looked_for_beside_its_file_and_then_in_the_current_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "files" / "deeper").mkdir(parents=True)
    current = tmp_path / "current"
    current.mkdir()
    outer = written(tmp_path / "files" / "outer.gin", "include 'deeper/middle.gin'")
    written(tmp_path / "files" / "deeper" / "middle.gin", "include 'qdagger_dqn.gin'")
    monkeypatch.chdir(current)
    # The name is one of ours, too.
    with pytest.raises(UserError, match=r"qdagger_dqn.gin is not there .*deeper or .*current\)"):
        read([outer], [])
    written(current / "qdagger_dqn.gin", "A.b = 1")
    assert [one.value for one in read([outer], []).bindings] == [1]
    written(tmp_path / "files" / "deeper" / "qdagger_dqn.gin", "A.b = 2")
    found = read([outer], [])
    assert [one.value for one in found.bindings] == [2]
    assert found.notes == ()


def test_a_file_that_is_nowhere_is_refused_with_the_nearest_and_all_there_are() -> None:
    with pytest.raises(
        UserError, match=r"qdager_dqn\.gin is not there.* give \S*/qdagger_dqn\.gin.*drq"
    ):
        read(["qdager_dqn.gin"], [])
    with pytest.raises(UserError, match="none of the released code; rrl ships dqfd_dqn.gin"):
        read(["zzz.gin"], [])


def test_a_file_that_is_too_large_is_not_read(tmp_path: Path) -> None:
    file = written(tmp_path / "a.gin", "#" * (MAX_BYTES + 1))
    with pytest.raises(UserError, match="--gin_files: .*more than"):
        read([file], [])


def test_a_file_that_is_no_text_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a.gin").write_bytes(b"\xff\xfe")
    with pytest.raises(UserError, match="--gin_files"):
        read([str(tmp_path / "a.gin")], [])

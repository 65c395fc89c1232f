"""Gin text: what the released code's files use is read, nothing is run, the rest is refused."""

from __future__ import annotations

import sys
from pathlib import Path

import gin
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from services.cli.gin.reading import MAX_BYTES, SHIPPED, Bound, read
from services.shared.errors import UserError

GAMMA, STEPS = "JaxDQNAgent.gamma", "Runner.training_steps"


def written(path: Path, text: str) -> str:
    path.write_text(text)
    return str(path)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("20000  # agent steps", 20_000),
        ("-1", -1),
        ("(16, 32, 32)", (16, 32, 32)),
        ("@ImpalaRainbowNetwork", "@ImpalaRainbowNetwork"),
        ("@networks.Net()", "@Net()"),
    ],
)
def test_values_are_read(text: str, value: object) -> None:
    assert read([], [f"{GAMMA} = {text}"]) == {GAMMA: Bound(value, "--gin_bindings")}


def test_blocks_modules_and_the_order_of_bindings_count_as_in_gin(tmp_path: Path) -> None:
    block = "dqn_agent.JaxDQNAgent:\n  gamma = 0.9\n  epsilon_train = 3\n"
    first = written(tmp_path / "first.gin", block + f"{STEPS} = 1\n{STEPS} = 2")
    last = written(tmp_path / "last.gin", f"{STEPS} = 3")
    assert read([first, last], ["a.b.JaxDQNAgent.epsilon_train = 4"]) == {
        GAMMA: Bound(0.9, f"{first} line 2"),
        "JaxDQNAgent.epsilon_train": Bound(4, "--gin_bindings"),
        STEPS: Bound(3, f"{last} line 1"),
    }
    assert gin.config_str() == "", "gin's global state is touched"


def test_imports_are_skipped_and_import_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "imported_by_gin.py").write_text("raise AssertionError('imported')\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    imports = "import imported_by_gin\nfrom imported_by_gin import x as y\n"
    file = written(tmp_path / "a.gin", f"{imports}{GAMMA} = @imported_by_gin.x()\n")
    assert read([file], [])[GAMMA].value == "@x()"
    assert "imported_by_gin" not in sys.modules


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
    with pytest.raises(UserError, match=r"a.gin.* is not valid gin; .*NAME\.PARAMETER = VALUE"):
        read([file], [])


def test_the_line_that_is_no_gin_is_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="a.gin line 2 is not valid gin"):
        read([written(tmp_path / "a.gin", f"{GAMMA} = 1\n{GAMMA} = Pong\n")], [])


@settings(deadline=None)
@given(st.text(max_size=200))
def test_any_text_is_read_or_refused(text: str) -> None:
    try:
        read([], [text])
    except UserError as error:
        assert "gin" in str(error)


@pytest.mark.parametrize(
    ("text", "advice"),
    [
        ("include 'more.gin'", "give more.gin to --gin_files"),
        (f"{GAMMA} = (1, %n)", "%n is a macro, .*write the value in its place"),
        ("JaxDQNAgent.gama = 0.9", "did you mean JaxDQNAgent.gamma"),
        ("JaxDQNAgnt.gamma = 0.9", "did you mean JaxDQNAgent.gamma"),
        ("gamma.gamma = 0.9", "did you mean JaxDQNAgent.gamma"),
        ("PersistentRuner.num_persistence_steps = 1", "RunnerWithTeacher.num_pretraining_steps"),
        ("QDaggerDQNAgent.distil_temperature = 1.0", "QDaggerDQNAgent.distill_temperature"),
        ("eval/agent.JaxDQNAgent.gamma = 0.9", "setting for eval/agent.JaxDQNAgent.gamma; did"),
        # For "Runner.num_iterations = 3", likely.
        ("num_iterations = 3", "setting for num_iterations; did you mean Runner.num_iterations"),
        ("AtariPreprocessing.frame_skip = 2", "setting for AtariPreprocessing.frame_skip; leave"),
    ],
)
def test_what_rrl_has_no_setting_for_is_refused_with_what_to_do(text: str, advice: str) -> None:
    with pytest.raises(UserError, match=f"--gin_bindings.*{advice}"):
        read([], [text])


@pytest.mark.parametrize("start", ["", "./", "no/such/place/", "/no/such/place/"])
def test_a_path_of_the_released_code_stands_for_our_file_of_that_name(start: str) -> None:
    found = read([f"{start}reincarnating_rl/configs/qdagger_dqn.gin"], [])
    ours = read([str(SHIPPED / "qdagger_dqn.gin")], [])
    assert {name: one.value for name, one in found.items()} == {
        name: one.value for name, one in ours.items()
    }


@pytest.mark.parametrize(
    "name", ["qdagger_dqn.gin", "configs/qdagger_dqn.gin", "/x/qdagger_dqn.gin", "zzz.gin"]
)
def test_no_other_name_is_replaced_by_ours(name: str) -> None:
    advice = "is not there; .* give reincarnating_rl/configs/NAME.* dqfd_dqn.gin.*qdagger_dqn.gin"
    with pytest.raises(UserError, match=advice):
        read([name], [])


@pytest.mark.parametrize("content", [b"#" * (MAX_BYTES + 1), b"\xff\xfe"])
def test_a_file_that_is_too_large_or_no_text_is_refused(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "a.gin").write_bytes(content)
    with pytest.raises(UserError, match="--gin_files: "):
        read([str(tmp_path / "a.gin")], [])

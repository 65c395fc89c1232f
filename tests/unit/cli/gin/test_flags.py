"""The released code's command line: its flags, and errors that say what to do."""

from __future__ import annotations

from argparse import Namespace
from pathlib import Path

import pytest

from services.cli.gin.command import parse_flags
from services.shared.errors import UserError


@pytest.fixture
def teacher(tmp_path: Path) -> str:
    directory = tmp_path / "Breakout" / "1"
    directory.mkdir(parents=True)
    return str(directory)


def flags(teacher: str, *words: str) -> Namespace:
    return parse_flags(["--base_dir", "run", "--teacher_checkpoint_dir", teacher, *words])


def test_what_is_left_out_is_as_in_the_released_code(teacher: str) -> None:
    found = flags(teacher)
    assert found.agent == "qdagger_dqn"
    assert (found.gin_files, found.gin_bindings) == ([], [])
    assert (found.number, found.seed) == (None, 1)


@pytest.mark.parametrize(
    "words", [("--gin_files", "a.gin", "b.gin"), ("--gin_files=a.gin", "--gin_files=b.gin")]
)
def test_files_and_bindings_keep_their_order_and_blanks(
    words: tuple[str, ...], teacher: str
) -> None:
    bindings = ("--gin_bindings=Runner.a=10", "--gin_bindings", "JaxDQNAgent.b = 64", "@x.Network")
    found = flags(teacher, *words, *bindings)
    assert found.gin_files == ["a.gin", "b.gin"]
    assert found.gin_bindings == ["Runner.a=10", "JaxDQNAgent.b = 64", "@x.Network"]


def test_flags_of_absl_are_accepted(teacher: str) -> None:
    flags(teacher, "--alsologtostderr", "--showprefixforinfo", "--logger_levels=absl:DEBUG")
    flags(teacher, "--logger_levels", "absl:DEBUG", "--verbosity=1", "--log_dir", "x")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--agnt=qdagger_dqn",), "unrecognized arguments: --agnt=qdagger_dqn; [^.]* the flags$"),
        (("stray",), "unrecognized arguments: stray.*backslash"),
        (("--agent=qdagger",), "agent: invalid choice: 'qdagger'.*qdagger_dqn.*--help"),
        (("--run_number=one",), "run_number.* invalid int value: 'one'; [^.]* the flags$"),
        (("--agent",), "agent.* expected one argument.*backslash"),
        (("--teacher_agent=rainbow",), "teacher_agent.* invalid choice"),
        (("--teacher_checkpoint_file_prefix=x",), "invalid choice: 'x'.*ckpt.*tf_ckpt"),
        (
            ("--teacher_checkpoint_dir=gs://rl_checkpoints/DQN_400",),
            "no directory gs://rl_checkpoints/DQN_400; `rrl teacher fetch`",
        ),
    ],
)
def test_bad_flags_are_refused_with_what_to_do(
    words: tuple[str, ...], message: str, teacher: str
) -> None:
    with pytest.raises(UserError, match=message):
        flags(teacher, *words)


def test_a_command_cut_at_a_line_without_a_backslash_says_so() -> None:
    # The released README's own: nothing after its --gin_files line reaches the program.
    with pytest.raises(
        UserError, match="required: --base_dir, --teacher_checkpoint_dir.*backslash"
    ):
        parse_flags(["--agent", "qdagger_rainbow", "--gin_files", "configs/qdagger_rainbow.gin"])


def test_help_teaches_the_flags(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        parse_flags(["--help"])
    assert ended.value.code == 0
    shown = capsys.readouterr().out
    assert "services.cli.reincarnating_train --agent qdagger_rainbow" in shown
    for flag in ("--gin_files", "--gin_bindings", "--teacher_checkpoint_dir", "--run_number"):
        assert flag in shown

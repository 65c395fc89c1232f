"""The released code's command line: absl's spellings, and errors that say what to do."""

from __future__ import annotations

from pathlib import Path

import pytest

from services.cli.gin.command import Flags, parse_flags
from services.shared.errors import UserError


@pytest.fixture
def teacher(tmp_path: Path) -> str:
    directory = tmp_path / "Breakout" / "1"
    directory.mkdir(parents=True)
    return str(directory)


def flags(teacher: str, *words: str) -> Flags:
    return parse_flags(["--base_dir", "run", "--teacher_checkpoint_dir", teacher, *words])


def test_the_readmes_first_command_is_read(teacher: str) -> None:
    found = parse_flags(
        [
            "--agent",
            "qdagger_rainbow",
            "--gin_files",
            "reincarnating_rl/configs/qdagger_rainbow.gin",
            "--base_dir",
            "/tmp/qdagger_rainbow",
            "--teacher_checkpoint_dir",
            teacher,
            "--teacher_checkpoint_number",
            "399",
            "--run_number=1",
            "--atari_roms_path=/tmp/atari_roms",
            "--alsologtostderr",
        ]
    )
    assert found.agent == "qdagger_rainbow"
    assert found.gin_files == ("reincarnating_rl/configs/qdagger_rainbow.gin",)
    assert found.base_dir == Path("/tmp/qdagger_rainbow")
    assert (found.teacher.directory, found.teacher.number) == (Path(teacher), 399)
    assert found.run_number == 1
    assert found.notes == ("--atari_roms_path is not needed: ale-py brings the games",)


def test_what_is_left_out_is_as_in_the_released_code(teacher: str) -> None:
    found = flags(teacher)
    assert found.agent == "qdagger_dqn"
    assert (found.gin_files, found.gin_bindings) == ((), ())
    assert (found.teacher.number, found.run_number) == (None, 1)


@pytest.mark.parametrize(
    "words",
    [
        ("--gin_files", "a.gin", "b.gin", "--run_number", "3"),
        ("--gin_files=a.gin", "--gin_files=b.gin", "--run_number=3"),
        ("--gin-files", "a.gin", "--run-number=3", "--gin-files", "b.gin"),
    ],
)
def test_flags_have_underscores_or_dashes_and_come_again(
    words: tuple[str, ...], teacher: str
) -> None:
    found = flags(teacher, *words)
    assert found.gin_files == ("a.gin", "b.gin")
    assert found.run_number == 3


def test_bindings_keep_their_blanks_and_their_order(teacher: str) -> None:
    found = flags(
        teacher,
        "--gin_bindings=Runner.evaluation_steps=10",
        "--gin_bindings",
        "JaxDQNAgent.min_replay_history = 64",
        "@reincarnation_networks.ImpalaRainbowNetwork",
    )
    assert found.gin_bindings == (
        "Runner.evaluation_steps=10",
        "JaxDQNAgent.min_replay_history = 64",
        "@reincarnation_networks.ImpalaRainbowNetwork",
    )


@pytest.mark.parametrize(
    "words",
    [
        ("--alsologtostderr", "--verbosity=1"),
        ("--alsologtostderr=true", "-v", "1", "--logtostderr", "--log_dir=/tmp"),
        ("--noalsologtostderr", "--stderrthreshold=info"),
        ("--disable_jit=false",),
        ("--nodisable_jit",),
    ],
)
def test_absls_own_flags_are_taken(words: tuple[str, ...], teacher: str) -> None:
    assert flags(teacher, *words) == flags(teacher)


def test_a_flag_that_changes_nothing_is_listed(teacher: str) -> None:
    assert flags(teacher, "--disable_jit").notes == (
        "--disable_jit is ignored: roles always run compiled",
    )


@pytest.mark.parametrize(
    ("older", "present"),
    [
        ("distillation_dqn", "qdagger_dqn"),
        ("distillation_rainbow", "qdagger_rainbow"),
        ("margin_dqn", "dqfd_dqn"),
        ("lols_dqn", "jsrl_dqn"),
    ],
)
def test_agents_of_the_older_generation_are_those_of_today(
    older: str, present: str, teacher: str
) -> None:
    assert flags(teacher, "--agent", older).agent == present


def test_a_command_cut_at_a_line_without_a_backslash_says_so() -> None:
    # The released README's own: nothing after its --gin_files line reaches the program.
    with pytest.raises(UserError, match="--base_dir is missing.* backslash"):
        parse_flags(["--agent", "qdagger_rainbow", "--gin_files", "configs/qdagger_rainbow.gin"])


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--agnt=qdagger_dqn",), "'--agnt' is no flag of the released code; did you mean --agent"),
        (("stray",), "'stray' is no flag"),
        (("--agent=qdagger",), r"--agent 'qdagger' is none .*did you mean qdagger_dqn"),
        (("--agent=qdagger_drq",), r"DrQ is qdagger_rainbow with qdagger_drq\.gin"),
        (("--run_number=one",), "run_number.* invalid int value: 'one'"),
        (("--agent",), "agent.* expected one argument"),
        (("--alsologtostderr=perhaps",), "neither true nor false"),
        (("--teacher_agent=rainbow",), "teacher_agent.* invalid choice"),
        (
            ("--teacher_checkpoint_file_prefix=x",),
            "file_prefix: invalid choice: 'x'.*ckpt.*tf_ckpt",
        ),
    ],
)
def test_bad_flags_are_refused_with_what_to_do(
    words: tuple[str, ...], message: str, teacher: str
) -> None:
    with pytest.raises(UserError, match=message):
        flags(teacher, *words)


@pytest.mark.parametrize("given", ["gs://rl_checkpoints/DQN_400/Breakout/1", "no/such/directory"])
def test_a_teacher_that_is_not_there_is_to_be_fetched(given: str) -> None:
    with pytest.raises(UserError, match=f"no directory {given}; `rrl teacher fetch`"):
        flags(given)
    with pytest.raises(UserError, match="--teacher_checkpoint_dir is missing.*rrl teacher fetch"):
        parse_flags(["--base_dir", "run"])


def test_help_teaches_the_flags(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        parse_flags(["--help"])
    assert ended.value.code == 0
    shown = capsys.readouterr().out
    assert "services.cli.reincarnating_train --agent qdagger_rainbow" in shown
    for flag in ("--gin_files", "--gin_bindings", "--teacher_checkpoint_dir", "--run_number"):
        assert flag in shown

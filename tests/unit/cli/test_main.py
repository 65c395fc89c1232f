"""Bad input through the command itself: one line that says what to do, and nothing overwritten."""

from __future__ import annotations

import pickle
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from rrl_agents.checkpoints.sealed_json import seal, unseal
from services.cli.main import COMMANDS, run
from tests.support.patience import PATIENCE_SECONDS

RRL = Path(sys.executable).parent / "rrl"
TRAIN_CATCH = (
    "train qdagger --environment.name=catch --network.name=mlp --network.features 32 "
    "--teacher.checkpoint"
)

Capture = pytest.CaptureFixture[str]


def refusal(arguments: list[str], capsys: Capture) -> str:
    """The one line on stderr of a command that must end with exit code 2."""
    assert run(arguments) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    (line,) = captured.err.splitlines()
    return line


def contents(folder: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file()
    }


def test_the_installed_command_ends_a_bad_call_with_2_and_what_to_do() -> None:
    words = [RRL, "train", "qdager", "--run", "x"]
    done = subprocess.run(words, capture_output=True, text=True, timeout=PATIENCE_SECONDS)
    assert (done.returncode, done.stdout) == (2, "")
    line, *rest = done.stderr.splitlines()
    assert line.startswith("rrl train: 'qdager' is not a method (did you mean qdagger")
    assert "jsrl, rehearsal" in " ".join(rest)


@pytest.mark.parametrize("words", [["--help"], ["-h"], ["help"], []])
def test_help_lists_every_command(words: list[str], capsys: Capture) -> None:
    assert run(words) == 0
    captured = capsys.readouterr()
    assert captured.err == ""
    for name, command in COMMANDS.items():
        assert re.search(f"^  {name} +{re.escape(command.summary)}$", captured.out, re.MULTILINE)


@pytest.mark.parametrize("command", ["train qdagger", *COMMANDS])
def test_every_command_has_help(command: str, capsys: Capture) -> None:
    with pytest.raises(SystemExit) as ended:
        run([*command.split(), "--help"])
    assert ended.value.code == 0
    captured = capsys.readouterr()
    assert "usage: rrl" in captured.out
    assert captured.err == ""


def test_a_flags_description_fills_the_lines_of_the_terminal(
    capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "200")
    with pytest.raises(SystemExit):
        run(["bench", "run", "--help"])
    # The first words are at a line's end in the docstring.
    assert "one CPU thread, or on the GPU" in capsys.readouterr().out


def test_half_a_command_shows_its_other_half(capsys: Capture) -> None:
    assert (run(["teacher"]), run(["teacher", "--help"])) == (2, 0)
    assert capsys.readouterr().out.count("teacher serve") == 2


@pytest.mark.parametrize(
    ("words", "known"),
    [("trian", "train"), ("teacher foo", "teacher serve"), ("bench foo", "bench run")],
)
def test_an_unknown_command_is_named_and_the_known_ones_listed(
    words: str, known: str, capsys: Capture
) -> None:
    assert run(words.split()) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.splitlines()[0] == f"rrl: there is no command {words!r}"
    assert f"  {known} " in captured.err


@pytest.mark.parametrize(
    ("command", "reason"),
    [
        (f"{TRAIN_CATCH}=absent", "absent'.*rrl teacher list"),
        (f"{TRAIN_CATCH}=cut_off", "ckpt.3"),
        # A card's own words do not steer the terminal.
        (f"{TRAIN_CATCH}=hostile", r"\?\[2Jcleared .*plays other, not catch"),
        ("train qdagger --environment.game=breakout", "pong_dqn.* 6 actions, breakout has 4"),
        ("train qdagger --num-actors=0", "^rrl train: num_actors is 0; use a number at least 1$"),
        (
            "actor qdagger --learner-address=nowhere --replay-address=127.0.0.1:1",
            "'nowhere' is not an address: it has no port; write HOST:PORT",
        ),
        # It would write to another shard than the one that is its.
        (
            "actor tabula_rasa --environment.name catch --network.name mlp --num-actors 2 "
            "--replay-shards 2 --teacher.checkpoint None --teacher.mean-return 1 "
            "--learner-address localhost:1 --replay-address localhost:2",
            "1 replay addresses are given, the run has 2",
        ),
        # Every --model counts: neither takes the other's place.
        ("teacher serve --model a=pong_dqn --model b=no-such --backend=jax", "no teacher 'no-such"),
        ("teacher serve --model a=no-such --model b=pong_dqn", "no teacher 'no-such'"),
        ("teacher serve --model pong_dqn", "--model pong_dqn: give NAME=CHECKPOINT"),
        ("teacher serve", "no model given"),
        # No set-up of ours brings that package.
        (
            "teacher serve --checkpoint with_a_typo:make",
            "the module with_a_typo needs nunpy, which is not installed here(?!.*make setup)",
        ),
    ],
)
def test_a_call_that_cannot_work_ends_with_one_line_and_writes_nothing(
    command: str,
    reason: str,
    catch_teacher: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: Capture,
) -> None:
    whole = pickle.dumps({"online_params": {"params": [0.0] * 1000}})
    (tmp_path / "cut_off").mkdir()
    (tmp_path / "cut_off" / "ckpt.3").write_bytes(whole[: len(whole) // 2])
    (tmp_path / "cut_off" / "sentinel_checkpoint_complete.3").touch()
    card = unseal((catch_teacher / "card.json").read_text())
    shutil.copytree(catch_teacher, tmp_path / "hostile")
    (tmp_path / "hostile" / "card.json").write_text(
        seal({**card, "name": "\x1b[2Jcleared", "game": "other"})
    )
    (tmp_path / "with_a_typo.py").write_text("import nunpy\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [*sys.path, str(tmp_path)])
    words = command.split()
    line = refusal([*words, "--run=run"] if words[0] == "train" else words, capsys)
    assert re.search(reason, line)
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("files", "reason"),
    [
        (
            {"config.json": seal({"method": "qdagger", "seed": 0}), "weights": "0"},
            "belongs to another experiment.*choose another --run",
        ),
        ({"thesis.txt": "years of work"}, "is not a run: choose another --run"),
    ],
)
def test_a_folder_of_something_else_is_left_as_it_is(
    files: dict[str, str], reason: str, tmp_path: Path, catch_teacher: Path, capsys: Capture
) -> None:
    for name, content in files.items():
        (tmp_path / name).write_text(content)
    before = contents(tmp_path)
    flags = [*TRAIN_CATCH.split(), str(catch_teacher), "--run", str(tmp_path)]
    assert re.search(reason, refusal(flags, capsys))
    refusal(["report", str(tmp_path)], capsys)
    assert contents(tmp_path) == before


def command_that_misses(module: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Makes `rrl lineage` fail while it runs, as an import of a module that is not there does."""

    def lineage() -> None:
        raise ModuleNotFoundError(f"No module named {module!r}", name=module)

    monkeypatch.setattr("services.cli.lineage.lineage", lineage)


@pytest.mark.parametrize(
    ("module", "advice"), [("safetensors.numpy", "'.[teacher]'"), ("ale_py", "`make setup`")]
)
def test_a_package_of_ours_that_is_missing_while_a_command_runs_is_advised(
    module: str, advice: str, monkeypatch: pytest.MonkeyPatch, capsys: Capture
) -> None:
    command_that_misses(module, monkeypatch)
    line = refusal(["lineage"], capsys)
    assert line.startswith(f"rrl lineage: it needs the package {module}, which is not in ")
    assert advice in line


@pytest.mark.parametrize("module", ["pands", "services.nothing"])
def test_a_module_that_no_setup_brings_keeps_its_traceback(
    module: str, monkeypatch: pytest.MonkeyPatch, capsys: Capture
) -> None:
    command_that_misses(module, monkeypatch)
    with pytest.raises(ModuleNotFoundError, match=module):
        run(["lineage"])
    assert capsys.readouterr().err == ""

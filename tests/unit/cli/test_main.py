"""Bad input through the command itself: one line that says what to do, and nothing overwritten."""

from __future__ import annotations

import pickle
import shutil
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from rrl_agents.checkpoints.sealed_json import seal, unseal
from services.cli.main import COMMANDS, run
from tests.support.patience import PATIENCE_SECONDS

RRL = Path(sys.executable).parent / "rrl"

Capture = pytest.CaptureFixture[str]


def catch_flags(folder: Path, teacher: Path | str) -> list[str]:
    return [
        "train",
        "qdagger",
        f"--run={folder}",
        "--environment.name=catch",
        "--network.name=mlp",
        "--network.features",
        "32",
        f"--teacher.checkpoint={teacher}",
    ]


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
    done = subprocess.run(
        [RRL, "train", "qdager", "--run", "x"],
        capture_output=True,
        text=True,
        timeout=PATIENCE_SECONDS,
    )
    assert (done.returncode, done.stdout) == (2, "")
    line, *rest = done.stderr.splitlines()
    assert line.startswith("rrl train: 'qdager' is no method (did you mean qdagger")
    assert "jsrl, rehearsal" in " ".join(rest)


@pytest.mark.parametrize("word", ["--help", "-h", "help", None])
def test_help_lists_every_command(word: str | None, capsys: Capture) -> None:
    assert run([] if word is None else [word]) == 0
    captured = capsys.readouterr()
    assert captured.err == ""
    for name, command in COMMANDS.items():
        assert any(
            line.split("  ")[1:] and name in line and command.summary in line
            for line in captured.out.splitlines()
        )


@pytest.mark.parametrize(
    "arguments",
    [
        ["train", "--help"],
        ["train", "qdagger", "--help"],
        *[[*c.split(), "--help"] for c in COMMANDS],
    ],
    ids=" ".join,
)
def test_every_command_has_help(arguments: list[str], capsys: Capture) -> None:
    with pytest.raises(SystemExit) as ended:
        run(arguments)
    assert ended.value.code == 0
    captured = capsys.readouterr()
    assert "usage: rrl" in captured.out
    assert captured.err == ""


def test_half_a_command_shows_its_other_half(capsys: Capture) -> None:
    assert run(["teacher"]) == 2
    assert "teacher serve" in capsys.readouterr().out
    assert run(["teacher", "--help"]) == 0
    assert "teacher query" in capsys.readouterr().out


def test_an_unknown_command_is_named_and_the_known_ones_listed(capsys: Capture) -> None:
    assert run(["trian"]) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.splitlines()[0] == "rrl: there is no command 'trian'"
    assert "  train " in captured.err


def test_a_checkpoint_that_is_not_there(tmp_path: Path, capsys: Capture) -> None:
    folder = tmp_path / "run"
    line = refusal(catch_flags(folder, tmp_path / "none"), capsys)
    assert str(tmp_path / "none") in line and "rrl teacher list" in line
    assert not folder.exists()


def test_a_pickle_that_was_cut_off(tmp_path: Path, capsys: Capture) -> None:
    dopamine = tmp_path / "checkpoints"
    dopamine.mkdir()
    whole = pickle.dumps({"online_params": {"params": [0.0] * 1000}})
    (dopamine / "ckpt.3").write_bytes(whole[: len(whole) // 2])
    (dopamine / "sentinel_checkpoint_complete.3").touch()
    folder = tmp_path / "run"
    line = refusal(catch_flags(folder, dopamine), capsys)
    assert "ckpt.3" in line
    assert not folder.exists()


def test_a_teacher_of_a_game_with_other_actions(tmp_path: Path, capsys: Capture) -> None:
    folder = tmp_path / "run"
    flags = ["train", "qdagger", f"--run={folder}", "--environment.game=breakout"]
    line = refusal(flags, capsys)
    assert "pong_dqn" in line and "6 actions, breakout has 4" in line
    assert "choose a teacher of this game" in line
    assert not folder.exists()


def test_a_folder_of_another_experiment_is_left_as_it_is(
    tmp_path: Path, catch_teacher: Path, capsys: Capture
) -> None:
    (tmp_path / "config.json").write_text(seal({"method": "qdagger", "seed": 0}))
    (tmp_path / "checkpoints").mkdir()
    (tmp_path / "checkpoints" / "weights").write_bytes(b"\0\1\2")
    before = contents(tmp_path)
    line = refusal(catch_flags(tmp_path, catch_teacher), capsys)
    assert "belongs to another experiment" in line and "choose another --run" in line
    assert contents(tmp_path) == before


def test_a_folder_that_is_no_run_is_left_as_it_is(
    tmp_path: Path, catch_teacher: Path, capsys: Capture
) -> None:
    (tmp_path / "thesis.txt").write_text("years of work")
    before = contents(tmp_path)
    line = refusal(catch_flags(tmp_path, catch_teacher), capsys)
    assert "is not a run: choose another --run" in line
    assert "config.json" in refusal(["report", str(tmp_path)], capsys)
    assert contents(tmp_path) == before


@pytest.mark.parametrize("wrong", [0, 1])
def test_every_model_flag_counts(wrong: int, capsys: Capture) -> None:
    models = ["a=pong_dqn", "b=pong_dqn"]
    models[wrong] = f"{models[wrong][0]}=no-such-teacher"
    flags = ["--port", "0", "--metrics-port", "None", "--backend", "jax"]
    given = [word for model in models for word in ("--model", model)]
    # The wrong one is found wherever it stands: neither takes the other's place.
    assert run(["teacher", "serve", *given, *flags]) == 2
    assert "no teacher 'no-such-teacher'" in capsys.readouterr().err


def test_a_port_in_use(catch_teacher: Path, capsys: Capture) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        done = subprocess.run(
            [RRL, "teacher", "serve", "--checkpoint", catch_teacher, "--port", str(port)]
            + ["--metrics-port", "None"],
            capture_output=True,
            text=True,
            timeout=PATIENCE_SECONDS,
        )
    assert (done.returncode, done.stdout) == (2, "")
    (line,) = done.stderr.splitlines()
    assert str(port) in line and "choose another --port" in line


def test_flags_and_settings_with_impossible_values(tmp_path: Path, capsys: Capture) -> None:
    with pytest.raises(SystemExit) as ended:
        run(["train", "qdagger", f"--run={tmp_path / 'run'}", "--seed", "x"])
    assert ended.value.code == 2
    assert "--seed" in capsys.readouterr().err
    line = refusal(["train", "qdagger", f"--run={tmp_path / 'run'}", "--num-actors=0"], capsys)
    assert line == "rrl train: num_actors must be at least 1, got 0"
    assert not (tmp_path / "run").exists()


def test_a_role_whose_peers_have_no_address(tmp_path: Path, capsys: Capture) -> None:
    flags = ["--learner-address=nowhere", "--replay-address=127.0.0.1:1"]
    line = refusal(["actor", "qdagger", *flags], capsys)
    assert "'nowhere' is no address: it has no port; write HOST:PORT" in line


def test_a_cards_own_words_do_not_steer_the_terminal(
    catch_teacher: Path, tmp_path: Path, capsys: Capture
) -> None:
    hostile = tmp_path / "teacher"
    shutil.copytree(catch_teacher, hostile)
    card = unseal((hostile / "card.json").read_text())
    card |= {"name": "\x1b[2Jcleared", "game": "other"}
    (hostile / "card.json").write_text(seal(card))
    line = refusal(catch_flags(tmp_path / "run", hostile), capsys)
    assert "?[2Jcleared plays other, not catch" in line


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


def test_a_policy_whose_module_misses_another_is_named_with_both(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Capture
) -> None:
    (tmp_path / "policy_with_a_typo.py").write_text("import nunpy\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [*sys.path, str(tmp_path)])
    line = refusal(["teacher", "serve", "--checkpoint", "policy_with_a_typo:make"], capsys)
    assert "the module policy_with_a_typo needs nunpy, which is not installed here" in line
    assert "make setup" not in line

"""Where a run's roles are looked for, and the file that tells it."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from rrl_agents.types import Progress, Stage
from rrl_client import ClientSecurity
from rrl_client.addresses import Address
from services.cli.main import run as rrl
from services.cli.status.at_rest import status_at_rest
from services.cli.status.sources import addresses_of_living, find_sources, learner_works_on
from services.launcher.run_addresses import (
    ADDRESSES_FILE,
    RunAddresses,
    read_addresses,
    write_addresses,
)
from services.learner.checkpointing import RunRecord, write_checkpoint
from services.learner.evaluation_records import EvaluationRecord, append_record
from services.learner.pending_evaluations import EVALUATIONS_FILE
from services.shared.errors import UserError
from services.shared.locks import LAUNCHER_LOCK, LEARNER_LOCK, locked
from services.shared.run_config import write_config

ADDRESSES = RunAddresses(
    services={"learner": "localhost:1001"}, pages={"actor-0": "localhost:1002"}
)
OPEN = ClientSecurity()


def test_addresses_come_back_as_they_were_written(tmp_path: Path) -> None:
    assert read_addresses(tmp_path) is None
    write_addresses(tmp_path, ADDRESSES)
    assert read_addresses(tmp_path) == ADDRESSES
    assert [path.name for path in tmp_path.iterdir()] == [ADDRESSES_FILE]


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\xff",
        b"[]",
        b"{}",
        b'{"services": {}, "pages": []}',
        b'{"services": {"learner": "nowhere"}, "pages": {}}',
        b'{"services": {"learner": 7}, "pages": {}}',
        b"[" * 100_000,
        b" " * (2**20 + 1),
    ],
)
def test_a_damaged_file_of_addresses_is_an_error(tmp_path: Path, content: bytes) -> None:
    (tmp_path / ADDRESSES_FILE).write_bytes(content)
    with pytest.raises(UserError, match="give --learner-address and --metrics"):
        read_addresses(tmp_path)


def test_addresses_count_only_while_their_session_lives(tmp_path: Path) -> None:
    write_addresses(tmp_path, ADDRESSES)
    assert addresses_of_living(tmp_path) is None
    assert find_sources(tmp_path, None, (), OPEN).learner is None
    assert not learner_works_on(tmp_path)
    # Asking has made nothing.
    assert [path.name for path in tmp_path.iterdir()] == [ADDRESSES_FILE]
    with locked(tmp_path / LAUNCHER_LOCK), locked(tmp_path / LEARNER_LOCK):
        assert learner_works_on(tmp_path)
        found = find_sources(tmp_path, None, (), OPEN)
    assert found.learner == "localhost:1001"
    assert found.pages == {"actor-0": Address("localhost", 1002)}


def test_addresses_of_the_command_line_come_first(tmp_path: Path) -> None:
    write_addresses(tmp_path, ADDRESSES)
    with locked(tmp_path / LAUNCHER_LOCK):
        found = find_sources(tmp_path, "far:5", ("http://far:6/metrics",), OPEN)
    assert (found.learner, list(found.pages.values())) == ("far:5", [Address("far", 6)])


@pytest.fixture
def own_signals() -> Iterator[None]:
    """Undoes what a command does with Ctrl-C and SIGTERM."""
    before = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


def make_run(folder: Path) -> None:
    progress = Progress(
        random_return=-1.0,
        teacher_return=3.0,
        student_return=0.0,
        stage=Stage.ONLINE,
        teacher_steps=100,
        online_updates=25,
        actor_steps=120,
    )
    targets = {"teacher_steps": 100, "offline_updates": 0, "online_updates": 50}
    write_config(folder, {"budgets": {**targets, "online_steps": 220}})
    record = RunRecord(progress=progress, seconds=12.0)
    write_checkpoint(folder, {"x": 1.0}, record, number=3, keep=())


def test_a_run_at_rest_is_told_from_its_newest_checkpoint(tmp_path: Path) -> None:
    make_run(tmp_path)
    found = status_at_rest(tmp_path, "nobody is there")
    assert not found.lives and found.stage == "online"
    # The units of the progress display and of a run that lives.
    assert [(stage.name, stage.unit, stage.done, stage.target) for stage in found.stages] == [
        ("collect", "steps", 100, 100),
        ("online", "steps", 120, 220),
    ]
    assert found.scores.student_return == 0.0 and found.scores.normalised_score == 0.25
    assert found.checkpoint is not None
    assert (found.checkpoint.number, found.checkpoint.updates) == (3, 25)
    assert found.note is not None and found.note.startswith("nobody is there")


def test_an_evaluation_after_the_checkpoint_counts(tmp_path: Path) -> None:
    make_run(tmp_path)
    evaluation = EvaluationRecord(
        player="student",
        weights_version=26,
        stage="online",
        teacher_steps=100,
        offline_updates=0,
        online_updates=25,
        actor_steps=0,
        weaning_weight=1.0,
        episode_returns=(2.0, 4.0),
        episode_steps=(5, 5),
        epsilon=0.0,
        seconds_since_start=13.0,
        final=False,
    )
    append_record(tmp_path / EVALUATIONS_FILE, evaluation)
    scores = status_at_rest(tmp_path, "").scores
    assert (scores.student_return, scores.student_updates) == (3.0, 25)


def test_a_run_without_a_checkpoint_says_so(tmp_path: Path) -> None:
    write_config(tmp_path, {})
    found = status_at_rest(tmp_path, "nobody is there")
    assert found.stage is None and "no checkpoint yet" in (found.note or "")


@pytest.mark.parametrize("content", ["", "[]", "[" * 100_000, " " * (2**20 + 1)])
def test_a_damaged_config_is_an_error(tmp_path: Path, content: str) -> None:
    (tmp_path / "config.json").write_text(content)
    with pytest.raises(UserError, match=r"config\.json cannot be read"):
        status_at_rest(tmp_path, "")


@pytest.mark.usefixtures("own_signals")
@pytest.mark.parametrize(
    ("flags", "line"),
    [
        ([], "whose status? give RUN"),
        (["{run}"], "is not the folder of a run"),
        (["{run}", "--interval=0"], "--interval is 0.0"),
        (["{run}", "--watch", "--json"], "do not go together"),
        (["--learner-address=nowhere"], "'nowhere' is no address"),
        (["--metrics", "https://x:1"], "is no metrics page"),
        (["--metrics", "127.0.0.1:1"], "nobody answers at these addresses"),
    ],
)
def test_bad_calls_end_with_2_and_one_line(
    flags: list[str], line: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    given = [flag.format(run=tmp_path) for flag in flags]
    assert rrl(["status", *given]) == 2
    captured = capsys.readouterr()
    assert captured.out == "" and line in captured.err and captured.err.count("\n") == 1

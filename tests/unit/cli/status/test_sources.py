"""Where a run's roles are looked for, and the file that tells it."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from rrl_agents.checkpoints.sealed_json import seal
from services.cli.main import run as rrl
from services.cli.status.sources import find_roles
from services.launcher.run_addresses import (
    ADDRESSES_FILE,
    RunAddresses,
    read_addresses,
    write_addresses,
)
from services.shared.errors import UserError
from services.shared.locks import LAUNCHER_LOCK, locked

ADDRESSES = RunAddresses(
    services={"learner": "localhost:1001"}, pages={"actor-0": "localhost:1002"}
)


@pytest.mark.parametrize(
    "content",
    [
        b"\xff",
        seal({}).encode(),
        seal({"services": {"learner": 7}, "pages": {}}).encode(),
        seal({"services": {"learner": "nowhere"}, "pages": {}}).encode(),
    ],
)
def test_a_damaged_file_of_addresses_is_an_error(tmp_path: Path, content: bytes) -> None:
    (tmp_path / ADDRESSES_FILE).write_bytes(content)
    with pytest.raises(UserError, match=r"addresses.json cannot be read .*restore it"):
        read_addresses(tmp_path)


def test_a_run_says_where_its_services_and_every_metrics_page_are() -> None:
    assert ADDRESSES.lines == (
        "learner at localhost:1001",
        "metrics pages: actor-0 at localhost:1002",
    )


def test_addresses_count_only_while_their_session_runs(tmp_path: Path) -> None:
    nothing = RunAddresses(services={}, pages={})
    with locked(tmp_path / LAUNCHER_LOCK):
        assert find_roles(tmp_path, None, ()) == nothing, "none are written"
    (tmp_path / LAUNCHER_LOCK).unlink()
    write_addresses(tmp_path, ADDRESSES)
    assert find_roles(tmp_path, None, ()) == nothing
    # Asking has made nothing.
    assert [path.name for path in tmp_path.iterdir()] == [ADDRESSES_FILE]
    with locked(tmp_path / LAUNCHER_LOCK):
        assert find_roles(tmp_path, None, ()) == ADDRESSES


def test_addresses_of_the_command_line_come_first(tmp_path: Path) -> None:
    write_addresses(tmp_path, ADDRESSES)
    with locked(tmp_path / LAUNCHER_LOCK):
        found = find_roles(tmp_path, "far:5", ("http://far:6/metrics", "far:6"))
    assert found == RunAddresses(services={"learner": "far:5"}, pages={"far:6": "far:6"})


@pytest.fixture
def own_signals() -> Iterator[None]:
    """Undoes what a command does with Ctrl-C and SIGTERM."""
    before = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.mark.usefixtures("own_signals")
@pytest.mark.parametrize(
    ("flags", "line"),
    [
        ([], "which run? give RUN"),
        (["{run}"], "is not the folder of a run"),
        (["{run}", "--interval=0"], "--interval is 0.0"),
        (["{run}", "--watch", "--json"], "do not go together"),
        (["--learner-address=nowhere"], "'nowhere' is not an address"),
        (["--metrics", "https://x:1"], "is not a metrics page"),
        (["--metrics", "127.0.0.1:1"], "no role answers; check that"),
    ],
)
def test_bad_calls_end_with_2_and_one_line(
    flags: list[str], line: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    given = [flag.format(run=tmp_path) for flag in flags]
    assert rrl(["status", *given]) == 2
    captured = capsys.readouterr()
    assert captured.out == "" and line in captured.err and captured.err.count("\n") == 1

"""`rrl teacher fetch` against a Google Cloud Storage emulator, filled under the public names."""

from __future__ import annotations

import hashlib
import json
import socket
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import google_crc32c
import jax
import numpy as np
import pytest
from rich.console import Console
from urllib3.util import Retry

from rrl_agents.checkpoints.teacher_directory import load_teacher_directory
from rrl_agents.networks.registry import make_network
from services.cli.teacher_fetch import fetch
from services.library.fetch.bucket import EMULATOR_VARIABLE, Bucket
from services.library.fetch.fetching import FetchRequest, fetch_agent
from services.library.fetch.http_retries import Http
from services.library.fetch.progress import WorkProgress
from services.library.fetch.references import download_reference
from services.library.teacher_references import open_reference
from services.shared.errors import UserError
from tests.support.patience import PATIENCE_SECONDS

ROOT = Path(__file__).resolve().parents[2]
FIXTURES = ROOT / "tests/fixtures"
JAX_AGENT = FIXTURES / "dopamine4.0.6_flax0.6.11_jaxarray"
TENSORFLOW_AGENT = FIXTURES / "dopamine2.0.5_tf1"

PUBLIC, DOPAMINE = "rl_checkpoints", "download-dopamine-rl"


def post(url: str, body: bytes, kind: str) -> None:
    request = urllib.request.Request(url, data=body, headers={"Content-Type": kind})
    with urllib.request.urlopen(request, timeout=PATIENCE_SECONDS) as answer:
        assert answer.status == 200


def upload(url: str, bucket: str, name: str, body: bytes) -> None:
    query = urlencode({"uploadType": "media", "name": name})
    post(f"{url}/upload/storage/v1/b/{bucket}/o?{query}", body, "application/octet-stream")


def fill(url: str) -> None:
    for bucket in (PUBLIC, DOPAMINE):
        body = json.dumps({"name": bucket}).encode()
        post(f"{url}/storage/v1/b?project=test", body, "application/json")
    for file in (JAX_AGENT / "1/checkpoints").iterdir():
        upload(url, PUBLIC, f"DQN_400/Pong/1/checkpoints/{file.name}", file.read_bytes())
    upload(url, PUBLIC, "DQN_400/Pong/1/logs/log_1", b"log")
    upload(url, PUBLIC, "DQN_400/Pong/10/checkpoints/ckpt.399", b"another run")
    upload(url, PUBLIC, "DQN_400/MsPacman/2/checkpoints/ckpt.399", b"another game")
    for file in (TENSORFLOW_AGENT / "1/checkpoints").glob("tf_ckpt-199.*"):
        upload(url, DOPAMINE, f"lucid/dqn/Pong/3/{file.name}", file.read_bytes())
    published = (JAX_AGENT / "1/checkpoints/ckpt.1").read_bytes()
    upload(url, DOPAMINE, "jax/dqn_adam_mse/Pong/1/ckpt.199", published)


def wait_until_open(url: str) -> None:
    deadline = time.monotonic() + PATIENCE_SECONDS
    while time.monotonic() < deadline:
        try:
            urllib.request.urlopen(url, timeout=PATIENCE_SECONDS).close()
        except urllib.error.HTTPError:
            return
        except OSError:
            time.sleep(0.05)
        else:
            return
    raise AssertionError("the emulator does not open its port")


@pytest.fixture(scope="module")
def emulator() -> Iterator[str]:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    flags = ["start", "--host", "127.0.0.1", "--port", str(port), "--in-memory", "--quiet"]
    process = subprocess.Popen([sys.executable, "-m", "gcp_storage_emulator", *flags])
    try:
        url = f"http://127.0.0.1:{port}"
        wait_until_open(url)
        fill(url)
        yield url
    finally:
        process.terminate()
        process.wait(timeout=PATIENCE_SECONDS)


class DroppingProxy:
    """Passes connections on to another port and cuts each one after so many bytes of answer."""

    def __init__(self, port: int, most_bytes: int) -> None:
        self._target = ("127.0.0.1", port)
        self._most_bytes = most_bytes
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._listener.getsockname()[1]}"
        self.cut = 0
        self._thread = threading.Thread(target=self._serve)
        self._thread.start()

    def close(self) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self._thread.join(timeout=PATIENCE_SECONDS)

    def _serve(self) -> None:
        # One connection at a time, as the emulator does; it answers one request on each.
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            with client, socket.create_connection(self._target) as server:
                server.sendall(client.recv(1 << 16))
                left = self._most_bytes
                while left and (data := server.recv(min(left, 1 << 14))):
                    client.sendall(data)
                    left -= len(data)
                self.cut += left == 0


@pytest.fixture
def fetching(emulator: str, tmp_path: Path) -> Callable[..., None]:
    def fetch_here(*, show: bool = False, **wanted: Any) -> None:
        fetch(FetchRequest(**wanted), show=show, cache=tmp_path, endpoint=emulator)

    return fetch_here


@pytest.fixture(scope="module")
def _imports(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("imported")


@pytest.fixture
def imported_once(_imports: Path, tmp_path: Path) -> None:
    """What is imported is found by its content, here by all tests for which it is not the point."""
    (tmp_path / "imported").symlink_to(_imports)


def names_in(directory: Path) -> set[str]:
    return {path.name for path in (directory / "checkpoints").iterdir()}


def assert_gives_the_q_values_of(agent: Path, directory: Path) -> None:
    # As it was imported when it was fetched: CACHE/imported beside CACHE/checkpoints/<game>/<name>.
    store = directory.parents[2] / "imported"
    teacher = load_teacher_directory(Path(open_reference(str(directory), store=store)))
    assert teacher.card.game == "Pong"
    expected = np.load(agent / "expected_q.npz", allow_pickle=False)
    assert teacher.card.network is not None
    network = make_network(teacher.card.network, teacher.card.num_actions)
    found = np.asarray(jax.jit(network.apply)(teacher.params, expected["states"]))
    np.testing.assert_allclose(found, expected["q_values"], rtol=1e-4, atol=1e-6)


@pytest.mark.usefixtures("imported_once")
def test_a_fetched_agent_gives_the_q_values_its_own_network_gave(
    fetching: Callable[..., None], tmp_path: Path
) -> None:
    fetching(game="Pong", run=1, checkpoint=1)
    directory = tmp_path / "checkpoints/Pong/dqn400-run1"
    # Only what was asked for: neither the other checkpoint nor the data nor the log.
    assert names_in(directory) == {"ckpt.1", "sentinel_checkpoint_complete.1"}
    assert_gives_the_q_values_of(JAX_AGENT, directory)


@pytest.mark.usefixtures("imported_once")
def test_agents_published_without_sentinels_load(
    fetching: Callable[..., None], tmp_path: Path
) -> None:
    fetching(game="pong", agent="jax-dqn_adam_mse")
    directory = tmp_path / "checkpoints/Pong/jax-dqn_adam_mse-run1"
    assert names_in(directory) == {"ckpt.199"}
    assert_gives_the_q_values_of(JAX_AGENT, directory)


def test_a_tensorflow_agent_loads(fetching: Callable[..., None], tmp_path: Path) -> None:
    fetching(game="PONG", run=3, agent="lucid-dqn")
    directory = tmp_path / "checkpoints/Pong/lucid-dqn-run3"
    endings = ("index", "meta", "data-00000-of-00001")
    assert names_in(directory) == {f"tf_ckpt-199.{ending}" for ending in endings}
    assert_gives_the_q_values_of(TENSORFLOW_AGENT, directory)


def test_an_agent_comes_whole_through_a_line_that_drops_half_way(
    emulator: str, tmp_path: Path
) -> None:
    proxy = DroppingProxy(int(emulator.rpartition(":")[2]), most_bytes=300_000)
    try:
        progress = WorkProgress(Console(stderr=True))
        bucket = Bucket(proxy.url, PUBLIC, Http(retries=Retry(total=5)))
        request = FetchRequest(game="Pong", checkpoint=1)
        fetched = fetch_agent(request, bucket, tmp_path, progress)
    finally:
        proxy.close()
    # 537,441 bytes don't go through 300,000.
    assert proxy.cut >= 1
    assert_gives_the_q_values_of(JAX_AGENT, fetched.directory)


@pytest.mark.usefixtures("imported_once")
def test_replay_data_comes_when_it_is_asked_for_and_only_what_is_missing(
    fetching: Callable[..., None], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    fetching(game="Pong", checkpoint=1)
    fetching(game="Pong", checkpoint=1, replay=True)
    assert "9 files" in (printed := capsys.readouterr().out)
    assert "7 of them new" in printed
    fetched = tmp_path / "checkpoints/Pong/dqn400-run1/checkpoints"
    ours = sorted((JAX_AGENT / "1/checkpoints").glob("*.1*"))
    assert names_in(fetched.parent) == {file.name for file in ours}
    for file in ours:
        assert (fetched / file.name).read_bytes() == file.read_bytes()


@pytest.mark.usefixtures("imported_once")
def test_the_source_tells_what_was_verified(
    fetching: Callable[..., None], tmp_path: Path, emulator: str
) -> None:
    fetching(game="Pong", checkpoint=0)
    fetching(game="Pong", checkpoint=1)
    directory = tmp_path / "checkpoints/Pong/dqn400-run1"
    source = json.loads((directory / "source.json").read_text())
    assert (source["agent"], source["game"], source["run"]) == ("dqn400", "Pong", 1)
    objects = f"{emulator}/storage/v1/b/{PUBLIC}/o/DQN_400%2FPong%2F1%2F"
    assert [checkpoint["number"] for checkpoint in source["checkpoints"]] == [0, 1]
    for checkpoint in source["checkpoints"]:
        for name, file in checkpoint["files"].items():
            assert file["url"].startswith(objects)
            content = (directory / "checkpoints" / name).read_bytes()
            assert file["content"] == {
                "size": len(content),
                "md5": hashlib.md5(content).hexdigest(),
                "crc32c": google_crc32c.Checksum(content).digest().hex(),
            }


@pytest.mark.usefixtures("imported_once")
def test_without_a_number_the_newest_checkpoint_comes(
    fetching: Callable[..., None], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    fetching(game="pong")
    assert "Pong/dqn400-run1: checkpoint 1\n" in capsys.readouterr().out
    fetching(game="pong")
    assert "all here before" in capsys.readouterr().out


@pytest.mark.usefixtures("imported_once")
def test_the_command_to_serve_what_was_fetched_is_told(
    fetching: Callable[..., None], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    directory = tmp_path / "checkpoints/Pong/dqn400-run1"
    serve = f"serve it: rrl teacher serve --checkpoint {directory}"
    fetching(game="Pong", checkpoint=1)
    assert capsys.readouterr().out.splitlines()[-1] == serve
    # The older one must be asked for by its number.
    fetching(game="Pong", checkpoint=0)
    assert capsys.readouterr().out.splitlines()[-1] == f"{serve}/checkpoints/ckpt.0"


def test_what_is_fetched_is_imported_into_the_same_store(
    fetching: Callable[..., None], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    fetching(game="Pong", checkpoint=1)
    assert len([*tmp_path.glob("imported/*/card.json")]) == 1
    capsys.readouterr()
    # Its checkpoint is none.
    fetching(game="Pong", run=10)
    printed = capsys.readouterr()
    assert "ckpt.399" in printed.err
    assert "verified: " in printed.out
    assert "serve it" not in printed.out


def test_the_list_shows_games_then_runs_and_checkpoints(
    fetching: Callable[..., None], capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    fetching(show=True)
    assert "MsPacman  Pong" in (printed := capsys.readouterr().out)
    assert "2 games of dqn400" in printed
    assert "lucid-rainbow" in printed

    fetching(show=True, game="pong")
    rows = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert rows[0] == ["run", "checkpoint", "weights", "replay", "name"]
    assert [row[:2] for row in rows[1:]] == [["1", "0"], ["1", "1"], ["10", "399"]]
    # 537,441 bytes of ckpt.1 and 4 of its sentinel: 524.8 KiB.
    assert rows[2][2:4] == ["524.8", "KiB"]
    assert rows[3][2:] == ["11", "B", "-", "Pong/dqn400-run10"]
    assert list(tmp_path.iterdir()) == []


@pytest.mark.usefixtures("imported_once")
def test_the_emulators_own_variable_names_the_endpoint(
    emulator: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(EMULATOR_VARIABLE, emulator.removeprefix("http://"))
    fetch(FetchRequest(game="Pong"), cache=tmp_path)
    assert (tmp_path / "checkpoints/Pong/dqn400-run1/source.json").is_file()


def test_a_folder_of_a_bucket_is_a_teacher_by_its_url(
    emulator: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(EMULATOR_VARIABLE, emulator)
    place = download_reference(f"gs://{DOPAMINE}/lucid/dqn/Pong/3", tmp_path)
    assert place.name == "3"
    endings = ("index", "meta", "data-00000-of-00001")
    assert {file.name for file in place.iterdir()} == {f"tf_ckpt-199.{end}" for end in endings}
    # Of two checkpoints the newest, without its data.
    place = download_reference(f"gs://{PUBLIC}/DQN_400/Pong/1/", tmp_path)
    assert {file.name for file in place.iterdir()} == {"ckpt.1", "sentinel_checkpoint_complete.1"}


def test_a_folder_that_came_in_part_is_completed_without_what_it_was_before(
    emulator: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(EMULATOR_VARIABLE, emulator)
    url = f"gs://{PUBLIC}/DQN_400/Pong/1"
    place = download_reference(url, tmp_path)
    whole = {file.name: file.read_bytes() for file in place.iterdir()}
    # As a kill leaves it, which an earlier checkpoint had been before.
    unfinished = place.parent.with_name(f".{place.parent.name}.part")
    place.parent.rename(unfinished)
    (unfinished / "1/sentinel_checkpoint_complete.1").unlink()
    (unfinished / "1/ckpt.0").write_bytes(b"older")
    before = (unfinished / "1/ckpt.1").stat().st_ino

    assert download_reference(url, tmp_path) == place
    assert {file.name: file.read_bytes() for file in place.iterdir()} == whole
    assert (place / "ckpt.1").stat().st_ino == before


def test_an_object_of_a_bucket_is_a_file_by_its_url(
    emulator: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(EMULATOR_VARIABLE, emulator)
    url = f"gs://{PUBLIC}/DQN_400/Pong/1/logs/log_1"
    assert download_reference(url, tmp_path).read_bytes() == b"log"
    assert download_reference(f"gs://{PUBLIC}/DQN_400/Pong/1/logs", tmp_path).is_dir()
    with pytest.raises(UserError, match="there is nothing; check the URL"):
        download_reference(f"gs://{PUBLIC}/DQN_400/Pong/1/lo", tmp_path)


@pytest.mark.parametrize(
    ("wanted", "message"),
    [
        ({"game": "Pnog"}, "nearest names are Pong"),
        ({"game": "../Pong"}, "nearest names are Pong"),
        ({}, "--game is missing"),
        ({"game": "Pong", "run": 4}, "no whole checkpoint; there: none"),
        ({"game": "Pong", "run": 0}, "no whole checkpoint; there: none"),
        ({"game": "Pong", "checkpoint": 399}, "no whole checkpoint 399; there: 0, 1"),
        ({"game": "Pong", "checkpoint": -1}, "no whole checkpoint -1; there: 0, 1"),
        (
            {"game": "Pong", "run": 10, "replay": True},
            "no whole checkpoint with replay data; there: none",
        ),
        ({"game": "Pong", "agent": "dqn"}, "no public agent is called 'dqn'; near it: .*lucid-dqn"),
        ({"game": "Pong", "agent": "jax-../x"}, "no public agent is called"),
        ({"game": "Pong", "agent": "jax-unknown"}, "there is nothing of jax-unknown"),
    ],
)
def test_what_is_not_there_is_told_with_what_to_do(
    fetching: Callable[..., None], tmp_path: Path, wanted: dict[str, object], message: str
) -> None:
    with pytest.raises(UserError, match=message):
        fetching(**wanted)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("max_gib", [0.0, -1.0, float("nan"), float("inf")])
def test_a_limit_that_is_none_is_refused(max_gib: float) -> None:
    with pytest.raises(UserError, match="--max-gib"):
        FetchRequest(game="Pong", max_gib=max_gib)

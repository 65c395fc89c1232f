"""Fetching from a store that fails in every way a network and a server can, on loopback.

The store speaks the part of the JSON API that we use, keeps to generations as the real one does,
and answers downloads by a script of faults.
"""

from __future__ import annotations

import base64
import hashlib
import json
import re
import resource
import signal
import socket
import subprocess
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

import google_crc32c
import numpy as np
import pytest
from rich.console import Console
from urllib3.util import Retry

from services.library.fetch.bucket import EMULATOR_VARIABLE, MAX_PAGES, Bucket
from services.library.fetch.fetching import Fetched, FetchRequest, fetch_agent, fetched_before
from services.library.fetch.http_retries import Http
from services.library.fetch.progress import WorkProgress
from services.library.fetch.public_agents import list_games, public_agent
from services.library.fetch.references import download_reference
from services.shared.errors import UserError
from services.shared.locks import locked
from tests.support.patience import PATIENCE_SECONDS

ROOT = Path(__file__).resolve().parents[2]
FOLDER = "DQN_400/Pong/1/checkpoints/"
CHECKPOINT = FOLDER + "ckpt.399"
CONTENT = np.random.default_rng(0).bytes(300_000)
QUICK = Retry(total=3)

Answer = Callable[["_Request", bytes], None]


class Store(ThreadingHTTPServer):
    """One bucket; `answers` is the script for the downloads to come, then all goes well."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Request)
        self.items: dict[str, dict[str, Any]] = {}
        self.bytes: dict[str, bytes] = {}
        self.answers: deque[Answer] = deque()
        self.lists: deque[Callable[[_Request], None]] = deque()
        self.downloads: list[tuple[str, int]] = []
        self.page_size = 1000
        self.generations = 0

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"

    def put(self, name: str, content: bytes, **changes: Any) -> None:
        self.generations += 1
        self.bytes[name] = content
        self.items[name] = {
            "name": name,
            "size": str(len(content)),
            "generation": str(self.generations),
            "md5Hash": base64.b64encode(hashlib.md5(content).digest()).decode(),
            "crc32c": base64.b64encode(google_crc32c.Checksum(content).digest()).decode(),
            **changes,
        }
        self.items[name] = {k: v for k, v in self.items[name].items() if v is not None}


class _Request(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    # Head and body in one packet.
    wbufsize = -1
    server: Store

    def log_message(self, format: str, *args: object) -> None:
        return

    def do_GET(self) -> None:
        parts = urlsplit(self.path)
        query = {key: values[0] for key, values in parse_qs(parts.query).items()}
        name = unquote(parts.path.removeprefix("/storage/v1/b/rl_checkpoints/o").removeprefix("/"))
        if not name:
            if self.server.lists:
                self.server.lists.popleft()(self)
            else:
                self.json(self.page(query))
        elif name not in self.server.items:
            self.send_error(404)
        elif query.get("alt") == "media":
            self.download(name, query["generation"])
        else:
            self.json(self.server.items[name])

    def page(self, query: dict[str, str]) -> dict[str, Any]:
        names = sorted(name for name in self.server.items if name.startswith(query["prefix"]))
        if "delimiter" in query:
            rest = {name[len(query["prefix"]) :] for name in names}
            folders = {part.split("/")[0] + "/" for part in rest if "/" in part}
            return {"prefixes": [query["prefix"] + folder for folder in sorted(folders)]}
        begin = int(query.get("pageToken", 0))
        end = begin + self.server.page_size
        page: dict[str, Any] = {"items": [self.server.items[name] for name in names[begin:end]]}
        return {**page, "nextPageToken": str(end)} if end < len(names) else page

    def download(self, name: str, generation: str) -> None:
        if generation != self.server.items[name]["generation"]:
            self.send_error(404)
            return
        begin = re.fullmatch(r"bytes=(\d+)-", self.headers.get("Range", ""))
        first = int(begin[1]) if begin else 0
        self.server.downloads.append((name.rpartition("/")[2], first))
        answer = self.server.answers.popleft() if self.server.answers else whole
        answer(self, self.server.bytes[name])

    def head(self, content: bytes, *, length: int | None = None, first: int | None = None) -> int:
        """Status and headers of an honest answer; returns its first byte."""
        begin = re.fullmatch(r"bytes=(\d+)-", self.headers.get("Range", ""))
        first = (int(begin[1]) if begin else 0) if first is None else first
        self.send_response(206 if first else 200)
        if first:
            total = len(content)
            self.send_header("Content-Range", f"bytes {first}-{total - 1}/{total}")
        self.send_header("Content-Length", str(len(content) - first if length is None else length))
        self.end_headers()
        return first

    def json(self, value: object) -> None:
        self.head(body := json.dumps(value).encode(), first=0)
        self.wfile.write(body)

    def drop(self) -> None:
        self.wfile.flush()
        self.close_connection = True
        self.connection.close()


def whole(request: _Request, content: bytes) -> None:
    request.wfile.write(content[request.head(content) :])


def drops_after(count: int) -> Answer:
    """Also throws away what the client has not read yet, as a lost connection does."""

    def answer(request: _Request, content: bytes) -> None:
        first = request.head(content)
        request.wfile.write(content[first : first + count])
        request.drop()

    return answer


def status(code: int, **headers: str) -> Answer:
    def answer(request: _Request, content: bytes) -> None:
        request.send_response(code)
        for name, value in headers.items():
            request.send_header(name.replace("_", "-"), value)
        request.send_header("Content-Length", "0")
        request.end_headers()

    return answer


def ignores_the_range(request: _Request, content: bytes) -> None:
    request.head(content, first=0)
    request.wfile.write(content)


def falls_silent_after(count: int) -> Answer:
    def answer(request: _Request, content: bytes) -> None:
        first = request.head(content)
        request.wfile.write(content[first : first + count])
        request.wfile.flush()
        # Until the client hangs up.
        request.connection.settimeout(PATIENCE_SECONDS)
        request.connection.recv(1)
        request.drop()

    return answer


def streams_for_ever(request: _Request, content: bytes) -> None:
    request.send_response(200)
    request.send_header("Transfer-Encoding", "chunked")
    request.end_headers()
    while True:
        try:
            request.wfile.write(f"{len(content):x}\r\n".encode() + content + b"\r\n")
        except OSError:
            request.close_connection = True
            return


def replaced_half_way(store: Store, new: bytes) -> Answer:
    def answer(request: _Request, content: bytes) -> None:
        store.put(CHECKPOINT, new)
        drops_after(len(content) // 2)(request, content)

    return answer


@pytest.fixture
def store() -> Iterator[Store]:
    server = Store()
    server.put(CHECKPOINT, CONTENT)
    server.put(FOLDER + "sentinel_checkpoint_complete.399", b"done")
    thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    yield server
    server.shutdown()
    server.server_close()
    thread.join()


@pytest.fixture(scope="module")
def http() -> Http:
    return Http(retries=QUICK, silence_seconds=0.3)


@pytest.fixture
def fetching(store: Store, http: Http, tmp_path: Path) -> Callable[..., Fetched]:
    def fetch(**wanted: Any) -> Fetched:
        progress = WorkProgress(Console(stderr=True))
        bucket = Bucket(store.url, "rl_checkpoints", http)
        request = FetchRequest(game="pong", **{"max_gib": 1.0, **wanted})
        return fetch_agent(request, bucket, tmp_path, progress)

    return fetch


def fetched_bytes(root: Path) -> bytes:
    return (root / "Pong/dqn400-run1/checkpoints/ckpt.399").read_bytes()


def part_of_the_checkpoint(root: Path) -> Path:
    (part,) = (root / "Pong/dqn400-run1/checkpoints").glob("ckpt.399.*.part")
    return part


def left_behind(root: Path) -> list[str]:
    return sorted(path.name for path in root.rglob("*.part*"))


def test_a_connection_that_drops_again_and_again_is_taken_up_where_it_broke(
    store: Store, fetching: Callable[..., Fetched], tmp_path: Path
) -> None:
    content = np.random.default_rng(3).bytes(3 << 20)
    store.put(CHECKPOINT, content)
    store.answers += [drops_after(1 << 20), drops_after(1 << 20), drops_after(1)]

    fetching()

    assert fetched_bytes(tmp_path) == content
    firsts = [first for name, first in store.downloads if name == "ckpt.399"]
    # A drop loses what was under way, a few hundred kilobytes of each megabyte.
    assert firsts[0] == 0
    assert firsts == sorted(firsts)
    assert firsts[1] > 0
    assert left_behind(tmp_path) == []


def test_a_download_that_gains_ground_may_lose_its_connection_more_often_than_the_limit(
    store: Store, fetching: Callable[..., Fetched], tmp_path: Path
) -> None:
    content = np.random.default_rng(1).bytes(9 << 20)
    store.put(CHECKPOINT, content)
    # 6 are more than the 4 of QUICK.
    store.answers += [drops_after(3 << 19)] * 6

    fetching()

    assert fetched_bytes(tmp_path) == content


def test_a_store_that_gets_nowhere_is_given_up_and_a_later_run_goes_on(
    store: Store, fetching: Callable[..., Fetched], tmp_path: Path
) -> None:
    store.answers += [falls_silent_after(200_000), *[status(503)] * 3]
    with pytest.raises(UserError, match="gave up after 4 attempts.*same command again"):
        fetching()
    part = part_of_the_checkpoint(tmp_path)
    assert part.read_bytes() == CONTENT[:200_000]
    assert not (tmp_path / "Pong/dqn400-run1/source.json").exists()
    store.downloads.clear()

    fetching()

    assert store.downloads[0] == ("ckpt.399", 200_000)
    assert fetched_bytes(tmp_path) == CONTENT
    assert left_behind(tmp_path) == []


@pytest.mark.parametrize("code", [408, 429, 500, 502, 503, 504])
def test_a_busy_store_is_asked_again(
    store: Store, fetching: Callable[..., Fetched], tmp_path: Path, code: int
) -> None:
    store.answers += [status(code), status(code)]
    fetching()
    assert fetched_bytes(tmp_path) == CONTENT


def test_a_pause_that_the_store_asks_for_is_kept(
    store: Store, fetching: Callable[..., Fetched]
) -> None:
    store.answers += [status(503, Retry_After="soon"), status(429, Retry_After="1")]
    begin = time.monotonic()
    fetching()
    assert time.monotonic() - begin >= 1.0


@pytest.mark.parametrize("code", [302, 400, 401, 403])
def test_an_answer_that_will_not_change_is_not_asked_for_again(
    store: Store, fetching: Callable[..., Fetched], code: int
) -> None:
    store.answers.append(status(code, Location="http://127.0.0.1:1/"))
    with pytest.raises(UserError, match=f"status {code}.*--endpoint or STORAGE_EMULATOR_HOST"):
        fetching()
    assert len(store.downloads) == 1


def test_an_object_replaced_in_mid_download_is_downloaded_by_the_next_run(
    store: Store, fetching: Callable[..., Fetched], tmp_path: Path
) -> None:
    new = np.random.default_rng(2).bytes(280_000)
    store.answers.append(replaced_half_way(store, new))
    with pytest.raises(UserError, match="removed or replaced since.*same command again"):
        fetching()
    assert left_behind(tmp_path) == []

    fetched = fetching()

    assert fetched_bytes(tmp_path) == new
    record = fetched.checkpoint.files["ckpt.399"]
    assert (record.content.size, record.generation) == (280_000, "3")


def test_an_object_replaced_between_two_runs_is_not_pieced_together(
    store: Store, fetching: Callable[..., Fetched], tmp_path: Path
) -> None:
    store.answers += [falls_silent_after(200_000), *[status(503)] * 3]
    with pytest.raises(UserError):
        fetching()
    new = CONTENT[::-1]
    store.put(CHECKPOINT, new)
    store.downloads.clear()

    fetching()

    assert store.downloads[0] == ("ckpt.399", 0)
    assert fetched_bytes(tmp_path) == new


def test_a_store_without_ranges_is_read_from_the_start(
    store: Store, fetching: Callable[..., Fetched], tmp_path: Path
) -> None:
    store.answers += [drops_after(200_000), ignores_the_range]
    fetching()
    assert fetched_bytes(tmp_path) == CONTENT


def test_a_silent_connection_is_taken_for_lost(
    store: Store, fetching: Callable[..., Fetched], tmp_path: Path
) -> None:
    store.answers.append(falls_silent_after(100_000))
    fetching()
    assert fetched_bytes(tmp_path) == CONTENT
    assert store.downloads[1] == ("ckpt.399", 100_000)


def test_a_stream_without_end_is_cut_off_at_the_announced_size(
    store: Store, fetching: Callable[..., Fetched], tmp_path: Path
) -> None:
    store.answers.append(streams_for_ever)
    fetching()
    # It begins with the right bytes, so the checksum is right, too.
    assert fetched_bytes(tmp_path) == CONTENT


def test_an_answer_that_ends_early_is_asked_for_the_rest(
    store: Store, fetching: Callable[..., Fetched], tmp_path: Path
) -> None:
    def short(request: _Request, content: bytes) -> None:
        request.head(content, length=1000, first=0)
        request.wfile.write(content[:1000])

    store.answers.append(short)
    fetching()
    assert fetched_bytes(tmp_path) == CONTENT
    assert store.downloads[1] == ("ckpt.399", 1000)


@pytest.mark.parametrize("known", ["both", "md5Hash", "crc32c"])
def test_wrong_bytes_are_removed_and_told(
    store: Store, fetching: Callable[..., Fetched], tmp_path: Path, known: str
) -> None:
    other = {"md5Hash": "crc32c", "crc32c": "md5Hash"}.get(known)
    store.put(CHECKPOINT, CONTENT, **({other: None} if other else {}))
    # One bit of 300,000 bytes.
    store.bytes[CHECKPOINT] = CONTENT[:-1] + bytes([CONTENT[-1] ^ 1])
    with pytest.raises(UserError, match=r"the download has (crc32c|md5) .* deleted.*again"):
        fetching()
    assert not (tmp_path / "Pong/dqn400-run1/checkpoints/ckpt.399").exists()
    assert left_behind(tmp_path) == []


def test_a_part_spoiled_on_the_disk_is_found_by_the_checksum(
    store: Store, fetching: Callable[..., Fetched], tmp_path: Path
) -> None:
    store.answers += [falls_silent_after(200_000), *[status(503)] * 3]
    with pytest.raises(UserError):
        fetching()
    part = part_of_the_checkpoint(tmp_path)
    part.write_bytes(bytes(200_000))
    with pytest.raises(UserError, match="crc32c"):
        fetching()
    fetching()
    assert fetched_bytes(tmp_path) == CONTENT


def test_what_no_checksum_verifies_is_refused(
    store: Store, fetching: Callable[..., Fetched], tmp_path: Path
) -> None:
    store.put(CHECKPOINT, CONTENT, md5Hash=None, crc32c=None)
    with pytest.raises(UserError, match="no checksum"):
        fetching()
    assert list(tmp_path.iterdir()) == []


def test_a_checkpoint_that_the_store_holds_gzipped_is_refused(
    store: Store, fetching: Callable[..., Fetched]
) -> None:
    store.put(CHECKPOINT, CONTENT, contentEncoding="gzip")
    with pytest.raises(UserError, match="holds it gzipped"):
        fetching()


def test_files_beyond_the_limit_and_beyond_the_disk_are_refused_before_anything_is_written(
    store: Store, fetching: Callable[..., Fetched], tmp_path: Path
) -> None:
    store.put(CHECKPOINT, CONTENT, size=str(4 << 40))
    with pytest.raises(UserError, match=r"4.0 TiB together, the limit is 1.0 GiB; raise --max-gib"):
        fetching()
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(UserError, match=r"4.0 TiB to download; make room.*--cache or RRL_CACHE"):
        fetching(max_gib=1 << 20)
    assert store.downloads == []


def test_a_disk_that_is_full_loses_nothing(
    store: Store, fetching: Callable[..., Fetched], tmp_path: Path
) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (200_000, hard))
    try:
        with pytest.raises(UserError, match="File too large; fix that and run the same command"):
            fetching()
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert part_of_the_checkpoint(tmp_path).read_bytes() == CONTENT[:200_000]

    fetching()

    assert store.downloads[1] == ("ckpt.399", 200_000)
    assert fetched_bytes(tmp_path) == CONTENT


def test_the_proxy_of_the_environment_is_used(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("http_proxy", store.url)
    bucket = Bucket("http://store.invalid", "rl_checkpoints", Http(retries=QUICK))
    assert list_games(bucket, public_agent("dqn400")) == ["Pong"]


def test_files_that_are_here_are_not_downloaded_again(
    store: Store, fetching: Callable[..., Fetched], tmp_path: Path
) -> None:
    assert fetching(checkpoint=399).downloaded == 2
    store.downloads.clear()

    assert fetching(checkpoint=399).downloaded == 0
    assert store.downloads == []
    request = FetchRequest(game="PONG", checkpoint=399)
    # The network is not needed at all then.
    here = fetched_before(request, tmp_path)
    assert here is not None
    assert here.name == "Pong/dqn400-run1"


def test_a_file_changed_on_the_disk_is_found_by_verify_and_fetched_again(
    store: Store, fetching: Callable[..., Fetched], tmp_path: Path
) -> None:
    fetching()
    file = tmp_path / "Pong/dqn400-run1/checkpoints/ckpt.399"
    file.write_bytes(CONTENT[::-1])

    assert fetching().downloaded == 0
    assert fetching(verify=True).downloaded == 1
    assert fetched_bytes(tmp_path) == CONTENT


def test_a_file_that_was_cut_short_is_fetched_again(
    store: Store, fetching: Callable[..., Fetched], tmp_path: Path
) -> None:
    fetching()
    (tmp_path / "Pong/dqn400-run1/checkpoints/ckpt.399").write_bytes(CONTENT[:10])
    assert fetching().downloaded == 1
    assert fetched_bytes(tmp_path) == CONTENT


def test_whole_files_of_an_interrupted_fetch_are_recognised(
    store: Store, fetching: Callable[..., Fetched], tmp_path: Path
) -> None:
    store.answers += [whole, *[status(503)] * 4]
    with pytest.raises(UserError):
        fetching()
    assert fetched_bytes(tmp_path) == CONTENT
    # Without a record it is read and compared, which is quicker than the network.
    assert fetching().downloaded == 1


def test_two_fetches_of_one_agent_exclude_each_other(
    store: Store, fetching: Callable[..., Fetched], tmp_path: Path
) -> None:
    directory = tmp_path / "Pong/dqn400-run1"
    directory.mkdir(parents=True)
    with (
        locked(directory / ".fetch.lock"),
        pytest.raises(UserError, match="in use by another process"),
    ):
        fetching()


def test_lists_of_several_pages_are_read_to_the_end(
    store: Store, fetching: Callable[..., Fetched], tmp_path: Path
) -> None:
    for number in range(20):
        store.put(f"{FOLDER}ckpt.{number}", b"x")
    store.page_size = 3
    assert fetching(checkpoint=399).checkpoint.number == 399


def test_a_list_without_end_is_cut_off(store: Store, fetching: Callable[..., Fetched]) -> None:
    def more(request: _Request) -> None:
        request.json({"nextPageToken": "again"})

    store.lists += [more] * (MAX_PAGES + 1)
    with pytest.raises(UserError, match=f"more than {MAX_PAGES} pages"):
        fetching()


HOSTILE_ITEMS: dict[str, dict[str, Any]] = {
    "no name": {"name": None},
    "a name that is a number": {"name": 7},
    "a size below zero": {"size": "-1"},
    "a size in words": {"size": "many"},
    "a checksum that is not base64": {"md5Hash": "###"},
    "a checksum that is a list": {"md5Hash": [1]},
}


@pytest.mark.parametrize("case", sorted(HOSTILE_ITEMS))
def test_a_hostile_list_is_refused(
    store: Store, fetching: Callable[..., Fetched], tmp_path: Path, case: str
) -> None:
    store.items[CHECKPOINT] = {**store.items[CHECKPOINT], **HOSTILE_ITEMS[case]}
    with pytest.raises(UserError, match="is not a valid store"):
        fetching()
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "body", [b"[]", b"{", b"[" * 100_000, b'{"items": [' + b"\xff", b"x" * (17 << 20)]
)
def test_a_list_that_is_none_is_refused(
    store: Store, fetching: Callable[..., Fetched], body: bytes
) -> None:
    def nonsense(request: _Request) -> None:
        request.head(body, first=0)
        request.wfile.write(body)

    store.lists.append(nonsense)
    with pytest.raises(UserError, match="is not a valid store"):
        fetching()


@pytest.mark.parametrize(
    "name",
    [
        FOLDER + "../../../../evil/ckpt.400",
        FOLDER + "ckpt.400/../../../../.bashrc",
        FOLDER + "..\\ckpt.400",
        FOLDER + "ckpt.400\n",
        FOLDER + "ckpt.0400",
        FOLDER + "\x1b]0;evil\x07ckpt.400",
        "/etc/ckpt.400",
        "DQN_400/Pong/2/checkpoints/ckpt.400",
        FOLDER + "ckpt.４００",
    ],
)
def test_names_that_were_not_asked_for_are_left_aside(
    store: Store, fetching: Callable[..., Fetched], tmp_path: Path, name: str
) -> None:
    # Answered whatever was asked for: the list below our prefix has it, too.
    store.put(name, b"evil")
    listed = list(store.items.values())
    folders = {"prefixes": ["DQN_400/Pong/"]}
    store.lists += [lambda r: r.json(folders), lambda r: r.json({"items": listed})]

    assert fetching().checkpoint.number == 399
    found = {path.name for path in tmp_path.rglob("*") if path.is_file()}
    wanted = {"ckpt.399", "sentinel_checkpoint_complete.399", "source.json", ".fetch.lock"}
    assert found == wanted


def test_games_with_path_tricks_are_left_aside(store: Store, http: Http) -> None:
    tricks = ["../", "Po ng/", "\x1b[2J/", "a/b/", "/", "Pong/", "Breakout/"]
    prefixes = [f"DQN_400/{trick}" for trick in tricks] + ["elsewhere/Qbert/"]
    store.lists.append(lambda request: request.json({"prefixes": prefixes}))
    bucket = Bucket(store.url, "rl_checkpoints", http)
    assert list_games(bucket, public_agent("dqn400")) == ["Breakout", "Pong"]


@pytest.mark.parametrize("killer", [signal.SIGINT, signal.SIGKILL])
def test_a_killed_command_leaves_the_part_and_the_same_command_resumes(
    store: Store, tmp_path: Path, killer: signal.Signals
) -> None:
    arguments = ["teacher", "fetch", "--game", "pong", "--endpoint", store.url]
    arguments += ["--cache", str(tmp_path)]
    # Silent for longer than this test takes; the command's own timeout is a minute.
    store.answers.append(falls_silent_after(200_000))
    # A shell's background jobs, as this test may be, have their children ignore Ctrl-C.
    command = "import signal; signal.signal(signal.SIGINT, signal.default_int_handler); "
    command += "from services.cli.main import main; main()"
    process = subprocess.Popen(
        [sys.executable, "-c", command, *arguments], cwd=ROOT, stderr=subprocess.PIPE, text=True
    )
    folder = tmp_path / "checkpoints/Pong/dqn400-run1/checkpoints"
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not [1 for part in folder.glob("ckpt.399.*.part") if part.stat().st_size == 200_000]:
        assert time.monotonic() < deadline
        time.sleep(0.02)
    process.send_signal(killer)
    _, printed = process.communicate(timeout=PATIENCE_SECONDS)
    if killer == signal.SIGINT:
        assert process.returncode == 130, printed
        assert "the same command resumes from here" in printed
    assert not (folder / "ckpt.399").exists()

    done = subprocess.run(
        [sys.executable, "-m", "services.cli.main", *arguments],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=PATIENCE_SECONDS,
    )

    assert done.returncode == 0, done.stderr
    assert "Pong/dqn400-run1: checkpoint 399" in done.stdout
    assert store.downloads[1] == ("ckpt.399", 200_000)
    assert fetched_bytes(tmp_path / "checkpoints") == CONTENT


def test_a_busy_store_is_asked_for_its_list_again(
    store: Store, fetching: Callable[..., Fetched]
) -> None:
    store.lists += [lambda r: status(503)(r, b""), lambda r: status(429)(r, b"")]
    assert fetching().checkpoint.number == 399


def test_a_bucket_that_is_not_there_is_told(store: Store, fetching: Callable[..., Fetched]) -> None:
    store.lists.append(lambda request: status(404)(request, b""))
    with pytest.raises(UserError, match="rl_checkpoints at http.*--endpoint or STORAGE_EMU"):
        fetching()


def test_a_checkpoint_without_its_sentinel_is_not_taken_by_url(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(EMULATOR_VARIABLE, store.url)
    for number in range(3):
        store.put(f"agent/ckpt.{number}", b"x")
    for number in range(2):
        store.put(f"agent/sentinel_checkpoint_complete.{number}", b"done")
    url = "gs://rl_checkpoints/agent"
    for number, came in ((None, 1), (0, 0)):
        place = download_reference(url, tmp_path, number=number)
        names = {f"ckpt.{came}", f"sentinel_checkpoint_complete.{came}"}
        assert {file.name for file in place.iterdir()} == names
    with pytest.raises(UserError, match="no whole checkpoint 2; there: 0, 1"):
        download_reference(url, tmp_path, number=2)


def test_an_object_that_is_stored_compressed_is_refused(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(EMULATOR_VARIABLE, store.url)
    store.put("policy.onnx", CONTENT, contentEncoding="gzip")
    with pytest.raises(UserError, match=r"policy.onnx is stored compressed.*unpack it"):
        download_reference("gs://rl_checkpoints/policy.onnx", tmp_path)


def test_a_url_of_another_store_is_downloaded_anew(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for content, endpoint in ((b"ours", "127.0.0.1"), (b"theirs", "localhost")):
        store.put("policy.onnx", content)
        monkeypatch.setenv(EMULATOR_VARIABLE, f"{endpoint}:{store.server_port}")
        place = download_reference("gs://rl_checkpoints/policy.onnx", tmp_path)
        assert place.read_bytes() == content


def test_nobody_listening_is_told_with_the_address(http: Http) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    bucket = Bucket(f"http://127.0.0.1:{port}", "rl_checkpoints", http)
    with pytest.raises(UserError, match=f"{port}.*Connection refused; gave up after 4"):
        list_games(bucket, public_agent("dqn400"))

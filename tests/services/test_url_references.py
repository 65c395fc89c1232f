"""References by https-like URLs, from a web server that changes, redirects and drops."""

from __future__ import annotations

import contextlib
import ssl
import threading
import time
from collections import deque
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest
import trustme
from urllib3.util import Retry

from services.library.fetch.http_retries import Http
from services.library.fetch.references import download_reference
from services.shared.errors import UserError

CONTENT = np.random.default_rng(0).bytes(300_000)
OTHER = np.random.default_rng(1).bytes(300_000)


class Server(ThreadingHTTPServer):
    """Serves one content, or once what was `announced`.

    `cuts` says after how many bytes the next answers end.
    """

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Request)
        self.content = CONTENT
        self.headers = {"ETag": '"1"'}
        self.cuts: deque[int] = deque()
        self.says_size = True
        self.moved_to = "/policy.onnx"
        self.announced: tuple[dict[str, str], bytes] | None = None
        self.redirect_bytes = 0
        self.sent = 0
        self.asked: list[tuple[str, str | None]] = []
        self.credentials: list[str | None] = []

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"


class _Request(BaseHTTPRequestHandler):
    server: Server

    def log_message(self, format: str, *args: object) -> None:
        return

    def do_GET(self) -> None:
        self.server.asked.append((self.path, self.headers["Range"]))
        self.server.credentials.append(self.headers["Authorization"])
        if self.path == "/moved.onnx":
            self.send_response(302)
            self.send_header("Location", self.server.moved_to)
            self.send_header("Content-Length", str(self.server.redirect_bytes))
            self.end_headers()
            self._redirect_body()
        elif self.path in ("/policy.onnx", "/models/policy.onnx?download=true"):
            self._answer()
        else:
            self.send_error(404)

    def _redirect_body(self) -> None:
        # Until the client hangs up.
        with contextlib.suppress(OSError):
            while self.server.sent < self.server.redirect_bytes:
                self.server.sent += self.wfile.write(bytes(1 << 20))

    def _answer(self) -> None:
        server = self.server
        headers, content = server.announced or (server.headers, server.content)
        server.announced = None
        same = self.headers["If-Range"] in (None, headers.get("ETag"))
        asked = self.headers["Range"] if same else None
        first = int(asked.removeprefix("bytes=").rstrip("-")) if asked else 0
        body = content[first:]
        self.send_response(206 if first else 200)
        if first:
            total = len(content)
            self.send_header("Content-Range", f"bytes {first}-{total - 1}/{total}")
        if server.says_size:
            self.send_header("Content-Length", str(len(body)))
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()
        cut = server.cuts.popleft() if server.cuts else None
        self.wfile.write(body[:cut])


@pytest.fixture
def server() -> Iterator[Server]:
    server = Server()
    thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    yield server
    server.shutdown()
    server.server_close()
    thread.join()


@pytest.fixture
def tls_server(server: Server, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The server, behind TLS; gives the file of its certificate authority."""
    authority = trustme.CA()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1").configure_cert(context)
    server.socket = context.wrap_socket(server.socket, server_side=True)
    file = tmp_path_factory.mktemp("tls") / "ca.pem"
    authority.cert_pem.write_to_path(str(file))
    return file


@pytest.fixture
def http() -> Http:
    return Http(retries=Retry(total=1), follows_redirects=True)


def test_a_file_comes_once_under_its_own_name(server: Server, http: Http, tmp_path: Path) -> None:
    url = f"{server.url}/models/policy.onnx?download=true"
    place = download_reference(url, tmp_path, http=http)
    assert place.name == "policy.onnx"
    assert place.read_bytes() == CONTENT
    asked = len(server.asked)
    assert download_reference(url, tmp_path, http=http) == place
    assert len(server.asked) == asked
    left = [path.name for path in tmp_path.iterdir() if not path.name.endswith(".lock")]
    assert left == [place.parent.name]


def test_redirects_are_followed(server: Server, http: Http, tmp_path: Path) -> None:
    place = download_reference(f"{server.url}/moved.onnx", tmp_path, http=http)
    assert (place.name, place.read_bytes()) == ("moved.onnx", CONTENT)


@pytest.mark.parametrize("follows", [True, False])
def test_the_body_of_a_redirect_is_not_read(server: Server, tmp_path: Path, follows: bool) -> None:
    server.redirect_bytes = 200 << 20
    http = Http(retries=Retry(total=1), follows_redirects=follows)
    expected = contextlib.nullcontext() if follows else pytest.raises(UserError, match="status 302")
    with expected:
        download_reference(f"{server.url}/moved.onnx", tmp_path, http=http)
    # Buffers of the two sockets take a few.
    assert server.sent < 50 << 20


@pytest.mark.parametrize(
    ("place", "message"),
    [("/moved.onnx", "more than 10 redirects"), ("http://[", "IPv6"), ("file:///x", "adapters")],
)
def test_redirects_that_lead_nowhere_are_refused(
    server: Server, http: Http, tmp_path: Path, place: str, message: str
) -> None:
    server.moved_to = place
    with pytest.raises(UserError, match=f"{message}.*check the URL"):
        download_reference(f"{server.url}/moved.onnx", tmp_path, http=http)


def test_credentials_are_those_of_the_url_and_go_to_its_host(
    server: Server, http: Http, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    netrc = tmp_path / "netrc"
    netrc.write_text("default login somebody password secret\n")
    monkeypatch.setenv("NETRC", str(netrc))
    download_reference(f"{server.url}/policy.onnx", tmp_path, http=http)
    assert {*server.credentials} == {None}
    server.credentials.clear()
    server.moved_to = f"http://localhost:{server.server_port}/policy.onnx"
    url = server.url.replace("://", "://user:word@")
    download_reference(f"{url}/moved.onnx", tmp_path, http=http)
    # Once for the headers, once for the content.
    assert server.credentials == ["Basic dXNlcjp3b3Jk", None] * 2


def test_no_redirect_leads_from_tls_to_plain_http(
    server: Server, tls_server: Path, http: Http, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(tls_server))
    url = server.url.replace("http:", "https:")
    plain = Server()
    thread = threading.Thread(target=plain.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    try:
        server.moved_to = f"{plain.url}/policy.onnx"
        with pytest.raises(UserError, match="redirects to a URL without TLS"):
            download_reference(f"{url}/moved.onnx", tmp_path, http=http)
        assert plain.asked == []
    finally:
        plain.shutdown()
        plain.server_close()
        thread.join()
    place = download_reference(f"{url}/policy.onnx", tmp_path, http=http)
    assert place.read_bytes() == CONTENT


def test_a_certificate_that_nobody_vouches_for_is_refused_at_once(
    server: Server, tls_server: Path, tmp_path: Path
) -> None:
    url = server.url.replace("http:", "https:")
    begin = time.monotonic()
    # With the usual retries, whose pauses are half a minute in all.
    with pytest.raises(UserError, match=r"certificate verify failed.*any proxy in between"):
        download_reference(f"{url}/policy.onnx", tmp_path)
    assert time.monotonic() - begin < 10


def interrupted(server: Server, http: Http, root: Path) -> str:
    # The first answer only says what there is; the next two break, which is one too many.
    server.cuts += [0, 100_000, 0, 0]
    url = f"{server.url}/policy.onnx"
    with pytest.raises(UserError, match="same command again, which resumes"):
        download_reference(url, root, http=http)
    server.asked.clear()
    server.cuts.clear()
    return url


def test_an_interrupted_download_resumes(server: Server, http: Http, tmp_path: Path) -> None:
    url = interrupted(server, http, tmp_path)
    assert download_reference(url, tmp_path, http=http).read_bytes() == CONTENT
    assert server.asked == [("/policy.onnx", None), ("/policy.onnx", "bytes=100000-")]


@pytest.mark.parametrize("headers", [{"ETag": '"2"'}, {}])
def test_a_file_that_may_have_changed_is_not_pieced_together(
    server: Server, http: Http, tmp_path: Path, headers: dict[str, str]
) -> None:
    server.headers = headers and {"ETag": '"1"'}
    url = interrupted(server, http, tmp_path)
    server.headers, server.content = headers, OTHER
    assert download_reference(url, tmp_path, http=http).read_bytes() == OTHER


@pytest.mark.parametrize("other", [OTHER, OTHER + b"more", OTHER[:1000]])
def test_a_file_that_changes_in_mid_download_comes_whole_the_next_time(
    server: Server, http: Http, tmp_path: Path, other: bytes
) -> None:
    url = interrupted(server, http, tmp_path)
    server.headers, server.content = {"ETag": '"2"'}, other
    # What the server said before the change.
    server.announced = ({"ETag": '"1"'}, CONTENT)
    with pytest.raises(UserError, match="replaced since it was listed; run the same command"):
        download_reference(url, tmp_path, http=http)
    assert download_reference(url, tmp_path, http=http).read_bytes() == other


@pytest.mark.parametrize(
    ("path", "message"),
    [
        ("/nothing.onnx", "there is nothing; check the URL"),
        ("/", "must end in a name"),
        ("/models/..", "must end in a name"),
        ("/%2e%2e", "must end in a name"),
        ("/a%20b", "must end in a name"),
    ],
)
def test_what_is_not_there_is_told(
    server: Server, http: Http, tmp_path: Path, path: str, message: str
) -> None:
    with pytest.raises(UserError, match=message):
        download_reference(server.url + path, tmp_path, http=http)


def test_a_file_without_a_size_and_one_beyond_the_limit_are_refused(
    server: Server, http: Http, tmp_path: Path
) -> None:
    url = f"{server.url}/policy.onnx"
    server.says_size = False
    with pytest.raises(UserError, match="does not say its size"):
        download_reference(url, tmp_path, http=http)
    server.headers["Content-Length"] = str(5 << 30)
    with pytest.raises(UserError, match=r"5.0 GiB together, the limit is 4.0 GiB"):
        download_reference(url, tmp_path, http=http)


def test_a_file_that_comes_compressed_is_refused(
    server: Server, http: Http, tmp_path: Path
) -> None:
    server.headers["Content-Encoding"] = "gzip"
    with pytest.raises(UserError, match=r"policy.onnx is stored compressed.*unpack it"):
        download_reference(f"{server.url}/policy.onnx", tmp_path, http=http)


@pytest.mark.parametrize("url", ["./gs://x/y", "file:///x/y", "ftp://x/y"])
def test_urls_of_other_kinds_are_refused(tmp_path: Path, url: str) -> None:
    with pytest.raises(UserError, match="https://, http://, gs:// or hf://, or a path"):
        download_reference(url, tmp_path)

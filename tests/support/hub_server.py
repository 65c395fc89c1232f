"""A Hugging Face Hub on loopback: the few calls that finding, downloading and uploading files make.

What huggingface_hub sends is answered as the Hub does: small files lie in git, others as LFS
objects that a download is redirected to, on another host, which must not see the token.
"""

from __future__ import annotations

import base64
import hashlib
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

TOKEN = "hf_" + "a" * 34

Content = dict[str, bytes]


class HubServer(ThreadingHTTPServer):
    """Repositories in memory.

    Attributes:
        commits: "ORG/REPO" -> its contents, oldest first.
        private: Repositories that are shown by the token alone.
        damaged: Whether downloads differ from what was announced.
        asked: Method and path of each request, with the Authorization it showed.
        storage: Where LFS objects lie; None for here.
    """

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Request)
        self.commits: dict[str, list[Content]] = {}
        self.private: set[str] = set()
        self.damaged = False
        self.asked: list[tuple[str, str, str | None]] = []
        self.objects: dict[str, bytes] = {}
        self.storage: HubServer | None = None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"

    def revision(self, repository: str, revision: str) -> Content | None:
        """Content of a revision: main, or the digest of a commit."""
        commits = self.commits.get(repository, [])
        if revision == "main":
            return commits[-1] if commits else None
        return next((one for one in commits if commit_of(one) == revision), None)


@contextmanager
def running_hub() -> Iterator[HubServer]:
    """A Hub, and the host of its LFS objects."""
    with HubServer() as hub, HubServer() as storage:
        hub.storage, storage.objects = storage, hub.objects
        threads = [
            threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
            for server in (hub, storage)
        ]
        for thread in threads:
            thread.start()
        yield hub
        for server in (hub, storage):
            server.shutdown()
        for thread in threads:
            thread.join()


def commit_of(content: Content) -> str:
    """The name of a commit, as git's: 40 hexadecimal digits."""
    names = [(name, hashlib.sha256(data).hexdigest()) for name, data in sorted(content.items())]
    return hashlib.sha1(repr(names).encode()).hexdigest()


def is_large(name: str) -> bool:
    """Whether a file becomes an LFS object."""
    return name.endswith((".safetensors", ".zip", ".onnx"))


class _Request(BaseHTTPRequestHandler):
    server: HubServer

    def log_message(self, format: str, *args: object) -> None:
        return

    def do_GET(self) -> None:
        path = self._note("GET")
        match path.strip("/").split("/"):
            case ["api", "models", org, name, "revision", revision]:
                self._model(f"{org}/{name}", revision)
            case ["api", "models", org, name]:
                self._model(f"{org}/{name}", "main")
            case [org, name, "resolve", revision, *file]:
                self._file(f"{org}/{name}", revision, "/".join(file))
            case ["objects", oid]:
                self._content(self.server.objects[oid])
            case _:
                self.send_error(404)

    def do_PUT(self) -> None:
        path = self._note("PUT")
        self.server.objects[path.rpartition("/")[2]] = self._body()
        self._json({})

    def do_POST(self) -> None:
        path = self._note("POST")
        body = self._body()
        if path == "/api/validate-yaml":
            self._json({"errors": [], "warnings": []})
        elif self.headers["Authorization"] != f"Bearer {TOKEN}":
            self._refuse(401, "")
        elif path == "/api/repos/create":
            self._create(json.loads(body))
        elif path.endswith("/info/lfs/objects/batch"):
            self._json({"transfer": "basic", "objects": self._uploads(json.loads(body)["objects"])})
        elif "/preupload/" in path:
            files = [
                {
                    "path": file["path"],
                    "uploadMode": "lfs" if is_large(file["path"]) else "regular",
                    "shouldIgnore": False,
                }
                for file in json.loads(body)["files"]
            ]
            self._json({"files": files})
        else:
            self._commit("/".join(path.split("/")[3:5]), body)

    def _create(self, wanted: dict[str, Any]) -> None:
        repository = "/".join(part for part in (wanted.get("organization"), wanted["name"]) if part)
        about = {"url": f"{self.server.url}/{repository}"}
        if repository in self.server.commits:
            self._json(about, status=409)
            return
        if wanted.get("private") or wanted.get("visibility") == "private":
            self.server.private.add(repository)
        self.server.commits[repository] = [{}]
        self._json(about)

    def _uploads(self, objects: list[dict[str, Any]]) -> list[dict[str, Any]]:
        return [
            one | {"actions": {"upload": {"href": f"{self.server.url}/objects/{one['oid']}"}}}
            for one in objects
        ]

    def _commit(self, repository: str, body: bytes) -> None:
        content = dict(self.server.commits[repository][-1])
        for line in map(json.loads, body.splitlines()):
            value = line["value"]
            if line["key"] == "file":
                content[value["path"]] = base64.b64decode(value["content"])
            elif line["key"] == "lfsFile":
                content[value["path"]] = self.server.objects[value["oid"]]
            elif line["key"] == "deletedFile":
                del content[value["path"]]
        self.server.commits[repository].append(content)
        oid = commit_of(content)
        url = f"{self.server.url}/{repository}/commit/{oid}"
        self._json({"success": True, "commitUrl": url, "commitOid": oid})

    def _seen(self, repository: str, revision: str) -> Content | None:
        """What the request may see; None where it has been refused."""
        is_open = repository not in self.server.private
        if not is_open and self.headers["Authorization"] != f"Bearer {TOKEN}":
            self._refuse(401, "RepoNotFound")
            return None
        if repository not in self.server.commits:
            self._refuse(404, "RepoNotFound")
            return None
        content = self.server.revision(repository, revision)
        if content is None:
            self._refuse(404, "RevisionNotFound")
        return content

    def _model(self, repository: str, revision: str) -> None:
        content = self._seen(repository, revision)
        if content is None:
            return
        siblings = []
        for name, data in content.items():
            blob = hashlib.sha1(b"blob %d\0%b" % (len(data), data)).hexdigest()
            one: dict[str, Any] = {"rfilename": name, "size": len(data), "blobId": blob}
            if is_large(name):
                digest = hashlib.sha256(data).hexdigest()
                one["lfs"] = {"sha256": digest, "size": len(data), "pointerSize": 130}
            siblings.append(one)
        about = {"id": repository, "sha": commit_of(content), "siblings": siblings}
        self._json(about | {"private": repository in self.server.private})

    def _file(self, repository: str, revision: str, name: str) -> None:
        content = self._seen(repository, revision)
        if content is None:
            return
        data = content[name]
        if self.server.damaged:
            data = bytes(len(data))
        if not is_large(name):
            self._content(data)
            return
        assert self.server.storage is not None
        oid = hashlib.sha256(data).hexdigest()
        self.server.objects[oid] = data
        self.send_response(302)
        self.send_header("Location", f"{self.server.storage.url}/objects/{oid}")
        self.send_header("Content-Length", "0")
        self.end_headers()

    def _note(self, method: str) -> str:
        path = self.path.partition("?")[0]
        self.server.asked.append((method, path, self.headers["Authorization"]))
        return path

    def _body(self) -> bytes:
        return self.rfile.read(int(self.headers["Content-Length"]))

    def _json(self, answer: dict[str, Any], status: int = 200) -> None:
        self._content(json.dumps(answer).encode(), "application/json", status)

    def _content(
        self, data: bytes, kind: str = "application/octet-stream", status: int = 200
    ) -> None:
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def _refuse(self, status: int, code: str) -> None:
        self.send_response(status)
        self.send_header("X-Error-Code", code)
        self.send_header("Content-Length", "0")
        self.end_headers()

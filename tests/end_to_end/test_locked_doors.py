"""Runs whose doors are locked, and where the processes of a run listen."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import psutil
import pytest
import trustme

from rrl_client import ClientSecurity
from services.shared.addresses import free_port
from services.shared.health import is_serving

if TYPE_CHECKING:
    from tests.end_to_end.conftest import CatchRun

RRL = Path(sys.executable).parent / "rrl"
PATIENCE_SECONDS = 800.0
"""Six processes begin at once, and a machine may have more to do."""
TOKEN = "0123456789abcdef"
SETTINGS = (
    *("--environment.name", "catch", "--network.name", "mlp", "--network.features", "64"),
    "--online-steps=600",
    "--teacher-steps=400",
    "--method.offline-updates=100",
    "--num-actors=1",
    "--envs-per-actor=4",
    "--replay-capacity=20000",
    "--publish-period-updates=20",
    "--method.q-learning.min-replay-size=200",
    "--method.q-learning.target-update-steps=200",
    "--method.q-learning.epsilon-decay-steps=200",
    "--evaluation.final-episodes=4",
)


class Commands:
    """Processes of `rrl`, their output in a folder; all are killed at the end."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._running: dict[str, subprocess.Popen[bytes]] = {}

    def start(self, name: str, *arguments: str) -> None:
        with self._log(name).open("wb") as log:
            self._running[name] = subprocess.Popen(
                [str(RRL), *arguments], stdout=log, stderr=subprocess.STDOUT
            )

    def output(self, name: str) -> str:
        return self._log(name).read_text()

    def wait(self, name: str) -> int:
        try:
            code = self._running[name].wait(PATIENCE_SECONDS)
        except subprocess.TimeoutExpired as error:
            outputs = "\n".join(f"{name}:\n{self.output(name)}" for name in self._running)
            raise AssertionError(f"{name} does not end\n{outputs}") from error
        del self._running[name]
        return code

    def wait_until(self, condition: Callable[[], bool]) -> None:
        end = time.monotonic() + PATIENCE_SECONDS
        while not condition():
            for name, process in self._running.items():
                assert process.poll() is None, f"{name} ended:\n{self.output(name)}"
            assert time.monotonic() < end, "waited in vain"
            time.sleep(0.1)

    def kill(self) -> None:
        for process in self._running.values():
            process.kill()
            process.wait()

    def _log(self, name: str) -> Path:
        return self._folder / f"{name}.log"


@pytest.fixture
def commands(tmp_path: Path) -> Iterator[Commands]:
    made = Commands(tmp_path)
    yield made
    made.kill()


@pytest.mark.slow
def test_a_run_behind_tls_and_tokens_trains_and_lets_no_stranger_in(
    commands: Commands, catch_teacher: Path, tmp_path: Path
) -> None:
    authority = trustme.CA()
    server = authority.issue_cert("localhost")
    files = {name: tmp_path / name for name in ("ca", "certificate", "key", "client", "client_key")}
    authority.cert_pem.write_to_path(files["ca"])
    files["certificate"].write_bytes(b"".join(pem.bytes() for pem in server.cert_chain_pems))
    server.private_key_pem.write_to_path(files["key"])
    client = authority.issue_cert("role.example")
    files["client"].write_bytes(b"".join(pem.bytes() for pem in client.cert_chain_pems))
    client.private_key_pem.write_to_path(files["client_key"])
    tokens = tmp_path / "tokens"
    tokens.write_text(TOKEN)

    locked = (
        f"--certificate={files['certificate']}",
        f"--private-key={files['key']}",
        f"--client-ca={files['ca']}",
        f"--token-file={tokens}",
        "--host=0.0.0.0",
    )
    peers = (
        f"--peers.root-certificates={files['ca']}",
        f"--peers.certificate={files['client']}",
        f"--peers.private-key={files['client_key']}",
        f"--peers.token-file={tokens}",
    )
    ports = {name: free_port() for name in ("teacher", "replay", "control", "learner")}
    address = {name: f"localhost:{port}" for name, port in ports.items()}
    run = tmp_path / "run"
    settings = ("qdagger", *SETTINGS, f"--teacher.checkpoint={catch_teacher}")

    commands.start(
        "teacher",
        *("teacher", "serve", f"--checkpoint={catch_teacher}", "--backend=jax"),
        *(f"--port={ports['teacher']}", "--metrics-port=None", *locked),
    )
    commands.start(
        "replay",
        *("replay", *settings, f"--run={run}", f"--port={ports['replay']}"),
        *(f"--control-port={ports['control']}", *locked),
    )
    commands.start(
        "learner",
        *("learner", *settings, f"--run={run}", f"--port={ports['learner']}", *locked, *peers),
        f"--replay-address={address['replay']}",
        f"--replay-control-address={address['control']}",
    )
    to_learner = f"--learner-address={address['learner']}"
    to_teacher = f"--teacher-address={address['teacher']}"
    actor = ("actor", *settings, to_learner, to_teacher, f"--replay-address={address['replay']}")
    commands.start("evaluator", "evaluator", *settings, f"--run={run}", to_learner, *peers)

    security = ClientSecurity(
        root_certificates=files["ca"],
        certificate=files["client"],
        private_key=files["client_key"],
    )
    for name in ("teacher", "control", "learner"):
        commands.wait_until(
            lambda target=address[name]: is_serving(target, timeout_seconds=5, security=security)
        )
        without = ClientSecurity(root_certificates=files["ca"])
        assert not is_serving(address[name], timeout_seconds=5, security=without)

    # One with a certificate and a wrong token ends with that error.
    other = tmp_path / "other"
    other.write_text(TOKEN[::-1])
    commands.start("stranger", *actor, *peers[:-1], f"--peers.token-file={other}", "--index=1")
    assert commands.wait("stranger") == 2, commands.output("stranger")
    assert "this service requires a valid bearer token" in commands.output("stranger")

    # Nothing is played before this one comes.
    commands.start("actor", *actor, *peers)
    assert commands.wait("learner") == 0, commands.output("learner")
    assert commands.wait("actor") == 0, commands.output("actor")
    assert commands.wait("evaluator") == 0, commands.output("evaluator")
    *_, last = (run / "metrics" / "evaluations.jsonl").read_text().splitlines()
    record = json.loads(last)
    # 600 steps, the first 200 of which are not learned from, and an update every 4.
    assert (record["player"], record["final"], record["online_updates"]) == ("student", True, 100)


@pytest.mark.slow
def test_a_run_is_taught_by_a_service_that_runs_already_behind_tls_and_a_token(
    commands: Commands,
    catch_run: Callable[..., CatchRun],
    catch_teacher: Path,
    tmp_path: Path,
) -> None:
    authority = trustme.CA()
    server = authority.issue_cert("localhost")
    files = {name: tmp_path / name for name in ("ca", "certificate", "key", "tokens")}
    authority.cert_pem.write_to_path(files["ca"])
    files["certificate"].write_bytes(b"".join(pem.bytes() for pem in server.cert_chain_pems))
    server.private_key_pem.write_to_path(files["key"])
    files["tokens"].write_text(TOKEN)
    address = f"localhost:{free_port()}"
    commands.start(
        "teacher",
        *("teacher", "serve", f"--checkpoint={catch_teacher}", "--backend=jax"),
        *(f"--port={address.partition(':')[2]}", "--metrics-port=None"),
        *(f"--certificate={files['certificate']}", f"--private-key={files['key']}"),
        f"--token-file={files['tokens']}",
    )
    security = ClientSecurity(root_certificates=files["ca"])
    commands.wait_until(lambda: is_serving(address, timeout_seconds=5, security=security))
    run = catch_run(
        "qdagger",
        *(flag for flag in SETTINGS if flag.startswith("--") and "=" in flag),
        f"--teacher.address={address}",
        f"--peers.root-certificates={files['ca']}",
        f"--peers.token-file={files['tokens']}",
    )
    run.start()
    assert run.wait() == 0, run.err
    assert run.roles == {"replay", "learner", "actor", "evaluator"}
    *_, last = (run.folder / "metrics" / "evaluations.jsonl").read_text().splitlines()
    assert json.loads(last)["final"]
    config = json.loads((run.folder / "config.json").read_text())
    assert config["teacher"]["name"] == "catch_by_hand"
    assert config["teacher_return"] == 1.0


@pytest.mark.slow
def test_the_processes_of_a_run_listen_on_loopback_alone_but_for_reverb(
    catch_run: Callable[..., CatchRun], catch_teacher: Path
) -> None:
    settings = [flag for flag in SETTINGS if flag.startswith("--") and "=" in flag]
    run = catch_run("qdagger", f"--teacher.checkpoint={catch_teacher}", *settings)
    run.start()
    run.wait_until(lambda: "learner at" in run.out and "metrics pages: teacher at" in run.out)
    run.address("replay")
    replay = run.process("replay").pid
    beyond: dict[int, set[int]] = {}
    roles: set[int] = set()
    while run.launcher.poll() is None:
        launcher = psutil.Process(run.launcher.pid)
        for process in [launcher, *launcher.children(recursive=True)]:
            roles.add(process.pid)
            found = open_to_others(process)
            if found:
                beyond.setdefault(process.pid, set()).update(found)
        time.sleep(0.5)
    assert run.wait() == 0, run.err
    # Reverb knows no interfaces: a guard shares its port and turns others away.
    assert set(beyond) == {replay}
    assert len(beyond[replay]) == 1
    # The launcher, teacher, replay, learner, evaluator and an actor.
    assert len(roles) >= 6


def open_to_others(process: psutil.Process) -> set[int]:
    """Ports that a process listens on beyond loopback."""
    try:
        connections = process.net_connections(kind="tcp")
    except psutil.NoSuchProcess:
        return set()
    return {
        connection.laddr.port
        for connection in connections
        if connection.status == psutil.CONN_LISTEN
        and connection.laddr.ip.removeprefix("::ffff:") not in ("127.0.0.1", "::1")
    }

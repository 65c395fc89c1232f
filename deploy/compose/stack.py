"""The compose stack under test: start it, inspect it, kill parts of it, and remove it."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
STAND_IN = Path(__file__).with_name("prometheus-stand-in.Dockerfile")
STAND_IN_IMAGE = "rrl-prometheus-stand-in:latest"
ROLES = ("teacher", "replay", "learner", "actor", "evaluator")

_BUILD_SECONDS = 1800.0
_COMMAND_SECONDS = 600.0


class CommandError(Exception):
    """A command failed; the message has its output."""


def run(command: Sequence[str], *, timeout: float = _COMMAND_SECONDS, **options: Any) -> str:
    """What a command prints on stdout.

    Raises:
        CommandError: it failed, could not be started, or took longer than `timeout` seconds.
    """
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, timeout=timeout, check=False, **options
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise CommandError(f"{' '.join(command)}: {error}") from error
    if done.returncode != 0:
        said = (done.stdout + done.stderr).strip()[-4000:]
        raise CommandError(f"{' '.join(command)} ended with {done.returncode}:\n{said}")
    return str(done.stdout)


def missing_engine() -> str | None:
    """Why there is no engine with compose v2 here; None if there is."""
    try:
        run(["docker", "info"], timeout=60)
        run(["docker", "compose", "version"], timeout=60)
    except CommandError as error:
        return str(error).strip().splitlines()[-1]
    return None


class Stack:
    """One project of the repository's docker-compose.yml.

    Args:
        project: Name of the project; separates it from others on the same engine.
        environment: Variables that the file reads; an .env beside it is ignored.
    """

    def __init__(self, project: str, environment: Mapping[str, str]) -> None:
        self.project = project
        self._environment = {**os.environ, **environment}

    def compose(self, *arguments: str, timeout: float = _COMMAND_SECONDS) -> str:
        """Run `docker compose`; returns what it prints on stdout."""
        command = ["docker", "compose", "-p", self.project, "--env-file", os.devnull]
        return run([*command, *arguments], timeout=timeout, cwd=ROOT, env=self._environment)

    def build(self) -> None:
        """Build the images, and a stand-in for each that cannot be pulled."""
        self.compose("build", "-q", timeout=_BUILD_SECONDS)
        image = self.config()["services"]["prometheus"]["image"]
        try:
            run(["docker", "image", "inspect", image])
        except CommandError:
            try:
                run(["docker", "pull", "-q", image])
            except CommandError:
                # Under its own name: an image cannot be built to a given digest.
                run(
                    ["docker", "build", "-q", "-t", STAND_IN_IMAGE, "-"],
                    timeout=_BUILD_SECONDS,
                    input=STAND_IN.read_text(),
                )
                self._environment["RRL_PROMETHEUS_IMAGE"] = STAND_IN_IMAGE

    def config(self) -> dict[str, Any]:
        """The file with all variables filled in."""
        content: dict[str, Any] = json.loads(self.compose("config", "--format", "json"))
        return content

    def containers(self, service: str) -> list[dict[str, Any]]:
        """The engine's data on a service's containers, running or not."""
        ids = self.compose("ps", "-a", "-q", service).split()
        found: list[dict[str, Any]] = json.loads(run(["docker", "inspect", *ids])) if ids else []
        return sorted(found, key=lambda container: str(container["Name"]))

    def image(self, service: str) -> dict[str, Any]:
        """The engine's data on a service's image."""
        name = self.config()["services"][service]["image"]
        found: dict[str, Any] = json.loads(run(["docker", "image", "inspect", name]))[0]
        return found

    def kill(self, container: Mapping[str, Any]) -> None:
        """Have the kernel kill a container's process.

        `docker kill` would count as an order to stop: no restart policy brings it back. So another
        container that sees the host's processes sends the signal, as the same user.
        """
        pid, user = container["State"]["Pid"], container["Config"]["User"]
        run(
            [
                *("docker", "run", "--rm", "--pid=host", "--network=none", f"--user={user}"),
                *("--entrypoint=python", container["Image"], "-c", f"import os; os.kill({pid}, 9)"),
            ]
        )

    def logs(self, *, lines: int) -> str:
        """The end of every service's output."""
        return self.compose("logs", "--no-color", "--tail", str(lines))

    def left_behind(self) -> list[str]:
        """Existing containers, volumes and networks of the project."""
        label = f"label=com.docker.compose.project={self.project}"
        found = []
        for kind in (["ps", "-a"], ["volume", "ls"], ["network", "ls"]):
            found += run(["docker", *kind, "-q", "--filter", label]).split()
        return found


def is_healthy(container: Mapping[str, Any]) -> bool:
    """Whether a container runs and its health check passes."""
    state = container["State"]
    return bool(state["Running"]) and state.get("Health", {}).get("Status") == "healthy"

"""docker-compose.yml and the images' files, as text: safe, and of one mind with the code.

Whether the stack runs is another file's matter (test_compose_stack.py).
"""

from __future__ import annotations

import functools
import re
import shlex
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import tyro
import yaml

from services.cli import roles
from services.cli.experiment_flags import parse
from services.cli.health import health
from services.cli.teacher_serve import serve
from services.launcher.presets import DEMO, PRESETS
from tests.support.programs import need_compose

ROOT = Path(__file__).parents[2]
COMPOSE_FILES = ("docker-compose.yml", "docker-compose.gpu.yml")
DOCKERFILES = sorted(ROOT.glob("deploy/*/*.Dockerfile"))
COMMANDS = {
    "replay": roles.Replay,
    "learner": roles.Learner,
    "actor": roles.Actor,
    "evaluator": roles.Evaluator,
}
ROLES = ("teacher", *COMMANDS)
PUBLISHED = {"teacher", "prometheus", "grafana"}
_VARIABLE = re.compile(r"\$\{(\w+):-([^}]*)\}")


def text_of(file: str) -> str:
    return (ROOT / file).read_text()


@pytest.fixture(scope="module")
def compose() -> dict[str, Any]:
    """The file as it is where no variable is set."""
    filled_in = _VARIABLE.sub(lambda found: found[2], text_of("docker-compose.yml"))
    content: dict[str, Any] = yaml.safe_load(filled_in)
    return content


@pytest.fixture(scope="module")
def services(compose: dict[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = compose["services"]
    return found


def command_of(service: dict[str, Any]) -> list[str]:
    """What the shell of a role's container makes of entrypoint and command."""
    shell, option, script = service["entrypoint"]
    assert (shell, option) == ("sh", "-c")
    script = script.replace('"$$0"', service["command"][0])
    rest = shlex.join(service["command"][1:])
    exec_, *words = shlex.split(script.replace('"$$@"', rest))
    assert exec_ == "exec"
    return words


def arguments_of(function: Callable[..., None], flags: list[str]) -> dict[str, Any]:
    """What a command whose parameters are its flags would be called with."""
    given: dict[str, Any] = {}

    @functools.wraps(function)
    def take(**arguments: Any) -> None:
        given.update(arguments)

    tyro.cli(take, args=flags)
    return given


def metrics_port_of(service: dict[str, Any]) -> int:
    (flag,) = (word for word in service["command"] if word.startswith("--metrics-port="))
    return int(flag.partition("=")[2])


def test_every_service_is_locked_down(services: dict[str, Any]) -> None:
    for name, service in services.items():
        user = service["user"].partition(":")[0]
        assert user.isdigit() and int(user) > 0, name
        assert service["read_only"] is True, name
        assert service["cap_drop"] == ["ALL"], name
        assert service["security_opt"] == ["no-new-privileges:true"], name
        assert not {"privileged", "cap_add", "pid", "network_mode", "ipc"} & service.keys(), name


def test_every_service_has_limits_a_health_check_and_logs_that_end(
    services: dict[str, Any],
) -> None:
    for name, service in services.items():
        assert set(service["deploy"]["resources"]["limits"]) == {"cpus", "memory", "pids"}, name
        assert service["healthcheck"]["test"][0] == "CMD", name
        assert set(service["logging"]["options"]) == {"max-size", "max-file"}, name


def test_replay_and_learner_may_take_as_long_to_load_a_run_as_on_kubernetes(
    services: dict[str, Any],
) -> None:
    for role in ("replay", "learner"):
        manifests = yaml.safe_load_all(text_of(f"deploy/kubernetes/base/{role}.yaml"))
        (pods,) = (m["spec"]["template"]["spec"] for m in manifests if m["kind"] == "StatefulSet")
        probe = pods["containers"][0]["startupProbe"]
        seconds = probe["periodSeconds"] * probe["failureThreshold"]
        assert services[role]["healthcheck"]["start_period"] == f"{seconds}s"


def test_only_teacher_prometheus_and_grafana_are_published_and_only_here(
    services: dict[str, Any],
) -> None:
    assert {name for name, service in services.items() if "ports" in service} == PUBLISHED
    for name in PUBLISHED:
        assert all(port.startswith("127.0.0.1:") for port in services[name]["ports"])


def test_the_roles_network_leads_nowhere(compose: dict[str, Any]) -> None:
    assert compose["networks"]["inside"] == {"internal": True}
    for name, service in compose["services"].items():
        assert ("outside" in service["networks"]) == (name in PUBLISHED), name


def test_run_checkpoints_and_replay_are_volumes_of_their_own(compose: dict[str, Any]) -> None:
    assert {"run", "checkpoints", "replay"} <= compose["volumes"].keys()
    learner, replay = (set(compose["services"][name]["volumes"]) for name in ("learner", "replay"))
    assert {"run:/runs/run", "checkpoints:/runs/run/checkpoints"} <= learner
    assert "replay:/runs/replay" in replay


def test_every_role_comes_back_with_the_machine_and_none_ends_with_the_run(
    services: dict[str, Any],
) -> None:
    # `on-failure` starts nothing again that was stopped with the machine. And a learner that ends
    # with the run leaves an actor that was away for that moment waiting for it for ever.
    assert {services[name]["restart"] for name in ROLES} == {"unless-stopped"}
    for name in ("learner", "actor", "evaluator"):
        _, role, *flags = command_of(services[name])
        assert parse(COMMANDS[name], flags, f"rrl {role}").when_finished == "wait"


def test_the_stack_trains_the_bundled_teachers_student_with_two_actors(
    services: dict[str, Any],
) -> None:
    program, role, *flags = command_of(services["learner"])
    assert (program, role) == ("rrl", "learner")
    learner = parse(roles.Learner, flags, "rrl learner")
    assert learner.experiment.teacher.checkpoint == "Pong/dqn-bundled"
    assert learner.experiment.method == PRESETS["qdagger"][DEMO].method
    assert services["actor"]["deploy"]["replicas"] == 2


@pytest.mark.parametrize("name", COMMANDS)
def test_a_roles_command_line_is_understood(name: str, services: dict[str, Any]) -> None:
    program, role, *flags = command_of(services[name])
    assert (program, role) == ("rrl", name)
    command = parse(COMMANDS[name], flags, f"rrl {name}")
    assert command.telemetry.metrics_port == metrics_port_of(services[name])  # type: ignore[attr-defined]


def test_all_roles_are_told_the_same_of_the_run(services: dict[str, Any]) -> None:
    found = [
        parse(command, command_of(services[name])[2:], name).experiment  # type: ignore[attr-defined]
        for name, command in COMMANDS.items()
    ]
    assert all(experiment == found[0] for experiment in found)


def test_the_teachers_command_line_is_understood(services: dict[str, Any]) -> None:
    assert services["teacher"]["entrypoint"] == ["rrl"]
    teacher, serve_, *flags = services["teacher"]["command"]
    assert (teacher, serve_) == ("teacher", "serve")
    given = arguments_of(serve, flags)
    assert given["checkpoint"] == "Pong/dqn-bundled"
    assert (given["service"].host, given["service"].port) == ("0.0.0.0", 50051)
    assert not given["service"].shared_memory


@pytest.mark.parametrize("name", ROLES)
def test_a_health_checks_command_line_is_understood(name: str, services: dict[str, Any]) -> None:
    cmd, program, command, *flags = services[name]["healthcheck"]["test"]
    assert (cmd, program, command) == ("CMD", "rrl", "health")
    given = arguments_of(health, flags)
    assert (given["address"] is None) != (given["http"] is None)


def test_prometheus_scrapes_every_role_at_its_port(services: dict[str, Any]) -> None:
    jobs = yaml.safe_load(text_of("deploy/prometheus/prometheus.yml"))["scrape_configs"]
    scraped = {}
    for job in jobs:
        for static in job.get("static_configs", []):
            scraped |= {name: int(port) for name, port in (t.split(":") for t in static["targets"])}
        for dns in job.get("dns_sd_configs", []):
            scraped |= {name: dns["port"] for name in dns["names"]}
    assert scraped == {name: metrics_port_of(services[name]) for name in ROLES}


def test_env_example_names_every_variable_with_its_default() -> None:
    read = dict(_VARIABLE.findall("".join(map(text_of, COMPOSE_FILES))))
    found = dict(re.findall(r"^#(RRL_\w+)=(.*)$", text_of(".env.example"), re.MULTILINE))
    assert found == read


def test_images_of_others_are_named_by_digest(services: dict[str, Any]) -> None:
    others = {name: each["image"] for name, each in services.items() if "rrl-" not in each["image"]}
    assert others.keys() == {"prometheus", "grafana"}
    for name, image in others.items():
        assert re.fullmatch(r"[\w./-]+:[\w.-]+@sha256:[0-9a-f]{64}", image), name


def test_the_gpu_file_gives_teacher_and_learner_a_gpu_and_its_jax() -> None:
    services = yaml.safe_load(text_of("docker-compose.gpu.yml"))["services"]
    assert services.keys() == {"teacher", "learner"}
    for service in services.values():
        (device,) = service["deploy"]["resources"]["reservations"]["devices"]
        assert device["capabilities"] == ["gpu"]
        lock = text_of(service["build"]["args"]["LOCK"])
        assert "jax-cuda12-plugin==" in lock


def locked(file: str) -> dict[str, str]:
    return dict(re.findall(r"^([a-z0-9][\w.-]*)==(\S+)", text_of(file), re.MULTILINE))


def test_the_training_images_versions_are_those_the_tests_run_with() -> None:
    tested = locked("locks/train.lock")
    image = locked("locks/images/training.lock")
    assert image.items() <= tested.items()


def test_the_teachers_image_has_no_tensorflow_and_no_image_has_cuda_unasked() -> None:
    assert not any("tensorflow" in name for name in locked("locks/images/teacher.lock"))
    for file in ("teacher", "training"):
        names = locked(f"locks/images/{file}.lock")
        assert not any("nvidia" in name or "cuda" in name for name in names)


def test_a_build_sees_all_that_is_copied_and_little_else() -> None:
    seen = {line[1:] for line in text_of(".dockerignore").splitlines() if line.startswith("!")}
    copied = set()
    for file in ROOT.glob("deploy/docker/*.Dockerfile"):
        content = file.read_text().replace("${LOCK}", "locks/images/teacher.lock")
        for sources in re.findall(r"^COPY (?!--from)(.*) \S+$", content, re.MULTILINE):
            copied |= set(sources.split())
    assert all(any(Path(source).is_relative_to(path) for path in seen) for source in copied)
    assert all(any(Path(source).is_relative_to(path) for source in copied) for path in seen)


@pytest.mark.parametrize("dockerfile", DOCKERFILES, ids=lambda file: file.stem)
def test_hadolint_finds_nothing(dockerfile: Path) -> None:
    linter = Path(sys.executable).with_name("hadolint")
    done = subprocess.run([linter, dockerfile], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, "")


@pytest.mark.parametrize("files", [COMPOSE_FILES[:1], COMPOSE_FILES], ids=["cpu", "gpu"])
def test_compose_takes_the_files(files: tuple[str, ...]) -> None:
    need_compose()
    named = [word for file in files for word in ("-f", file)]
    command = ["docker", "compose", "--env-file", "/dev/null", *named, "config", "-q"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")

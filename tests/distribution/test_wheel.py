"""The wheel and the source archive: what is in them, and both in environments of their own.

The environments see packages of this one through links, those alone that the bare package or the
teacher's side asks for. Nothing is downloaded.
"""

from __future__ import annotations

import importlib.metadata
import shutil
import subprocess
import sys
import tarfile
import tomllib
import zipfile
from collections.abc import Iterable
from email import message_from_string
from pathlib import Path

import pytest

from services.cli.main import COMMANDS
from services.shared.installation import ADVICE
from tests.support.client_environment import build_client
from tests.support.requirements import closure

ROOT = Path(__file__).parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
PACKAGES = ("rrl_agents", "rrl_client", "services")
# Of the source archive alone: contracts, which the stubs are made from, and what users read or run.
BESIDE = ("protos", "suites", "CHANGELOG.md", "CITATION.cff", "LICENSE", "README.md")
# Of the distribution rrl-client, which is made of the same folder.
CLIENT_PROJECT = {f"rrl_client/{name}" for name in ("LICENSE", "README.md", "pyproject.toml")}
DIST_INFO = f"rrl_agents-{PROJECT['version']}.dist-info"


def run(*command: str | Path, cwd: Path, timeout: float = 180) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command, cwd=cwd, capture_output=True, text=True, timeout=timeout)


def output(*command: str | Path, cwd: Path) -> str:
    done = run(*command, cwd=cwd)
    assert done.returncode == 0, f"{command}\n{done.stdout}\n{done.stderr}"
    return done.stdout


def checked_in(*under: str) -> list[str]:
    """Files that git tracks, or would once they are added."""
    listed = output("git", "ls-files", "-z", "-co", "--exclude-standard", "--", *under, cwd=ROOT)
    return sorted({name for name in listed.split("\0") if (ROOT / name).is_file()})


def built(source: Path, wheels: Path) -> Path:
    """The wheel of a folder or an archive."""
    pip = (sys.executable, "-m", "pip", "wheel", "-q", "--disable-pip-version-check")
    output(*pip, "--no-build-isolation", "--no-deps", "-w", wheels, source, cwd=source.parent)
    (wheel,) = wheels.glob("*.whl")
    return wheel


def contents(wheel: Path) -> dict[str, bytes]:
    with zipfile.ZipFile(wheel) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


@pytest.fixture(scope="module")
def export(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The repository without what an earlier build may have left in the checkout."""
    folder = tmp_path_factory.mktemp("export") / "repository"
    for name in checked_in():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / name, folder / name)
    return folder


@pytest.fixture(scope="module")
def wheel(export: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return built(export, tmp_path_factory.mktemp("wheel"))


@pytest.fixture(scope="module")
def source_archive(export: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("source")
    program = "import sys, setuptools.build_meta as b; b.build_sdist(sys.argv[1])"
    output(sys.executable, "-c", program, folder, cwd=export)
    (archive,) = folder.glob("*.tar.gz")
    return archive


@pytest.fixture(scope="module")
def wheel_of_source(source_archive: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel that is made of the source archive."""
    return built(source_archive, tmp_path_factory.mktemp("again"))


def test_the_wheel_holds_every_file_of_the_packages_and_nothing_else(wheel: Path) -> None:
    # The script makes the stubs in a checkout; users get the stubs.
    wanted = set(checked_in(*PACKAGES)) - CLIENT_PROJECT
    names = contents(wheel).keys()
    assert {name for name in names if ".dist-info/" not in name} == wanted
    assert f"{DIST_INFO}/licenses/LICENSE" in names


def test_the_client_in_the_wheel_is_that_of_its_own_distribution(
    wheel: Path, tmp_path: Path
) -> None:
    # So the one installed last may write over the other's files.
    def client(files: dict[str, bytes]) -> dict[str, bytes]:
        return {name: data for name, data in files.items() if name.startswith("rrl_client/")}

    assert client(contents(wheel)) == client(contents(build_client(tmp_path)))


def test_the_wheel_says_its_name_licence_and_command(wheel: Path) -> None:
    files = contents(wheel)
    about = message_from_string(files[f"{DIST_INFO}/METADATA"].decode())
    assert (about["Name"], about["License-Expression"]) == ("rrl-agents", "Apache-2.0")
    assert files[f"{DIST_INFO}/licenses/LICENSE"] == (ROOT / "LICENSE").read_bytes()
    entry_points = files[f"{DIST_INFO}/entry_points.txt"].decode()
    assert "rrl = services.cli.main:main" in entry_points


def test_the_source_archive_makes_the_same_wheel(
    source_archive: Path, wheel_of_source: Path, wheel: Path
) -> None:
    with tarfile.open(source_archive) as files:
        names = {file.name.partition("/")[2] for file in files if file.isfile()}
    made = {"MANIFEST.in", "PKG-INFO", "pyproject.toml", "setup.cfg"}
    wanted = {*checked_in(*PACKAGES, *BESIDE), *made} - CLIENT_PROJECT
    assert {name for name in names if "egg-info" not in name} == wanted
    assert contents(wheel_of_source) == contents(wheel)


def test_the_images_copy_what_the_wheel_is_made_of(
    export: Path, wheel: Path, tmp_path: Path
) -> None:
    dockerfiles = sorted((ROOT / "deploy" / "docker").glob("*.Dockerfile"))
    stages = [file.read_text().partition("WORKDIR /src\n")[2] for file in dockerfiles]
    copied = {stage.partition("\nRUN")[0] for stage in stages}
    (lines,) = copied
    for line in lines.splitlines():
        copy, *names, target = line.split()
        assert copy == "COPY" and (target == "./" or names == [target])
        for name in names:
            (tmp_path / "src" / name).parent.mkdir(parents=True, exist_ok=True)
            put = shutil.copytree if (export / name).is_dir() else shutil.copy
            put(export / name, tmp_path / "src" / name)
    assert contents(built(tmp_path / "src", tmp_path / "wheel")) == contents(wheel)


def environment(folder: Path, wheel: Path, requirements: Iterable[str]) -> Path:
    """A virtual environment with the wheel and links to what requirements need.

    Returns:
        The folder with its programs.
    """
    links = folder / "links"
    for name in closure(requirements):
        for file in importlib.metadata.files(name) or []:
            if ".." not in file.parts and "__pycache__" not in file.parts:
                link = links / file
                link.parent.mkdir(parents=True, exist_ok=True)
                if not link.exists():
                    link.symlink_to(Path(str(file.locate())))
    output(sys.executable, "-m", "venv", "--without-pip", folder / "venv", cwd=folder)
    python = folder / "venv" / "bin" / "python"
    pip = (sys.executable, "-m", "pip", "--python", python, "install", "-q", "--no-index")
    output(*pip, "--disable-pip-version-check", "--no-deps", wheel, cwd=folder)
    (packages,) = (folder / "venv").glob("lib/python3.*/site-packages")
    (packages / "links.pth").write_text(f"{links}\n")
    return python.parent


@pytest.fixture(scope="module")
def bare(wheel_of_source: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Programs of an environment with the source archive, and what the bare package requires."""
    return environment(tmp_path_factory.mktemp("bare"), wheel_of_source, PROJECT["dependencies"])


@pytest.fixture(scope="module")
def teachers_side(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Programs of an environment with what the teacher's service requires."""
    requirements = [*PROJECT["dependencies"], *PROJECT["optional-dependencies"]["teacher"]]
    return environment(tmp_path_factory.mktemp("teacher"), wheel, requirements)


def test_the_client_and_the_stubs_import_in_a_bare_environment(bare: Path, tmp_path: Path) -> None:
    program = (
        "import rrl_client as client, services.learner.v1.learner_pb2_grpc;print(client.__file__)"
    )
    place = output(bare / "python", "-W", "error", "-c", program, cwd=tmp_path)
    assert str(bare.parent) in place


def test_help_and_version_work_in_a_bare_environment(bare: Path, tmp_path: Path) -> None:
    assert "teacher serve" in output(bare / "rrl", "--help", cwd=tmp_path)
    shown = output(bare / "rrl", "--version", cwd=tmp_path)
    assert shown.startswith(f"rrl-agents {PROJECT['version']} (python ")


def test_in_a_bare_environment_every_command_says_what_brings_its_packages(
    bare: Path, tmp_path: Path
) -> None:
    program = (
        "from services.cli.main import COMMANDS, run;"
        "print(*(run([*name.split(), '--help']) for name in COMMANDS))"
    )
    done = run(bare / "python", "-c", program, cwd=tmp_path)
    assert done.stdout.split() == ["2"] * len(COMMANDS), done.stderr
    for line, (name, command) in zip(done.stderr.splitlines(), COMMANDS.items(), strict=True):
        # A role's lines are log lines, with a time before them.
        assert f"rrl {name}: it needs the package " in line
        assert line.endswith(ADVICE[command.extra])


def test_the_training_side_is_advised_from_a_checkout_or_the_images(
    teachers_side: Path, tmp_path: Path
) -> None:
    done = run(teachers_side / "rrl", "train", "qdagger", "--run", "x", cwd=tmp_path)
    assert (done.returncode, done.stdout) == (2, "")
    (line,) = done.stderr.splitlines()
    assert line.startswith("rrl train: it needs the package ")
    assert "`make setup`" in line and "docker compose up" in line
    assert list(tmp_path.iterdir()) == []


def test_a_package_that_is_missed_late_is_advised_just_as_well(
    teachers_side: Path, tmp_path: Path
) -> None:
    # The command itself needs no emulator; the list that it makes does.
    done = run(teachers_side / "rrl", "list", "environments", cwd=tmp_path)
    assert done.returncode == 2
    assert done.stderr.splitlines()[-1].endswith(ADVICE["train"])
    assert "Traceback" not in done.stderr


def test_the_teachers_side_finds_the_bundled_teacher(teachers_side: Path, tmp_path: Path) -> None:
    listed = output(teachers_side / "rrl", "teacher", "list", cwd=tmp_path)
    assert "Pong/dqn-bundled" in listed

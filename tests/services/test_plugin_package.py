"""The example package with parts of one's own: installed, listed, run; and by reference."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.support.patience import PATIENCE_SECONDS

ROOT = Path(__file__).parents[2]
EXAMPLE = ROOT / "examples" / "corridor_plugin"
NAMES = {
    "environments": "corridor",
    "networks": "normalised_mlp",
    "methods": "advantage_cloning",
    "teachers": "corridor_expert",
}
SMALL = """
--network.features 16 --teacher-steps 400 --method.offline-updates 300 --online-steps 600
--evaluation.episodes 2 --evaluation.final-episodes 4 --evaluation.num-envs 2
--online-evaluation-period 50 --num-actors 1 --envs-per-actor 4 --replay-capacity 5000
--publish-period-updates 10 --weights-period-seconds 0.05 --pause-for-evaluation --one-process
--method.q-learning.min-replay-size 200 --method.largest-weight 3
"""
RUN = """
import dataclasses, sys, threading
from pathlib import Path
from rrl_agents import plugins
from services.cli.experiment_flags import Settings, parse
from services.launcher.one_process import run_in_one_process
from services.launcher.resolution import resolve

@dataclasses.dataclass(frozen=True)
class Order:
    experiment: Settings

plugins.allow(*sys.argv)
experiment = resolve(parse(Order, sys.argv[2:], "rrl order").experiment)
assert run_in_one_process(experiment, Path(sys.argv[1]), threading.Event())
"""


def python(*words: str, path: Path, cwd: Path = ROOT, code: int = 0) -> str:
    """Run Python with a folder of packages; what it printed."""
    done = subprocess.run(
        [sys.executable, *words],
        cwd=cwd,
        env=os.environ | {"PYTHONPATH": os.pathsep.join([str(path), str(ROOT)])},
        capture_output=True,
        text=True,
        timeout=PATIENCE_SECONDS,
    )
    assert done.returncode == code, done.stdout + done.stderr
    return done.stdout if code == 0 else done.stderr


def rrl(*words: str, path: Path, code: int = 0) -> str:
    return python("-m", "services.cli.main", *words, path=path, code=code)


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder that the package is installed into."""
    folder = tmp_path_factory.mktemp("site")
    python(
        *("-m", "pip", "install", "-q", "--disable-pip-version-check", "--no-deps"),
        *("--no-build-isolation", "--target", str(folder), str(copy_of_example(folder))),
        path=folder,
    )
    return folder


def copy_of_example(beside: Path) -> Path:
    """A copy: building leaves files in the folder that it builds."""
    import shutil

    copy = beside.with_name(f"{beside.name}-source")
    return Path(shutil.copytree(EXAMPLE, copy))


@pytest.fixture(scope="module")
def run(installed: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run of all four parts, chosen by name."""
    folder = tmp_path_factory.mktemp("runs") / "corridor"
    words = (
        f"{NAMES['methods']} --environment.name {NAMES['environments']} --network.name "
        f"{NAMES['networks']} --teacher.checkpoint {NAMES['teachers']} {SMALL}"
    )
    python("-c", RUN, str(folder), *words.split(), path=installed)
    return folder


def test_an_installed_packages_names_are_listed(installed: Path, tmp_path: Path) -> None:
    for what, name in NAMES.items():
        with_it = json.loads(rrl("list", what, "--json", path=installed))
        without = json.loads(rrl("list", what, "--json", path=tmp_path))
        assert [entry["name"] for entry in with_it if entry not in without] == [name]
    assert NAMES["methods"] in rrl("train", "--help", path=installed)
    flags = rrl("train", NAMES["methods"], "--help", path=installed)
    assert "--method.largest-weight" in flags


def test_its_parts_make_a_run_that_learns_and_a_teacher(
    run: Path, installed: Path, tmp_path: Path
) -> None:
    config: dict[str, Any] = json.loads((run / "config.json").read_text())
    assert config["method"] == NAMES["methods"]
    assert config["settings"]["largest_weight"] == 3.0
    assert config["network"]["name"] == NAMES["networks"]
    # 200 episodes of random play, between the expert's four steps and the limit.
    assert -40 < config["random_return"] < -4
    lines = (run / "metrics" / "evaluations.jsonl").read_text().splitlines()
    students = [json.loads(line) for line in lines if json.loads(line)["player"] == "student"]
    assert students[-1]["episode_returns"] == [-4.0] * 4
    out = tmp_path / "agent"
    rrl("teacher", "export", str(run), "--out", str(out), path=installed)
    assert "corridor" in rrl("teacher", "inspect", str(out), path=installed)


def test_where_it_is_not_installed_its_names_are_unknown(run: Path, tmp_path: Path) -> None:
    said = rrl("teacher", "export", str(run), "--out", str(tmp_path / "x"), path=tmp_path, code=2)
    assert "advantage_cloning" in said and "known are qdagger" in said
    said = rrl("train", "advantage_cloning", "--run", "x", path=tmp_path, code=2)
    assert "'advantage_cloning' is not a method" in said


def test_the_same_parts_go_by_reference(tmp_path: Path) -> None:
    run, package = tmp_path / "run", "corridor_plugin"
    words = (
        f"{package}.method:METHOD --environment.name {package}.environment:ENVIRONMENT "
        f"--network.name {package}.network:TORSO --teacher.checkpoint "
        f"{package}.teacher:make_teacher {SMALL}"
    )
    python("-c", RUN, str(run), *words.split(), path=tmp_path, cwd=EXAMPLE)
    config = json.loads((run / "config.json").read_text())
    assert config["method"] == f"{package}.method:METHOD"
    # A run's folder alone names code, which is not imported.
    export = ("teacher", "export", str(run), "--out", str(tmp_path / "agent"))
    said = rrl(*export, path=EXAMPLE, code=2)
    assert f"RRL_PLUGINS={package}.method:METHOD" in said

from __future__ import annotations

import dataclasses
import json
import shutil
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest

from rrl_agents.checkpoints.params_codec import params_hash, params_to_bytes
from rrl_agents.checkpoints.sealed_json import seal, unseal
from rrl_agents.checkpoints.teacher_directory import load_teacher_directory, save_teacher
from rrl_agents.types import Progress, Stage
from services.launcher.experiment import Experiment
from services.launcher.resolution import resolve
from services.launcher.run_directory import is_finished, open_run
from services.launcher.settings import with_settings
from services.learner.checkpoint_records import RunRecord
from services.learner.checkpointing import write_checkpoint
from services.shared.errors import UserError
from services.shared.run_config import CONFIG_FILE
from services.shared.run_provenance import PROVENANCE_FILE, read_provenance
from tests.support.experiments import catch_config


@pytest.fixture
def experiment(catch_teacher: Path) -> Experiment:
    return resolve(catch_config(catch_teacher))


def contents(folder: Path) -> dict[str, bytes]:
    files = (path for path in folder.rglob("*") if path.is_file())
    return {str(path.relative_to(folder)): path.read_bytes() for path in files}


def test_a_folder_is_made_with_its_config_and_found_again(
    experiment: Experiment, tmp_path: Path
) -> None:
    run = tmp_path / "some" / "where"
    assert open_run(run, experiment) is False
    before = contents(run)
    assert before.keys() == {CONFIG_FILE, PROVENANCE_FILE, ".provenance.lock"}
    assert unseal(before[CONFIG_FILE].decode()) == json.loads(experiment.to_json())
    assert open_run(run, experiment) is True
    after = contents(run)
    assert (after.keys(), after[CONFIG_FILE]) == (before.keys(), before[CONFIG_FILE])


def test_each_session_is_noted_until_the_run_is_finished(
    experiment: Experiment, tmp_path: Path
) -> None:
    def sessions() -> int:
        noted = read_provenance(tmp_path)
        assert noted is not None
        return len(noted.sessions)

    open_run(tmp_path, experiment)
    open_run(tmp_path, experiment)
    assert sessions() == 2
    for number, stage in enumerate((Stage.ONLINE, Stage.FINISHED), start=1):
        record = RunRecord(progress=Progress(random_return=-0.6, stage=stage), seconds=1.0)
        write_checkpoint(tmp_path, {"weights": np.zeros(1)}, record, number, keep=())
        assert is_finished(tmp_path) is (stage is Stage.FINISHED)
        open_run(tmp_path, experiment)
        assert sessions() == 3


@pytest.mark.parametrize("folder", ["", "lost+found", "checkpoints/lost+found"])
def test_a_folder_that_is_empty_or_has_fresh_volumes_in_it_is_taken(
    experiment: Experiment, tmp_path: Path, folder: str
) -> None:
    (tmp_path / "run" / folder).mkdir(parents=True)
    assert open_run(tmp_path / "run", experiment) is False


@pytest.mark.parametrize("file", ["run/thesis.txt", "run/checkpoints/00000001/params", "run"])
def test_a_folder_of_something_else_is_left_alone(
    experiment: Experiment, tmp_path: Path, file: str
) -> None:
    (tmp_path / file).parent.mkdir(parents=True, exist_ok=True)
    (tmp_path / file).write_text("years of work")
    with pytest.raises(UserError, match="is not a run: choose another --run"):
        open_run(tmp_path / "run", experiment)
    assert contents(tmp_path) == {file: b"years of work"}


@pytest.mark.parametrize(
    ("name", "changes"),
    [
        ("seed", {"seed": 1}),
        ("settings.distillation.temperature", {"method.distillation.temperature": 0.2}),
        ("network.features", {"network.features": [64]}),
        ("online_steps", {"online_steps": 1_000_000}),
        ("teacher_return", {"teacher.mean_return": 0.5}),
    ],
)
def test_changed_settings_are_refused_by_name_and_nothing_is_written(
    experiment: Experiment, tmp_path: Path, name: str, changes: dict[str, Any]
) -> None:
    open_run(tmp_path, experiment)
    before = contents(tmp_path)
    changed = resolve(with_settings(experiment.config, changes))
    with pytest.raises(UserError, match=rf"another experiment .*{name}.*choose another --run"):
        open_run(tmp_path, changed)
    assert contents(tmp_path) == before


def test_a_run_that_is_older_than_a_setting_is_resumed_with_its_default_alone(
    experiment: Experiment, tmp_path: Path
) -> None:
    open_run(tmp_path, experiment)
    content = unseal((tmp_path / CONFIG_FILE).read_text())
    for place, name in ((content, "collect_epsilon"), (content["network"], "kernel_init")):
        del place[name]
    (tmp_path / CONFIG_FILE).write_text(seal(content))
    assert open_run(tmp_path, experiment)
    for name, value in (("collect_epsilon", 0.5), ("network.kernel_init", "xavier_uniform")):
        changed = resolve(with_settings(experiment.config, {name: value}))
        with pytest.raises(UserError, match=rf"another experiment \(differs in {name}\)"):
            open_run(tmp_path, changed)


def test_a_run_and_its_teacher_may_move(
    catch_teacher: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copytree(catch_teacher, tmp_path / "old" / "teacher")
    open_run(tmp_path / "old" / "run", resolve(catch_config(tmp_path / "old" / "teacher")))
    (tmp_path / "old").rename(tmp_path / "new")
    monkeypatch.chdir(tmp_path / "new")
    for place in ("teacher", "./teacher/", tmp_path / "new" / "teacher"):
        assert open_run(tmp_path / "new" / "run", resolve(catch_config(place)))


def test_another_teacher_at_the_same_place_is_another_experiment(
    catch_teacher: Path, tmp_path: Path
) -> None:
    place = tmp_path / "teacher"
    shutil.copytree(catch_teacher, place)
    open_run(tmp_path / "run", resolve(catch_config(place)))
    teacher = load_teacher_directory(place)
    shutil.rmtree(place)
    params = jax.tree.map(lambda leaf: 2 * leaf, teacher.params)
    sha256 = params_hash(params_to_bytes(params))
    save_teacher(place, params, dataclasses.replace(teacher.card, parameters_sha256=sha256))
    with pytest.raises(UserError, match=r"differs in teacher\.parameters_sha256\)"):
        open_run(tmp_path / "run", resolve(catch_config(place)))


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("pong[seed0]", "choose a path without"),
        ("a\\b", "choose a path without"),
        ("file/run", "cannot be used .*choose another --run"),
    ],
)
def test_a_folder_that_could_not_hold_a_run_is_refused_before_anything_is_written(
    experiment: Experiment, tmp_path: Path, name: str, message: str
) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match=message):
        open_run(tmp_path / name, experiment)
    assert contents(tmp_path) == {"file": b""}


def test_a_config_that_is_no_json_is_refused(experiment: Experiment, tmp_path: Path) -> None:
    (tmp_path / CONFIG_FILE).write_text('{"method": "qdag')
    with pytest.raises(UserError, match="not valid JSON.*restore it"):
        open_run(tmp_path, experiment)

from __future__ import annotations

import dataclasses
import json
import shutil
from pathlib import Path

import jax
import numpy as np
import pytest

from rrl_agents.checkpoints.params_codec import params_hash, params_to_bytes
from rrl_agents.checkpoints.sealed_json import unseal
from rrl_agents.checkpoints.teacher_directory import load_teacher_directory, save_teacher
from rrl_agents.environments.registry import EnvironmentConfig
from rrl_agents.networks.registry import NetworkConfig
from rrl_agents.reincarnation.qdagger import QDaggerConfig
from rrl_agents.reincarnation.terms import DistillationConfig
from rrl_agents.types import Progress, Stage
from services.launcher.experiment import Experiment
from services.launcher.experiment_config import ExperimentConfig, TeacherChoice
from services.launcher.provenance import PROVENANCE_FILE, read_provenance
from services.launcher.resolution import resolve
from services.launcher.run_directory import CONFIG_FILE, is_finished, open_run
from services.learner.checkpoint_records import RunRecord
from services.learner.checkpointing import write_checkpoint
from services.shared.errors import UserError


@pytest.fixture
def config(catch_teacher: Path) -> ExperimentConfig:
    return ExperimentConfig(
        method=QDaggerConfig(),
        environment=EnvironmentConfig(name="catch"),
        network=NetworkConfig(name="mlp", features=(32,)),
        teacher=TeacherChoice(checkpoint=str(catch_teacher)),
    )


@pytest.fixture
def experiment(config: ExperimentConfig) -> Experiment:
    return resolve(config)


def contents(folder: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file()
    }


def test_a_folder_is_made_with_its_config_and_found_again(
    experiment: Experiment, tmp_path: Path
) -> None:
    run = tmp_path / "some" / "where"
    assert open_run(run, experiment) is False
    assert contents(run).keys() == {CONFIG_FILE, PROVENANCE_FILE, ".provenance.lock"}
    assert unseal((run / CONFIG_FILE).read_text()) == json.loads(experiment.to_json())
    before = contents(run)
    assert open_run(run, experiment) is True
    after = contents(run)
    assert after.keys() == before.keys()
    assert after[CONFIG_FILE] == before[CONFIG_FILE]


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
    stopped, finished = (
        Progress(random_return=-0.6),
        Progress(random_return=-0.6, stage=Stage.FINISHED),
    )
    for number, (progress, noted) in enumerate(((stopped, 3), (finished, 3)), start=1):
        record = RunRecord(progress=progress, seconds=1.0)
        write_checkpoint(tmp_path, {"weights": np.zeros(1)}, record, number, keep=())
        assert is_finished(tmp_path) is (progress is finished)
        open_run(tmp_path, experiment)
        assert sessions() == noted


def test_an_empty_folder_is_taken(experiment: Experiment, tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    assert open_run(tmp_path / "run", experiment) is False


def test_a_folder_with_fresh_volumes_in_it_is_taken(experiment: Experiment, tmp_path: Path) -> None:
    for folder in ("lost+found", "checkpoints/lost+found"):
        (tmp_path / folder).mkdir(parents=True)
    assert not open_run(tmp_path, experiment)


def test_checkpoints_without_their_run_are_left_alone(
    experiment: Experiment, tmp_path: Path
) -> None:
    (tmp_path / "checkpoints" / "00000001").mkdir(parents=True)
    with pytest.raises(UserError, match="is not a run: choose another --run"):
        open_run(tmp_path, experiment)


def test_a_folder_of_something_else_is_left_alone(experiment: Experiment, tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").write_text("years of work")
    with pytest.raises(UserError, match="is not a run: choose another --run"):
        open_run(tmp_path, experiment)
    with pytest.raises(UserError, match="is not a run: choose another --run"):
        open_run(tmp_path / "thesis.txt", experiment)
    assert contents(tmp_path) == {"thesis.txt": b"years of work"}


def test_changed_settings_are_refused_by_name_and_nothing_is_written(
    experiment: Experiment, config: ExperimentConfig, tmp_path: Path
) -> None:
    open_run(tmp_path, experiment)
    before = contents(tmp_path)
    changes = {
        "seed": dataclasses.replace(config, seed=1),
        "settings.distillation.temperature": dataclasses.replace(
            config, method=QDaggerConfig(distillation=DistillationConfig(temperature=0.2))
        ),
        "network.features": dataclasses.replace(
            config, network=NetworkConfig(name="mlp", features=(64,))
        ),
        "online_steps": dataclasses.replace(config, online_steps=1_000_000),
        "teacher_return": dataclasses.replace(
            config, teacher=dataclasses.replace(config.teacher, mean_return=0.5)
        ),
    }
    for name, changed in changes.items():
        with pytest.raises(UserError, match="belongs to another experiment") as refused:
            open_run(tmp_path, resolve(changed))
        assert name in str(refused.value)
        assert "choose another --run" in str(refused.value)
    assert contents(tmp_path) == before


def test_a_run_and_its_teacher_may_move(
    config: ExperimentConfig, catch_teacher: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def at(place: str) -> Experiment:
        teacher = dataclasses.replace(config.teacher, checkpoint=place)
        return resolve(dataclasses.replace(config, teacher=teacher))

    shutil.copytree(catch_teacher, tmp_path / "old" / "teacher")
    open_run(tmp_path / "old" / "run", at(str(tmp_path / "old" / "teacher")))
    (tmp_path / "old").rename(tmp_path / "new")
    monkeypatch.chdir(tmp_path / "new")
    for place in ("teacher", "./teacher/", str(tmp_path / "new" / "teacher")):
        assert open_run(tmp_path / "new" / "run", at(place))


def test_another_teacher_at_the_same_place_is_another_experiment(
    config: ExperimentConfig, catch_teacher: Path, tmp_path: Path
) -> None:
    place = tmp_path / "teacher"
    shutil.copytree(catch_teacher, place)
    config = dataclasses.replace(
        config, teacher=dataclasses.replace(config.teacher, checkpoint=str(place))
    )
    open_run(tmp_path / "run", resolve(config))
    teacher = load_teacher_directory(place)
    shutil.rmtree(place)
    params = jax.tree.map(lambda leaf: 2 * leaf, teacher.params)
    sha256 = params_hash(params_to_bytes(params))
    save_teacher(place, params, dataclasses.replace(teacher.card, parameters_sha256=sha256))
    with pytest.raises(UserError, match=r"differs in teacher\.parameters_sha256\)"):
        open_run(tmp_path / "run", resolve(config))


@pytest.mark.parametrize("name", ["pong[seed0]", "a\\b"])
def test_a_folder_that_could_not_hold_checkpoints_is_refused_before_anything_is_written(
    experiment: Experiment, tmp_path: Path, name: str
) -> None:
    with pytest.raises(UserError, match="choose a path without"):
        open_run(tmp_path / name, experiment)
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_cannot_be_made_is_refused(experiment: Experiment, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match="cannot be used .*choose another --run"):
        open_run(tmp_path / "file" / "run", experiment)


def test_a_config_that_is_no_json_is_refused(experiment: Experiment, tmp_path: Path) -> None:
    (tmp_path / CONFIG_FILE).write_text('{"method": "qdag')
    with pytest.raises(UserError, match="not valid JSON.*restore it"):
        open_run(tmp_path, experiment)

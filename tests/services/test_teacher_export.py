"""`rrl teacher export` and what comes after it: the student is served as the next teacher."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from rrl_agents.checkpoints.sealed_json import seal
from rrl_agents.environments.registry import EnvironmentConfig
from rrl_agents.networks.registry import (
    NetworkConfig,
    action_values,
    initial_params,
    make_network,
)
from rrl_agents.reincarnation.qdagger import QDaggerConfig
from rrl_agents.training.optimiser_config import OptimiserConfig
from rrl_agents.training.train_state import TrainState, initial_train_state
from rrl_agents.types import Progress, Stage
from rrl_client import TeacherClient
from services.cli.teacher_export import export
from services.launcher.experiment_config import ExperimentConfig, TeacherChoice
from services.launcher.resolution import resolve
from services.launcher.run_directory import open_run
from services.learner.checkpoint_records import RunRecord
from services.learner.checkpointing import write_checkpoint
from services.library.export import played_states
from services.shared.errors import UserError
from tests.support.patience import PATIENCE_SECONDS

ROOT = Path(__file__).resolve().parents[2]
RRL = (sys.executable, "-m", "services.cli.main")
CATCH = EnvironmentConfig(name="catch")
NETWORK = NetworkConfig(name="mlp", features=(16,))


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("RRL_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture(scope="module")
def state() -> TrainState:
    network = make_network(NETWORK, 3)
    params = initial_params(network, jax.random.key(3), (10, 5, 1))
    return initial_train_state(params, OptimiserConfig())


@pytest.fixture
def run(tmp_path: Path, catch_teacher: Path, state: TrainState) -> Path:
    """A finished run, as far as an export looks at one."""
    config = ExperimentConfig(
        method=QDaggerConfig(),
        environment=CATCH,
        network=NETWORK,
        teacher=TeacherChoice(checkpoint=str(catch_teacher)),
    )
    path = tmp_path / "a run"
    open_run(path, resolve(config))
    progress = Progress(random_return=-0.6, stage=Stage.FINISHED, online_updates=5, actor_steps=20)
    write_checkpoint(path, state, RunRecord(progress=progress, seconds=1.0), number=1, keep=())
    return path


def test_an_exported_student_is_served_with_its_own_q_values(
    cache: Path, run: Path, state: TrainState
) -> None:
    done = subprocess.run(
        [*RRL, "teacher", "export", str(run), "--onnx"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=PATIENCE_SECONDS,
    )
    assert done.returncode == 0, done.stderr
    # A blank has no place in a name.
    path = cache / "exported" / "Catch" / "qdagger-a-run"
    assert "rrl teacher serve --checkpoint Catch/qdagger-a-run" in done.stdout
    states = played_states(CATCH)
    expected = action_values(make_network(NETWORK, 3), state.params, jnp.asarray(states))
    models = ("--model", f"directory={path}", "--model", f"onnx={path / 'model.onnx'}")
    process = subprocess.Popen(
        [*RRL, "teacher", "serve", *models, "--port", "0", "--metrics-port", "None"],
        cwd=ROOT,
        env=os.environ | {"JAX_PLATFORMS": "cpu"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        assert process.stdout is not None
        ready = re.search(r"ready at (\S+):\s", process.stdout.readline())
        assert ready is not None, process.communicate(timeout=PATIENCE_SECONDS)[1]
        for model in ("directory", "onnx"):
            with TeacherClient(ready[1], model=model) as client:
                about = client.describe()
                assert (about.game, about.spec.num_actions) == ("catch", 3)
                answer = client.evaluate(states)
                np.testing.assert_allclose(answer.action_values, expected, rtol=1e-5, atol=1e-6)
    finally:
        process.terminate()
        process.communicate(timeout=PATIENCE_SECONDS)


def test_a_second_export_needs_another_name(
    cache: Path, run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    export(run)
    with pytest.raises(UserError, match="another teacher is called Catch/qdagger-a-run; .* --name"):
        export(run)
    export(run, name="other")
    export(run, out=tmp_path / "elsewhere")
    names = sorted(path.name for path in (cache / "exported" / "Catch").iterdir())
    assert names == ["other", "qdagger-a-run"]
    shown = capsys.readouterr().out
    assert f"rrl teacher serve --checkpoint {tmp_path / 'elsewhere'}" in shown
    assert "not evaluated" in shown


@pytest.mark.parametrize("game", ["Catch", "catch"])
def test_the_name_of_a_fetched_agent_is_not_taken_twice(cache: Path, run: Path, game: str) -> None:
    fetched = cache / f"checkpoints/{game}/mine"
    fetched.mkdir(parents=True)
    (fetched / "source.json").write_text(seal({"game": "Catch"}))
    with pytest.raises(UserError, match="another teacher is called Catch/mine"):
        export(run, name="mine")
    assert not (cache / "exported").exists()


@pytest.mark.parametrize("name", ["../escape", "a/b", "", ".hidden", "x" * 101])
def test_a_name_that_leads_elsewhere_is_refused(cache: Path, run: Path, name: str) -> None:
    with pytest.raises(UserError, match="is not a valid name; give 1 to 100 letters"):
        export(run, name=name)
    assert not cache.exists()


def test_a_student_that_dopamine_has_no_network_for_is_told_so(cache: Path, run: Path) -> None:
    with pytest.raises(UserError, match="Dopamine's JaxDQNAgent has no network like that"):
        export(run, dopamine=True)
    assert not [path for path in cache.rglob("*") if path.is_file()]

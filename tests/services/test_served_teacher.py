"""A service that runs already is the teacher of a run: card and answers come over the wire."""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from rrl_agents.checkpoints.teacher_directory import load_teacher_directory
from rrl_agents.environments.registry import EnvironmentConfig
from rrl_agents.reincarnation.fine_tuning import FineTuningConfig
from rrl_client import ClientSecurity
from services.cli.main import run as rrl
from services.launcher.experiment_config import ExperimentConfig, TeacherChoice
from services.launcher.one_process import run_in_one_process
from services.launcher.resolution import resolve
from services.launcher.roles import processes_of
from services.launcher.served_teacher import card_of_service
from services.launcher.settings import with_settings
from services.launcher.watching import Answer
from services.learner.checkpoint_records import newest_checkpoint
from services.learner.evaluation_records import read_records
from services.shared.addresses import free_port
from services.shared.errors import UserError
from services.shared.run_provenance import read_provenance
from services.shared.security.server import SecurityConfig
from services.teacher.config import BatchingConfig, ModelConfig, TeacherConfig
from services.teacher.policies.loading import load_policy
from services.teacher.server import TeacherServer
from tests.support.experiments import catch_config
from tests.support.patience import PATIENCE_SECONDS
from tests.support.policies import PixelSums

if TYPE_CHECKING:
    from tests.services.conftest import Authority

TOKEN = "0123456789abcdef"
VERSION = hashlib.sha256(b"sums").hexdigest()[:16]
QUICK = {
    "one_process": True,
    "teacher_steps": 200,
    "online_steps": 300,
    "num_actors": 1,
    "envs_per_actor": 4,
    "replay_capacity": 2_000,
    "evaluation.episodes": 2,
    "evaluation.final_episodes": 2,
    "evaluation.teacher_episodes": 8,
    "evaluation.num_envs": 2,
    "method.offline_updates": 10,
    "method.q_learning.min_replay_size": 200,
}


@contextlib.contextmanager
def serving(policy: Any, security: SecurityConfig | None = None) -> Iterator[str]:
    config = TeacherConfig(
        models=(ModelConfig(reference="in memory"),),
        port=0,
        metrics_port=None,
        batching=BatchingConfig(buckets=(4,)),
        security=security or SecurityConfig(),
    )
    server = TeacherServer(config, [policy])
    try:
        port = server.start()
        server.wait_until_ready(PATIENCE_SECONDS)
        yield f"localhost:{port}"
    finally:
        server.stop()


@pytest.fixture(scope="module")
def address(catch_teacher: Path) -> Iterator[str]:
    with serving(load_policy(str(catch_teacher), backend="jax", buckets=(4,))) as found:
        yield found


def served_config(address: str, **changes: Any) -> ExperimentConfig:
    return catch_config("", teacher=TeacherChoice(address=address), **changes)


def test_a_run_takes_card_score_and_answers_from_a_service_behind_tls_and_a_token(
    authority: Authority, catch_teacher: Path, tmp_path: Path
) -> None:
    certificate, key = authority.issue("served")
    tokens = tmp_path / "tokens"
    tokens.write_text(TOKEN)
    policy = load_policy(str(catch_teacher), backend="jax", buckets=(4,))
    locked = SecurityConfig(certificate=certificate, private_key=key, token_file=tokens)
    peers = ClientSecurity(root_certificates=authority.roots, token_file=tokens)
    card = load_teacher_directory(catch_teacher).card
    with serving(policy, locked) as address:
        config = with_settings(served_config(address), QUICK)
        with pytest.raises(UserError, match=address):
            card_of_service(address, ClientSecurity(root_certificates=authority.roots))
        experiment = resolve(config, teacher_peers=peers)
        assert (experiment.card, experiment.teacher_return) == (card, 1.0)
        assert experiment.config.teacher.checkpoint is None
        assert "teacher" not in {process.role for process in processes_of(experiment)}
        assert run_in_one_process(experiment, tmp_path / "run", threading.Event())
    provenance = read_provenance(tmp_path / "run")
    assert provenance is not None
    assert [parent.card for parent in provenance.parents] == [card]


def test_the_teacher_of_a_service_without_a_card_is_played(tmp_path: Path) -> None:
    sums = PixelSums(VERSION, shape=(10, 5, 1), num_actions=3, game="catch", fails_on=None)
    with serving(sums) as address:
        # The last action's value is the largest: the paddle goes right, and stays there, where one
        # ball in five falls. Its mean return of -0.6 is the random policy's, which makes no scale.
        experiment = resolve(
            with_settings(
                served_config(address),
                QUICK | {"environment.random_return": -1.0, "evaluation.teacher_episodes": 40},
            )
        )
        card = experiment.card
        assert card is not None
        assert (card.name, card.game, card.score) == ("pixel sums", "catch", None)
        assert card.parameters_sha256 == VERSION + 48 * "0"
        assert run_in_one_process(experiment, tmp_path / "run", threading.Event())
    teacher, *_ = read_records(tmp_path / "run" / "metrics" / "evaluations.jsonl")
    assert (teacher.player, len(teacher.episode_returns)) == ("teacher", 40)


def test_a_run_whose_teacher_is_away_saves_a_checkpoint_and_resumes(
    catch_teacher: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    policy = load_policy(str(catch_teacher), backend="jax", buckets=(4,))
    monkeypatch.setattr("services.launcher.one_process._REPORT_SECONDS", 0.0)
    stop = threading.Event()

    def run_until(teacher_steps: int, *, is_stopped: bool) -> int:
        """Lose the teacher after so many steps; gives those of the newest checkpoint then."""
        with contextlib.ExitStack() as ending:
            address = ending.enter_context(serving(policy))
            config = with_settings(served_config(address), QUICK | {"teacher_steps": 2_000})

            def lose_teacher(answer: Answer) -> None:
                if answer.progress.teacher_steps >= teacher_steps:
                    ending.close()
                    if is_stopped:
                        threading.Timer(0.5, stop.set).start()

            assert not run_in_one_process(resolve(config), tmp_path / "run", stop, lose_teacher)
        return saved_steps()

    def saved_steps() -> int:
        checkpoint = newest_checkpoint(tmp_path / "run")
        assert checkpoint is not None
        return checkpoint.record.progress.teacher_steps

    with monkeypatch.context() as patch:
        patch.setattr("services.launcher.served_teacher._TIMEOUT_SECONDS", 0.5)
        with pytest.raises(UserError, match="the same command resumes the run"):
            run_until(100, is_stopped=False)
    assert 100 <= saved_steps() < 200
    assert 200 <= run_until(200, is_stopped=True) < 300


def test_a_service_that_does_not_fit_is_refused_in_one_line(address: str) -> None:
    asterix = EnvironmentConfig(name="minatar", game="asterix")
    with pytest.raises(UserError, match=r"catch_by_hand \(catch\) has 3 actions, minatar_asterix"):
        resolve(served_config(address, environment=asterix))


def test_a_teacher_service_gives_no_weights(address: str) -> None:
    with pytest.raises(UserError, match=r"fine_tuning trains the teacher's own weights"):
        resolve(served_config(address, method=FineTuningConfig()))


def test_a_card_that_is_another_teachers_is_refused(address: str, catch_teacher: Path) -> None:
    policy = load_policy(str(catch_teacher), backend="jax", buckets=(4,))
    other = dataclasses.replace(policy.info, version=VERSION)
    policy.info = other  # type: ignore[misc]
    with serving(policy) as found, pytest.raises(UserError, match="is that of another teacher"):
        card_of_service(found)


def test_the_command_line_names_one_teacher_and_its_credentials(
    address: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = f"--run={tmp_path / 'run'}"
    words = ["train", "qdagger", run, "--teacher.checkpoint=pong_dqn"]
    assert rrl([*words, f"--teacher.address={address}"]) == 2
    assert "give one of them" in capsys.readouterr().err
    assert rrl([*words, "--peers.tls"]) == 2
    assert "--peers applies to the service of --teacher.address only" in capsys.readouterr().err
    away = f"--teacher.address=localhost:{free_port()}"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("services.launcher.served_teacher._READY_SECONDS", 0.2)
        assert rrl(["train", "qdagger", run, away]) == 2
    assert "localhost" in capsys.readouterr().err
    roots = f"--peers.root-certificates={tmp_path / 'absent.pem'}"
    assert rrl(["replay", "qdagger", run, f"--teacher.address={address}", roots]) == 2
    assert "absent.pem" in capsys.readouterr().err
    assert not (tmp_path / "run").exists()

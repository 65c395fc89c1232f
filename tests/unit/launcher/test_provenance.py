from __future__ import annotations

import dataclasses
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from rrl_agents.checkpoints.params_codec import params_hash, params_to_bytes
from rrl_agents.checkpoints.sealed_json import seal, unseal
from rrl_agents.checkpoints.teacher_card import TeacherCard
from rrl_agents.checkpoints.teacher_directory import save_teacher
from rrl_agents.environments.registry import EnvironmentConfig
from rrl_agents.networks.registry import NetworkConfig
from rrl_agents.reincarnation.qdagger import QDaggerConfig
from rrl_agents.reincarnation.tabula_rasa import TabulaRasaConfig
from services.launcher import machine, provenance, run_records
from services.launcher.experiment_config import ExperimentConfig, TeacherChoice
from services.launcher.provenance import (
    PROVENANCE_FILE,
    parents_of,
    read_provenance,
    record_session,
)
from services.launcher.resolution import resolve
from services.recorded_data.dataset import RecordedData
from services.shared.errors import UserError
from tests.conftest import perfect_catch_params


@pytest.fixture
def config(catch_teacher: Path) -> ExperimentConfig:
    return ExperimentConfig(
        method=QDaggerConfig(),
        environment=EnvironmentConfig(name="catch"),
        network=NetworkConfig(name="mlp", features=(32,)),
        teacher=TeacherChoice(checkpoint=str(catch_teacher)),
    )


def read_card(teacher: Path) -> TeacherCard:
    return TeacherCard.from_json((teacher / "card.json").read_text())


def test_a_run_notes_its_command_code_and_hardware_and_its_teachers_whole_card(
    config: ExperimentConfig,
    catch_teacher: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(sys, "argv", ["/some/where/bin/rrl", "train", "qdagger", "--run", "my run"])
    record_session(tmp_path, lambda: parents_of(resolve(config)))
    noted = read_provenance(tmp_path)
    assert noted is not None
    (parent,) = noted.parents
    assert parent.relations == ("teacher",)
    assert parent.card == read_card(catch_teacher)
    (session,) = noted.sessions
    assert session.command == "rrl train qdagger --run 'my run'"
    assert session.code_version.startswith("rrl-agents 0.")
    assert {package.split()[0] for package in session.packages} >= {"python", "jax", "numpy"}
    assert " cores of " in session.hardware
    assert session.started.endswith("+00:00")


def test_later_sessions_are_added_and_the_parents_stay(
    config: ExperimentConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    record_session(tmp_path, lambda: parents_of(resolve(config)))
    before = read_provenance(tmp_path)
    assert before is not None
    monkeypatch.setattr(sys, "argv", ["rrl", "learner"])
    record_session(tmp_path, tuple)
    after = read_provenance(tmp_path)
    assert after is not None
    assert after.parents == before.parents
    assert after.sessions[:1] == before.sessions
    assert [session.command for session in after.sessions[1:]] == ["rrl learner"]


def test_a_run_restarted_forever_keeps_its_first_and_newest_sessions(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(provenance, "MAX_SESSIONS", 3)
    for number in range(5):
        monkeypatch.setattr(sys, "argv", ["rrl", str(number)])
        record_session(tmp_path, tuple)
    noted = read_provenance(tmp_path)
    assert noted is not None
    assert [session.command for session in noted.sessions] == ["rrl 0", "rrl 3", "rrl 4"]


def test_roles_that_start_together_all_get_their_line(tmp_path: Path) -> None:
    # Locks are on open files, so threads stand for processes.
    with ThreadPoolExecutor(4) as roles:
        for done in [roles.submit(record_session, tmp_path, tuple) for _ in range(8)]:
            done.result()
    noted = read_provenance(tmp_path)
    assert noted is not None
    assert len(noted.sessions) == 8


def test_a_teacher_that_is_only_compared_with_is_no_parent(config: ExperimentConfig) -> None:
    alone = dataclasses.replace(config, method=TabulaRasaConfig())
    assert parents_of(resolve(alone)) == ()
    assert len(parents_of(resolve(config))) == 1


def test_recorded_data_have_the_agent_that_lies_with_them_as_a_parent(
    config: ExperimentConfig,
    catch_teacher: Path,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    experiment = resolve(config)

    def parents(path: Path, number: int | None = None) -> list[tuple[tuple[str, ...], str]]:
        data = RecordedData(path=str(path), number=number, fingerprint="f", transitions=100)
        found = parents_of(dataclasses.replace(experiment, data=data))
        return [(parent.relations, parent.card.name) for parent in found]

    # The teacher's own data.
    assert parents(catch_teacher) == [(("teacher", "data"), "catch_by_hand")]
    # Another agent's.
    params = perfect_catch_params()
    params["params"]["Dense_1"]["bias"][1] = 0.25
    sha256 = params_hash(params_to_bytes(params))
    other = dataclasses.replace(read_card(catch_teacher), name="another", parameters_sha256=sha256)
    save_teacher(tmp_path / "another", params, other)
    assert parents(tmp_path / "another") == [
        (("teacher",), "catch_by_hand"),
        (("data",), "another"),
    ]
    assert caplog.records == []
    # Columns without an agent: nobody knows who played them, and that is said.
    (tmp_path / "columns").mkdir()
    assert parents(tmp_path / "columns") == [(("teacher",), "catch_by_hand")]
    (record,) = caplog.records
    reason = f"the run's lineage does not name who played {tmp_path / 'columns'}: {tmp_path}"
    assert record.getMessage().startswith(reason)
    # A checkpoint that was interrupted is not who played.
    caplog.clear()
    for name in ("ckpt.4", "sentinel_checkpoint_complete.3"):
        (tmp_path / "columns" / name).touch()
    assert parents(tmp_path / "columns", 4) == [(("teacher",), "catch_by_hand")]
    (record,) = caplog.records
    assert "checkpoint 4 is not here or not complete" in record.message


def test_a_run_without_a_note_has_none(tmp_path: Path) -> None:
    assert read_provenance(tmp_path) is None


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"sessions": [{"started": 3}]}, r"field sessions\[0\]\.started is 3"),
        ({"parents": [{"relations": [], "card": {}}]}, r"field parents\[0\]\.card\.name is miss"),
        ({"more": 1}, "unknown field more"),
    ],
)
def test_a_damaged_note_is_refused_with_what_is_wrong(
    tmp_path: Path, change: dict[str, object], message: str
) -> None:
    record_session(tmp_path, tuple)
    path = tmp_path / PROVENANCE_FILE
    path.write_text(seal(unseal(path.read_text()) | change))
    with pytest.raises(UserError, match=message):
        read_provenance(tmp_path)
    with pytest.raises(UserError, match=message):
        record_session(tmp_path, tuple)


def test_a_note_beyond_its_bound_is_not_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    record_session(tmp_path, tuple)
    monkeypatch.setattr(run_records, "_MAX_FILE_BYTES", 10)
    with pytest.raises(UserError, match="more than the 10 that a run's provenance.json may have"):
        read_provenance(tmp_path)


def test_a_machine_without_git_or_gpu_tools_is_described_all_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert machine.code_version().startswith("rrl-agents 0.")
    assert "commit" not in machine.code_version()
    assert machine.describe_hardware().endswith("no GPU")


def test_alike_gpus_are_counted_and_hidden_ones_are_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tool = tmp_path / "nvidia-smi"
    tool.write_text(
        '#!/bin/sh\ncase "$*" in *--id=0*) echo A100;; *) echo A100; echo A100;; esac\n'
    )
    tool.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    assert machine.describe_hardware().endswith(", 2 x A100")
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0")
    assert machine.describe_hardware().endswith(", 1 x A100")
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    assert machine.describe_hardware().endswith(", no GPU")


def test_a_checkout_names_its_commit_and_whether_it_was_changed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tool = tmp_path / "git"
    tool.write_text(
        "#!/bin/sh\n"
        'case "$*" in\n'
        "*ls-files*) echo machine.py;;\n"
        f"*describe*) echo {'a' * 40}-dirty;;\n"
        "esac\n"
    )
    tool.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    version = machine.code_version()
    assert version.endswith(f", commit {'a' * 40} with uncommitted changes")
    # Installed into somebody else's checkout, which does not track the file.
    tool.write_text(f'#!/bin/sh\ncase "$*" in *describe*) echo {"a" * 40};; esac\n')
    assert "commit" not in machine.code_version()

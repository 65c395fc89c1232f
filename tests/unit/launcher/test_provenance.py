from __future__ import annotations

import dataclasses
import os
import re
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from rrl_agents.checkpoints.params_codec import params_hash, params_to_bytes
from rrl_agents.checkpoints.sealed_json import seal, unseal
from rrl_agents.checkpoints.teacher_card import Parent, TeacherCard
from rrl_agents.checkpoints.teacher_directory import save_teacher
from rrl_agents.reincarnation.fine_tuning import FineTuningConfig
from rrl_agents.reincarnation.tabula_rasa import TabulaRasaConfig
from services.launcher import machine, provenance
from services.launcher.experiment import Experiment
from services.launcher.provenance import parents_of, record_session
from services.launcher.resolution import resolve
from services.recorded_data.dataset import RecordedData
from services.shared import run_records
from services.shared.errors import UserError
from services.shared.run_provenance import PROVENANCE_FILE, Provenance, read_provenance
from tests.conftest import perfect_catch_params
from tests.support.experiments import catch_config


@pytest.fixture
def experiment(catch_teacher: Path) -> Experiment:
    return resolve(catch_config(catch_teacher))


def read_card(teacher: Path) -> TeacherCard:
    return TeacherCard.from_json((teacher / "card.json").read_text())


def noted(run: Path) -> Provenance:
    found = read_provenance(run)
    assert found is not None
    return found


def test_a_run_notes_its_command_code_and_hardware_and_its_teachers_whole_card(
    experiment: Experiment, catch_teacher: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    teacher = "--teacher.checkpoint=https://me:secret@host/policy.onnx?token=secret"
    command = ["/some/where/bin/rrl", "train", "qdagger", teacher, "--run", "my run"]
    monkeypatch.setattr(sys, "argv", command)
    record_session(tmp_path, lambda: parents_of(experiment))
    assert noted(tmp_path).parents == (
        Parent(relations=("teacher",), card=read_card(catch_teacher)),
    )
    (session,) = noted(tmp_path).sessions
    public = "--teacher.checkpoint=https://host/policy.onnx"
    assert session.command == f"rrl train qdagger {public} --run 'my run'"
    code = r"rrl-agents 0.*\(python 3\.\d+\.\d+, jax \d.*, numpy \d.*\)"
    assert re.fullmatch(code, session.code)
    assert " cores of " in session.hardware and " GiB memory, " in session.hardware
    assert session.started.endswith("+00:00")


def test_a_run_restarted_forever_keeps_its_parents_and_its_first_and_newest_sessions(
    experiment: Experiment, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(provenance, "MAX_SESSIONS", 3)
    record_session(tmp_path, lambda: parents_of(experiment))
    first = noted(tmp_path)
    for number in range(4):
        monkeypatch.setattr(sys, "argv", ["rrl", str(number)])
        record_session(tmp_path, tuple)
    assert noted(tmp_path).parents == first.parents
    assert noted(tmp_path).sessions[:1] == first.sessions
    assert [one.command for one in noted(tmp_path).sessions[1:]] == ["rrl 2", "rrl 3"]


def test_roles_that_start_together_all_get_their_line(tmp_path: Path) -> None:
    # Locks are on open files, so threads stand for processes.
    with ThreadPoolExecutor(4) as roles:
        for done in [roles.submit(record_session, tmp_path, tuple) for _ in range(8)]:
            done.result()
    assert len(noted(tmp_path).sessions) == 8


def test_a_teacher_that_is_only_compared_with_is_no_parent(catch_teacher: Path) -> None:
    assert parents_of(resolve(catch_config(catch_teacher, method=TabulaRasaConfig()))) == ()


def test_a_teacher_whose_weights_are_trained_on_is_a_parent_by_these(catch_teacher: Path) -> None:
    tuned = resolve(catch_config(catch_teacher, method=FineTuningConfig()))
    (parent,) = parents_of(tuned)
    assert parent.relations == ("initial weights",)


def test_recorded_data_have_the_agent_that_lies_with_them_as_a_parent(
    experiment: Experiment, catch_teacher: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
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
    # Columns without an agent: their player is unknown, and the card says so.
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


def tool(folder: Path, name: str, script: str) -> None:
    (folder / name).write_text(f'#!/bin/sh\ncase "$*" in {script} esac\n')
    (folder / name).chmod(0o755)


def test_a_machine_without_git_or_gpu_tools_is_described_all_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert re.fullmatch(r"rrl-agents 0[^,]* \(python 3.*\)", machine.describe_code())
    assert machine.describe_hardware().endswith(", no GPU")


@pytest.mark.parametrize(
    ("visible", "gpus"), [(None, "2 x A100"), ("0", "1 x A100"), ("", "no GPU"), ("9", "2 x A100")]
)
def test_alike_gpus_are_counted_and_hidden_ones_are_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, visible: str | None, gpus: str
) -> None:
    tool(tmp_path, "nvidia-smi", "*--id=0*) echo A100;; *--id*) false;; *) echo A100; echo A100;;")
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    if visible is not None:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    assert machine.describe_hardware().endswith(f", {gpus}")


def test_a_checkout_names_its_commit_and_whether_it_was_changed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    described = f"*describe*) echo {'a' * 40}-dirty;;"
    tool(tmp_path, "git", f"*ls-files*) echo machine.py;; {described}")
    assert f", commit {'a' * 40}-dirty (python" in machine.describe_code()
    # Installed into somebody else's checkout, which does not track the file.
    tool(tmp_path, "git", described)
    assert "commit" not in machine.describe_code()

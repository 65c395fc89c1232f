from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from rrl_agents.checkpoints.sealed_json import SEAL, seal, unseal
from rrl_agents.types import Progress, Stage
from services.cli.report import report as report_command
from services.learner.checkpoint_records import RunRecord
from services.learner.checkpointing import write_checkpoint
from services.learner.evaluation_records import EvaluationRecord, append_record, read_records
from services.run_report.baseline import read_baseline
from services.run_report.report import export_baseline, write_report
from services.shared.errors import UserError

MakeRun = Callable[..., Path]

COMMAND = "rrl train tabula-rasa"


def test_the_summary_holds_hand_worked_numbers(make_run: MakeRun) -> None:
    run = make_run()
    write_report(run)
    summary = json.loads((run / "report/summary.json").read_text())
    low, high = summary.pop("student_return_interval")
    assert -9.0 <= low < -8.0 < high <= -7.0
    assert summary == {
        "method": "qdagger",
        "game": "pong",
        "teacher": "pong_dqn",
        "finished": True,
        "student_return": -8.0,  # (-9 - 7 - 9 - 7) / 4
        "student_return_std": 1.0,  # every return is 1 from the mean
        "student_episodes": 4,
        "teacher_return": -4.0,
        "random_return": -20.0,
        "teacher_normalised_score": 0.75,  # (-8 + 20) / (-4 + 20)
        "epsilon": 0.001,
        "last_evaluation": {
            "as_of": "at the last evaluation, after 1,100 updates",
            "learner_updates": 1_100,
            "offline_updates": 1_000,
            "online_updates": 100,
            "teacher_steps": 500,
            "actor_steps": 400,
            "frames": 1_600,  # 400 steps of 4 frames
            "weaning_weight": 0.25,
            "wall_seconds": 460.0,
        },
        "newest_checkpoint": None,
        "beyond_budgets": [],
        "mixed_protocols": [],
        "baseline": None,
    }


def note_protocols(run: Path, **teacher: float | None) -> None:
    file = run / "config.json"
    student = {"epsilon": 0.001, "sticky_actions": 0.25, "max_episode_steps": 27_000}
    protocols = {"student": student, "teacher": student | teacher}
    file.write_text(seal({**unseal(file.read_text()), "score_protocols": protocols}))


def test_a_teacher_that_was_measured_otherwise_is_named(
    make_run: MakeRun, capsys: pytest.CaptureFixture[str]
) -> None:
    run = make_run()
    note_protocols(run, sticky_actions=0.0, max_episode_steps=None)
    report_command(run)
    mixed = "pong: the teacher was evaluated with sticky actions 0.0, students with [0.25]"
    assert json.loads((run / "report/summary.json").read_text())["mixed_protocols"] == [mixed]
    for text in (capsys.readouterr().out, (run / "report/README.md").read_text()):
        assert "different protocols" in text and mixed in text


def test_what_was_measured_alike_is_no_mixture(
    make_run: MakeRun, capsys: pytest.CaptureFixture[str]
) -> None:
    run = make_run()
    note_protocols(run)
    report_command(run)
    assert "protocols" not in capsys.readouterr().out + (run / "report/README.md").read_text()


def save(run: Path, **progress: Any) -> None:
    """A checkpoint, which holds more than was evaluated."""
    record = RunRecord(
        progress=Progress(
            random_return=-20.0, stage=Stage.ONLINE, offline_updates=1_000, **progress
        ),
        seconds=500.0,
    )
    write_checkpoint(run, {"x": 1.0}, record, number=1, keep=())


def test_what_a_stopped_run_has_done_is_told_beside_what_was_evaluated(
    make_run: MakeRun, capsys: pytest.CaptureFixture[str]
) -> None:
    run = make_run(finished=False)
    save(run, online_updates=293, teacher_steps=500, actor_steps=1_172, weaning_weight=0.25)
    report_command(run)
    summary = json.loads((run / "report/summary.json").read_text())
    assert summary["last_evaluation"]["online_updates"] == 100
    saved = summary["newest_checkpoint"]
    assert (saved["learner_updates"], saved["actor_steps"], saved["frames"]) == (
        1_293,
        1_172,
        4_688,
    )
    out = capsys.readouterr().out
    assert "at the last evaluation, after 1,100 updates: 1,000 offline and 100 online" in out
    assert (
        "in the newest checkpoint, after 1,293 updates: 1,000 offline and 293 online updates, "
        "500 teacher steps, 1,172 student steps, 8 min 20 s at work" in out
    )
    text = (run / "report/README.md").read_text()
    assert "newest evaluation, after 1,100 updates (the run is not finished)" in text
    assert "| the student's own steps | 400 | 1,172 |" in text
    assert "| time at work | 7 min 40 s | 8 min 20 s |" in text


def test_what_goes_beyond_a_budget_is_said(
    make_run: MakeRun, capsys: pytest.CaptureFixture[str]
) -> None:
    run = make_run()
    config = unseal((run / "config.json").read_text())
    config["budgets"] = {"teacher_steps": 499, "online_steps": 400}
    (run / "config.json").write_text(seal(config))
    save(run, online_updates=100, teacher_steps=500, actor_steps=476)
    report_command(run)
    told = ["400 student steps asked, 476 played", "499 teacher steps asked, 500 collected"]
    out, text = capsys.readouterr().out, (run / "report/README.md").read_text()
    for line in told:
        assert line in out and line in text


def test_the_learning_curve_is_a_png_with_lines_for_student_teacher_and_random(
    make_run: MakeRun,
) -> None:
    run = make_run()
    write_report(run)
    with Image.open(run / "report/learning_curve.png") as image:
        assert image.format == "PNG"
        assert image.width >= 1_000 and image.height >= 500
        colours = image.convert("RGB").getcolors(maxcolors=1_000_000)
    assert colours is not None
    # The student's blue, the teacher's green, the random policy's grey.
    assert {(11, 95, 165), (46, 125, 50), (107, 107, 107)} <= {colour for _, colour in colours}


def test_a_returned_summary_is_the_one_on_disk(make_run: MakeRun) -> None:
    run = make_run()
    summary = write_report(run)
    assert (
        summary.student_return
        == json.loads((run / "report/summary.json").read_text())["student_return"]
    )


def test_returns_given_by_the_caller_come_before_those_of_the_config(make_run: MakeRun) -> None:
    summary = write_report(make_run(), teacher_return=0.0, random_return=-16.0)
    assert summary.teacher_normalised_score == 0.5  # (-8 + 16) / (0 + 16)


def test_a_teacher_that_was_measured_comes_before_its_card(make_run: MakeRun) -> None:
    run = make_run()
    student = read_records(run / "metrics/evaluations.jsonl")[0]
    fields = {**vars(student), "player": "teacher", "episode_returns": (-1.0, -3.0)}
    append_record(run / "metrics/evaluations.jsonl", EvaluationRecord(**fields))
    assert write_report(run).teacher_return == -2.0


def test_a_baseline_made_of_a_run_stands_beside_another_with_its_own_score(
    make_run: MakeRun, tmp_path: Path
) -> None:
    scratch = make_run("scratch", method="tabula_rasa", offline=0)
    file = tmp_path / "tabula_rasa.json"
    file.write_text(export_baseline(scratch, COMMAND))
    run = make_run()
    summary = write_report(run, baseline=file)
    assert summary.baseline is not None
    assert summary.baseline.method == "tabula_rasa"
    assert summary.baseline.student_return == -8.0
    assert summary.baseline.teacher_normalised_score == 0.75
    assert summary.baseline.frames == 1_600
    text = (run / "report/README.md").read_text()
    assert "tabula_rasa, beside | -8.00 | 0.75" in text
    assert COMMAND in text
    with Image.open(run / "report/learning_curve.png") as image:
        colours = image.convert("RGB").getcolors(maxcolors=1_000_000)
    assert colours is not None
    assert (200, 100, 30) in {colour for _, colour in colours}


def test_an_exported_baseline_reads_back_with_every_point(
    make_run: MakeRun, tmp_path: Path
) -> None:
    file = tmp_path / "baseline.json"
    file.write_text(export_baseline(make_run(offline=1_000), COMMAND))
    baseline = read_baseline(file)
    assert baseline.command == COMMAND
    assert [point.frames for point in baseline.points] == [0, 0, 800, 1_600]
    assert [point.mean_return for point in baseline.points] == [-20.5, -14.0, -11.0, -8.0]
    assert [point.episodes for point in baseline.points] == [2, 2, 2, 4]


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ('"rrl-baseline-1"', '"rrl-baseline-9"', "format"),
        ('"episodes": 4', '"episodes": 0', "episodes is 0"),
        ('"frames": 800', '"frames": 8000', "must not decrease"),
        ('"mean_return": -8.0', '"mean_return": 3.0', "outside its interval"),
        ('"command"', '"commands"', "unknown field commands; did you mean command"),
        ('"points": [', '"points": [5, ', "must be a list, each an object"),
    ],
)
def test_a_baseline_file_that_was_tampered_with_is_refused(
    make_run: MakeRun, tmp_path: Path, old: str, new: str, message: str
) -> None:
    file = tmp_path / "baseline.json"
    text = export_baseline(make_run(), COMMAND)
    assert old in text
    file.write_text(text.replace(old, new, 1))
    with pytest.raises(UserError, match="not as it was written"):
        read_baseline(file)
    # Whoever makes one by hand can seal it, too.
    file.write_text(resealed(text.replace(old, new, 1)))
    with pytest.raises(UserError, match=message):
        read_baseline(file)


def resealed(text: str) -> str:
    content = json.loads(text)
    del content[SEAL]
    return seal(content)


def test_a_number_of_a_baseline_is_finite(make_run: MakeRun, tmp_path: Path) -> None:
    file = tmp_path / "baseline.json"
    text = export_baseline(make_run(), COMMAND)
    file.write_text(text.replace('"mean_return": -8.0', '"mean_return": NaN'))
    with pytest.raises(UserError, match="is no baseline file"):
        read_baseline(file)


def test_a_baseline_of_another_game_is_refused_and_the_old_report_stays(
    make_run: MakeRun, tmp_path: Path
) -> None:
    run = make_run()
    write_report(run)
    before = (run / "report/summary.json").read_bytes()
    file = tmp_path / "baseline.json"
    file.write_text(resealed(export_baseline(run, COMMAND).replace('"pong"', '"breakout"')))
    with pytest.raises(UserError, match="breakout"):
        write_report(run, baseline=file)
    assert (run / "report/summary.json").read_bytes() == before


def test_the_new_report_replaces_the_old_one_and_keeps_its_video(
    make_run: MakeRun, tmp_path: Path
) -> None:
    run = make_run()
    video = tmp_path / "made.gif"
    Image.new("L", (4, 4)).save(video)
    write_report(run, student_gif=video)
    (run / "report/left_over.txt").write_text("of an older report")
    write_report(run)
    assert sorted(path.name for path in (run / "report").iterdir()) == [
        "README.md",
        "learning_curve.png",
        "student.gif",
        "summary.json",
    ]
    assert (run / "report/student.gif").read_bytes() == video.read_bytes()
    assert not list(run.glob(".report*"))


def test_the_video_that_the_evaluator_left_is_found(make_run: MakeRun) -> None:
    run = make_run()
    Image.new("L", (4, 4)).save(run / "metrics/student.gif")
    write_report(run)
    assert (run / "report/student.gif").read_bytes() == (run / "metrics/student.gif").read_bytes()
    assert "student.gif" in (run / "report/README.md").read_text()


def test_an_environment_of_one_game_is_named_by_itself(make_run: MakeRun) -> None:
    run = make_run()
    config = unseal((run / "config.json").read_text())
    # Catch ignores the game of its config; a step of it is one frame.
    config["environment"] = {"name": "catch", "game": "pong", "frames_per_step": 1}
    (run / "config.json").write_text(seal(config))
    summary = write_report(run)
    assert summary.game == "catch"
    assert summary.last_evaluation.frames == 400


def test_a_baseline_may_spell_the_game_in_its_own_way(make_run: MakeRun, tmp_path: Path) -> None:
    run = make_run()
    file = tmp_path / "baseline.json"
    file.write_text(resealed(export_baseline(run, COMMAND).replace('"pong"', '"Pong"')))
    assert write_report(run, baseline=file).baseline is not None


def test_a_report_that_fails_half_way_leaves_the_old_one(make_run: MakeRun, tmp_path: Path) -> None:
    run = make_run()
    write_report(run)
    with pytest.raises(FileNotFoundError):
        write_report(run, student_gif=tmp_path / "missing.gif")
    assert (run / "report/summary.json").exists()
    assert not list(run.glob(".report*"))


def test_a_run_that_is_not_finished_is_reported_as_such_but_makes_no_baseline(
    make_run: MakeRun,
) -> None:
    run = make_run(finished=False)
    assert not write_report(run).finished
    assert "not finished" in (run / "report/README.md").read_text()
    with pytest.raises(UserError, match="not finished"):
        export_baseline(run, COMMAND)


def test_the_command_prints_scores_and_places(
    make_run: MakeRun, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = make_run()
    report_command(run, export_baseline=tmp_path / "baseline.json")
    out = capsys.readouterr().out
    assert "teacher-normalised 0.75" in out
    assert str(run / "report") in out
    assert read_baseline(tmp_path / "baseline.json").game == "pong"


@pytest.mark.parametrize(
    ("config", "message"),
    [
        (None, "no config.json"),
        ("{", "not valid JSON"),
        ("[]", "must be an object"),
        ("{}", "has no sha256"),
        (seal({}), "field method is missing"),
        (seal({"method": "qdagger", "environment": 3}), "must be an object"),
        (seal({"method": "qdagger", "environment": {"game": "pong"}}), "no evaluation"),
    ],
)
def test_a_folder_that_is_no_run_is_refused_with_nothing_written(
    tmp_path: Path, config: str | None, message: str
) -> None:
    if config is not None:
        (tmp_path / "config.json").write_text(config)
    with pytest.raises(UserError, match=message):
        report_command(tmp_path)
    assert not (tmp_path / "report").exists()


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("random_return", None, "random policy is not known"),
        ("random_return", "-20", "random_return is '-20'; it must be a finite number"),
        ("random_return", -4.0, "no score can be given"),
    ],
)
def test_a_run_without_usable_references_is_refused(
    make_run: MakeRun, field: str, value: object, message: str
) -> None:
    run = make_run()
    config = unseal((run / "config.json").read_text())
    (run / "config.json").write_text(seal({**config, field: value}))
    with pytest.raises(UserError, match=message):
        write_report(run)


def test_a_report_takes_the_returns_that_the_run_did_not_find_out(
    make_run: MakeRun, capsys: pytest.CaptureFixture[str]
) -> None:
    run = make_run()
    config = unseal((run / "config.json").read_text())
    (run / "config.json").write_text(seal({**config, "random_return": None}))
    with pytest.raises(UserError, match="--random-return"):
        report_command(run)
    # (-8 - -16) / (0 - -16)
    report_command(run, teacher_return=0.0, random_return=-16.0)
    assert "teacher-normalised 0.50" in capsys.readouterr().out

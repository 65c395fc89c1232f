from __future__ import annotations

import base64
import dataclasses
import json
import re
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from rrl_agents.checkpoints.sealed_json import SEAL, seal, unseal
from rrl_agents.escaped_markdown import escaped
from rrl_agents.types import Progress, Stage
from services.cli.report import report as report_command
from services.learner.checkpoint_records import RunRecord
from services.learner.checkpointing import write_checkpoint
from services.learner.evaluation_records import EvaluationRecord, append_record, read_records
from services.run_report.baseline import read_baseline
from services.run_report.report import export_baseline, write_report
from services.shared.errors import UserError
from services.shared.run_provenance import (
    PROVENANCE_FILE,
    Provenance,
    Session,
    read_provenance,
)
from services.shared.run_records import write_record

MakeRun = Callable[..., Path]
Report = Callable[..., str]

COMMAND = "rrl train tabula-rasa"


@pytest.fixture
def report(capsys: pytest.CaptureFixture[str]) -> Report:
    """Runs the command; gives what it prints."""

    def run_command(run: Path, **options: Any) -> str:
        report_command(run, **options)
        return capsys.readouterr().out

    return run_command


def summary_of(run: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((run / "report/summary.json").read_text())
    return found


def page_of(run: Path) -> str:
    return (run / "report/README.md").read_text()


def colours(run: Path) -> set[Any]:
    with Image.open(run / "report/learning_curve.png") as image:
        assert image.format == "PNG" and image.width >= 1_000 and image.height >= 500
        found = image.convert("RGB").getcolors(maxcolors=1_000_000)
    assert found is not None
    return {colour for _, colour in found}


def configure(run: Path, **changes: Any) -> Path:
    """The run with other settings in its config."""
    file = run / "config.json"
    file.write_text(seal({**unseal(file.read_text()), **changes}))
    return run


def test_the_summary_holds_hand_worked_numbers(make_run: MakeRun) -> None:
    run = make_run()
    returned = write_report(run)
    summary = summary_of(run)
    assert returned.student_return == summary["student_return"]
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
        "metrics": {},  # Pong is judged by returns alone.
        "made": {"seed": None, "commands": [], "code": [], "hardware": []},
    }
    # The student's blue, the teacher's green, the random policy's grey.
    assert {(11, 95, 165), (46, 125, 50), (107, 107, 107)} <= colours(run)


def protocols(**teacher: float | None) -> dict[str, Any]:
    student = {"epsilon": 0.001, "sticky_actions": 0.25, "max_episode_steps": 27_000}
    return {"student": student, "teacher": student | teacher}


def test_a_teacher_that_was_measured_otherwise_is_named(make_run: MakeRun, report: Report) -> None:
    run = make_run()
    configure(run, score_protocols=protocols())
    assert "protocols" not in report(run) + page_of(run)
    configure(run, score_protocols=protocols(sticky_actions=0.0, max_episode_steps=None))
    out = report(run)
    mixed = "pong: the teacher was evaluated with sticky actions 0.0, students with [0.25]"
    assert summary_of(run)["mixed_protocols"] == [mixed]
    for text, named in ((out, mixed), (page_of(run), escaped(mixed))):
        assert "different protocols" in text and named in text


class Page(HTMLParser):
    """What a browser would show of a page: its images, their texts, and its words.

    Attributes:
        images: Text of each -> its bytes.
        tags: All that open.
    """

    def __init__(self, file: Path) -> None:
        super().__init__()
        self.images: dict[str, bytes] = {}
        self.tags: list[str] = []
        self._words: list[str] = []
        self.feed(file.read_text())
        self.words = " ".join(" ".join(self._words).split())

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        found = dict(attrs)
        self.tags.append(tag)
        assert not {*found} & {"href", "onerror"} and "http" not in (found.get("src") or "")
        if tag == "img":
            source, text = found["src"], found["alt"]
            assert source is not None and text is not None
            kind, data = source.split(";base64,")
            assert kind in ("data:image/png", "data:image/gif")
            self.images[text] = base64.b64decode(data, validate=True)

    def handle_data(self, data: str) -> None:
        self._words.append(data)


def note_session(run: Path, command: str, code: str = "rrl-agents 0.1.0, commit abc") -> None:
    session = Session(started="now", command=command, code=code, hardware="2 cores")
    known = read_provenance(run) or Provenance(parents=(), sessions=())
    sessions = (*known.sessions, session)
    write_record(run / PROVENANCE_FILE, dataclasses.replace(known, sessions=sessions))


def test_the_page_is_one_file_that_shows_its_images_and_says_what_made_them(
    make_run: MakeRun,
) -> None:
    run = configure(make_run(), seed=1234)
    for _ in range(2):
        note_session(run, "rrl train qdagger --run 'my run'")
    Image.new("L", (4, 4)).save(run / "metrics/student.gif")
    write_report(run)
    page = Page(run / "report/index.html")
    assert [*page.images.values()] == [
        (run / f"report/{file}").read_bytes() for file in ("learning_curve.png", "student.gif")
    ]
    assert {*re.findall(r"!\[.*?\]\((.*?)\)", page_of(run))} == {
        "learning_curve.png",
        "student.gif",
    }
    for words in (
        "final evaluation, after 1,100 updates and 400 of its own steps: mean return -8.00 ± 1.00",
        "How it was made rrl train qdagger --run 'my run' seed: 1234 code: rrl-agents 0.1.0, "
        "commit abc hardware: 2 cores",
    ):
        assert page.words.count(words) == 1
    assert page.words.count("Points: mean over") == 1, "the caption"


HOSTILE = "`a` <script>x</script> | ![b](http://c) &lt; <img src=http://d onerror=e>\n# f"


def test_a_name_in_a_runs_files_is_text_on_the_page_and_nothing_else(make_run: MakeRun) -> None:
    run = configure(make_run(), method=HOSTILE, teacher={"name": HOSTILE}, budgets={HOSTILE: 1})
    note_session(run, HOSTILE, HOSTILE)
    write_report(run)
    page = Page(run / "report/index.html")
    assert [*page.images] == ["The learning curve"]
    assert "script" not in page.tags
    shown = " ".join(HOSTILE.split())
    # Title, heading, the teacher's row, command, code and budget.
    assert page.words.count(shown) == 6


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
    make_run: MakeRun, report: Report
) -> None:
    run = make_run(finished=False)
    save(run, online_updates=293, teacher_steps=500, actor_steps=1_172, weaning_weight=0.25)
    out, summary, text = report(run), summary_of(run), page_of(run)
    assert not summary["finished"]
    assert summary["last_evaluation"]["online_updates"] == 100
    saved = {"learner_updates": 1_293, "actor_steps": 1_172, "frames": 4_688}
    assert summary["newest_checkpoint"].items() >= saved.items()
    assert "at the last evaluation, after 1,100 updates: 1,000 offline and 100 online" in out
    assert (
        "in the newest checkpoint, after 1,293 updates: 1,000 offline and 293 online updates, "
        "500 teacher steps, 1,172 student steps, 8 min 20 s of wall-clock time" in out
    )
    assert "newest evaluation, after 1,100 updates and 400 of its own steps (the run is not" in text
    assert "| student steps | 400 | 1,172 |" in text
    assert "| wall-clock time | 7 min 40 s | 8 min 20 s |" in text
    with pytest.raises(UserError, match="not finished"):
        export_baseline(run, COMMAND)


def test_what_goes_beyond_a_budget_is_said(make_run: MakeRun, report: Report) -> None:
    run = configure(make_run(), budgets={"teacher_steps": 499, "online_steps": 400})
    save(run, online_updates=100, teacher_steps=500, actor_steps=476)
    out, text = report(run), page_of(run)
    for line in ("476 student steps of a budget of 400", "500 teacher steps of a budget of 499"):
        assert line in out and line in text


def test_returns_given_by_the_caller_come_before_those_of_the_config(
    make_run: MakeRun, report: Report
) -> None:
    run = configure(make_run(), random_return=None)
    with pytest.raises(UserError, match="random policy is unknown.*--random-return"):
        report(run)
    # (-8 - -16) / (0 - -16)
    out = report(run, teacher_return=0.0, random_return=-16.0)
    assert "teacher-normalised score 0.50" in out and str(run / "report") in out


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
    # A baseline may spell the game in its own way.
    file.write_text(resealed(export_baseline(scratch, COMMAND).replace('"pong"', '"Pong"')))
    run = make_run()
    baseline = write_report(run, baseline=file).baseline
    assert baseline is not None
    assert (baseline.method, baseline.student_return) == ("tabula_rasa", -8.0)
    assert (baseline.teacher_normalised_score, baseline.frames) == (0.75, 1_600)
    assert "tabula_rasa (baseline) | -8.00 | 0.75" in page_of(run)
    assert COMMAND in page_of(run)
    assert (200, 100, 30) in colours(run)


def test_an_exported_baseline_reads_back_with_every_point(
    make_run: MakeRun, report: Report, tmp_path: Path
) -> None:
    file = tmp_path / "baseline.json"
    assert "teacher-normalised score 0.75" in report(make_run(), export_baseline=file)
    baseline = read_baseline(file)
    assert baseline.game == "pong"
    assert [(one.frames, one.mean_return, one.episodes) for one in baseline.points] == [
        (0, -20.5, 2),
        (0, -14.0, 2),
        (800, -11.0, 2),
        (1_600, -8.0, 4),
    ]
    file.write_text(export_baseline(tmp_path / "run", COMMAND))
    assert read_baseline(file).command == COMMAND


def resealed(text: str) -> str:
    content = json.loads(text)
    del content[SEAL]
    return seal(content)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ('"rrl-baseline-1"', '"rrl-baseline-9"', "format"),
        ('"episodes": 4', '"episodes": 0', "episodes is 0"),
        ('"frames": 800', '"frames": 8000', "must not decrease"),
        ('"mean_return": -8.0', '"mean_return": 3.0', "outside its interval"),
        ('"command"', '"commands"', "unknown field commands; did you mean command"),
        ('"points": [', '"points": [5, ', "must be an object"),
    ],
)
def test_a_baseline_file_that_was_tampered_with_is_refused(
    make_run: MakeRun, tmp_path: Path, old: str, new: str, message: str
) -> None:
    file = tmp_path / "baseline.json"
    text = export_baseline(make_run(), COMMAND)
    assert old in text
    # One made by hand can be sealed, too.
    for changed, reason in (
        (text.replace(old, new, 1), "changed since it was written"),
        (resealed(text.replace(old, new, 1)), message),
    ):
        file.write_text(changed)
        with pytest.raises(UserError, match=reason):
            read_baseline(file)


def test_a_number_of_a_baseline_is_finite(make_run: MakeRun, tmp_path: Path) -> None:
    file = tmp_path / "baseline.json"
    text = export_baseline(make_run(), COMMAND)
    file.write_text(text.replace('"mean_return": -8.0', '"mean_return": NaN'))
    with pytest.raises(UserError, match="is not a baseline file"):
        read_baseline(file)


def test_a_report_that_cannot_be_made_leaves_the_old_one(make_run: MakeRun, tmp_path: Path) -> None:
    run = make_run()
    write_report(run)
    before = (run / "report/summary.json").read_bytes()
    file = tmp_path / "baseline.json"
    file.write_text(resealed(export_baseline(run, COMMAND).replace('"pong"', '"breakout"')))
    with pytest.raises(UserError, match="breakout"):
        write_report(run, baseline=file)
    with pytest.raises(FileNotFoundError):
        write_report(run, student_gif=tmp_path / "missing.gif")
    assert (run / "report/summary.json").read_bytes() == before
    assert not list(run.glob(".report*"))


def test_the_new_report_replaces_the_old_one_and_keeps_its_video(
    make_run: MakeRun, tmp_path: Path
) -> None:
    run = make_run()
    # The evaluator left one; another is given.
    found, given = run / "metrics/student.gif", tmp_path / "made.gif"
    Image.new("L", (4, 4)).save(found)
    Image.new("L", (8, 8)).save(given)
    write_report(run)
    assert (run / "report/student.gif").read_bytes() == found.read_bytes()
    assert "student.gif" in page_of(run)
    found.unlink()
    write_report(run, student_gif=given)
    (run / "report/left_over.txt").write_text("of an older report")
    write_report(run)
    names = sorted(path.name for path in (run / "report").iterdir())
    assert names == [
        *("README.md", "index.html", "learning_curve.png", "student.gif", "summary.json")
    ]
    assert (run / "report/student.gif").read_bytes() == given.read_bytes()
    assert not list(run.glob(".report*"))


def test_an_environment_of_one_game_is_named_by_itself(make_run: MakeRun) -> None:
    # Catch ignores the game of its config; a step of it is one frame.
    catch = {"name": "catch", "game": "pong", "frames_per_step": 1}
    summary = write_report(configure(make_run(), environment=catch))
    assert summary.game == "catch"
    assert summary.last_evaluation.frames == 400


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
    ("random_return", "message"),
    [
        ("-20", "random_return is '-20'; it must be a finite number"),
        (-4.0, "the score cannot be computed"),
    ],
)
def test_a_run_without_usable_references_is_refused(
    make_run: MakeRun, random_return: object, message: str
) -> None:
    with pytest.raises(UserError, match=message):
        write_report(configure(make_run(), random_return=random_return))


def test_metrics_are_compared_with_the_teachers_on_equal_seeds(make_run: MakeRun) -> None:
    run = configure(make_run(), evaluation={"first_seed": 0})
    *_, last = read_records(run / "metrics/evaluations.jsonl")
    teacher = dataclasses.replace(
        last,
        player="teacher",
        weights_version=0,
        final=False,
        episode_returns=(-4.0, -4.0),
        episode_steps=(100, 100),
        episode_metrics={"twr50": (0.5, 0.25)},
    )
    student = dataclasses.replace(last, episode_metrics={"twr50": (0.25, 0.25, 0.0, 0.5)})
    for record in (teacher, student):
        append_record(run / "metrics/evaluations.jsonl", record)
    write_report(run)
    # On the two seeds that both have: 0.25 - 0.5 and 0.25 - 0.25; -9 + 4 and -7 + 4.
    found = summary_of(run)["metrics"]
    twr50, returns = found["twr50"], found["return"]
    assert (twr50["student_mean"], twr50["teacher_mean"]) == (0.25, 0.375)
    assert (twr50["difference"], twr50["pairs"]) == (-0.125, 2)
    assert twr50["difference_interval"] == [-0.25, 0.0]
    assert (returns["difference"], returns["pairs"]) == (-4.0, 2)
    assert "| twr50 | 0.250 (" in page_of(run) and "-0.125 (-0.250 to 0.000, 2 pairs)" in page_of(
        run
    )


def test_without_fixed_seeds_metrics_are_not_paired(make_run: MakeRun) -> None:
    run = make_run()
    *_, last = read_records(run / "metrics/evaluations.jsonl")
    student = dataclasses.replace(last, episode_metrics={"twr50": (0.25, 0.25, 0.0, 0.5)})
    append_record(run / "metrics/evaluations.jsonl", student)
    write_report(run)
    (name,) = summary_of(run)["metrics"]
    outcome = summary_of(run)["metrics"][name]
    assert (name, outcome["student_mean"], outcome["difference"]) == ("twr50", 0.25, None)

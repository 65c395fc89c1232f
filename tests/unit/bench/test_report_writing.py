from __future__ import annotations

import base64
import csv
import dataclasses
import html
import itertools
import json
import re
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from cycler import cycler
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from PIL import Image

from services.bench.folder import BenchFolder
from services.bench.report.sweep_figures import draw_sweep
from services.bench.report.writing import check_protocols, write_report
from services.bench.results import Results, SessionRow, write_results
from services.bench.suite import parse_suite
from services.bench.sweeps import Sweep
from services.cli.bench_report import bench_report
from services.shared.errors import UserError
from tests.support.bench_rows import SUITE, SUITE_TEXT, changed, evaluation, reference

# QDagger comes from 0 to 1, 2, 3 and 4 (asterix 0, 1, breakout 0, 1); scratch has one run.
RESULTS = Results(
    evaluations=(
        *(
            row
            for index, (game, seed) in enumerate(itertools.product(SUITE.games, SUITE.seeds))
            for row in (
                evaluation("qdagger", game, seed, 0, 0.0),
                evaluation("qdagger", game, seed, 400, 1.0 + index, final=True),
            )
        ),
        evaluation("scratch", "asterix", 0, 400, 0.5, final=True),
    ),
    references=(reference("asterix", 0.0, 1.0), reference("breakout", 0.0, 1.0)),
)


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("report")
    write_report(SUITE, RESULTS, out, resamples=100)
    return out


def test_a_report_says_what_the_scores_come_to_and_what_is_missing(report: Path) -> None:
    summary = json.loads((report / "summary.json").read_text())
    # The middle half of 1 2 3 4 is 2 and 3; 0.5 is alone. The best comes first.
    assert list(summary["iqm"]) == ["qdagger", "scratch"]
    assert summary["iqm"]["qdagger"]["point"] == 2.5
    assert summary["iqm"]["scratch"] == {"point": 0.5, "low": 0.5, "high": 0.5}
    # Of the four runs one ties with its teacher: (0.75 + 1) / 2.
    assert summary["improvement_over_teacher"]["qdagger"]["point"] == 0.875
    assert summary["entries"]["scratch"]["games"] == 1
    missing = [f"scratch/{run}" for run in ("asterix/seed1", "breakout/seed0", "breakout/seed1")]
    assert summary["missing_runs"] == missing
    page = (report / "index.html").read_text()
    assert "The suite is incomplete, 3 missing: scratch/asterix/seed1, " in page
    # Fewer games than the others: said where the entry is named.
    assert "scratch (1/2 games)" in page
    captions = [part.split("</figcaption>")[0] for part in page.split("<figcaption>")[1:]]
    assert len(captions) == 5
    for caption in captions:
        assert "Games: 1 to 2, seeds: 1 to 2." in caption
        assert "epsilon 0.001, episodes: 10 per point, 30 of the final weights" in caption
        assert "(100 resamples; none for a single run). The suite is incomplete" in caption


HOSTILE = '</td><script>x</script> & "<img src=http://d>"'


def test_the_page_shows_its_figures_and_what_made_them_and_runs_nothing(tmp_path: Path) -> None:
    suite = parse_suite(changed('label = "QDagger"', f"label = '{HOSTILE}'"))
    made = (SessionRow("rrl bench run s.toml", "rrl-agents 0.1.0", HOSTILE, 5),)
    write_report(suite, dataclasses.replace(RESULTS, sessions=made), tmp_path, resamples=10)
    page = (tmp_path / "index.html").read_text()
    images = re.findall(r'<img src="data:image/png;base64,([^"]*)"', page)
    files = ("iqm_curve", "final_iqm", "performance_profiles", "improvement", "games")
    drawn = [(tmp_path / f"{file}.png").read_bytes() for file in files]
    assert [base64.b64decode(image) for image in images] == drawn
    # As of when scores are: `evaluation` learns once in four frames.
    assert page.count("<td>0 offline updates, 100 online updates, 400 frames</td>") == 2
    assert "Seeds of each entry and game: 0, 1." in page
    assert "<pre>rrl bench run s.toml</pre>\n<p>Runs: 5. Code: rrl-agents 0.1.0. " in page
    assert HOSTILE not in page and "<script" not in page
    # Two tables and the hardware.
    assert html.unescape(page).count(HOSTILE) == 3


def test_a_remark_stands_in_every_figure_itself(report: Path, tmp_path: Path) -> None:
    complete = Results(
        evaluations=tuple(
            evaluation(*run, 400, 1.0, final=True)
            for run in itertools.product(SUITE.entries, SUITE.games, SUITE.seeds)
        ),
        references=RESULTS.references,
    )
    write_report(SUITE, complete, tmp_path, resamples=10)

    def room_above(file: Path) -> int:
        """Pixels above the frame of the axes, which is the first long dark line."""
        with Image.open(file) as image:
            dark = np.asarray(image.convert("L")) < 128
        return int((dark.mean(axis=1) > 0.5).argmax())

    for file in ("iqm_curve.png", "performance_profiles.png"):
        assert room_above(report / file) > room_above(tmp_path / file) + 10


def test_the_numbers_of_the_figures_are_in_tables(report: Path) -> None:
    for file in ("iqm_curve", "final_iqm", "performance_profiles", "improvement", "games"):
        assert (report / f"{file}.png").read_bytes().startswith(b"\x89PNG")

    def rows(name: str, *columns: str) -> list[tuple[str, ...]]:
        with (report / name).open() as file:
            found = [row for row in csv.DictReader(file) if row["entry"] == "qdagger"]
        return [tuple(row[column] for column in columns) for row in found]

    assert rows("iqm_curve.csv", "frames", "iqm") == [("0", "0.0"), ("400", "2.5")]
    # None of 1 2 3 4 is below 0, all but the 1 are above the threshold that follows 1.
    shares = [*map(float, dict(rows("performance_profiles.csv", "threshold", "share")).values())]
    assert sorted({*shares}, reverse=True) == [1.0, 0.75, 0.5, 0.25, 0.0]
    assert shares[0] == 1.0
    improvement = rows("improvement.csv", "games", "seeds", "probability")
    assert improvement == [("2", "2", "0.875")]
    # Asterix has the runs 1 and 2.
    games = rows("games.csv", "game", "frames", "mean_return", "teacher_return")
    assert games[1] == ("asterix", "400", "1.5", "1.0")


def test_scores_of_another_protocol_are_refused_or_marked(tmp_path: Path) -> None:
    other = (reference("asterix", 0.0, 1.0, epsilon=0.05), RESULTS.references[1])
    mixed = Results(evaluations=RESULTS.evaluations, references=other)
    with pytest.raises(UserError, match=r"asterix: the teacher was evaluated with epsilon 0.05"):
        write_report(SUITE, mixed, tmp_path / "report", resamples=10)
    assert not (tmp_path / "report").exists()
    summary = write_report(SUITE, mixed, tmp_path / "report", resamples=10, mixed_protocols=True)
    assert summary["remarks"][0].startswith("Scores are not comparable: asterix: the teacher")
    page = (tmp_path / "report/index.html").read_text()
    assert page.count("Scores are not comparable. ") == 5, "every figure is marked"


def test_students_evaluated_differently_do_not_compare() -> None:
    odd = evaluation("scratch", "breakout", 0, 400, 1.0, final=True, epsilon=0.01)
    results = Results(evaluations=(*RESULTS.evaluations, odd), references=RESULTS.references)
    different, _ = check_protocols(results)
    message = "breakout: students were evaluated with different epsilon: [0.001, 0.01]"
    assert different[0] == message


def test_a_protocol_that_nobody_noted_is_told() -> None:
    references = (reference("asterix", 0.0, 1.0, epsilon=None),)
    unknown = ["asterix: unknown of the teacher's score: epsilon"]
    assert check_protocols(Results(evaluations=(), references=references)) == ([], unknown)


def test_a_report_is_replaced_whole_and_nothing_else_is(tmp_path: Path) -> None:
    out = tmp_path / "report"
    write_report(SUITE, RESULTS, out, resamples=10)
    (out / "old.txt").write_text("of the report before")
    write_report(SUITE, RESULTS, out, resamples=10)
    assert not (out / "old.txt").exists()
    assert [path.name for path in tmp_path.iterdir()] == ["report"]
    thesis = tmp_path / "thesis"
    thesis.mkdir()
    (thesis / "chapter.tex").write_text("years of work")
    with pytest.raises(UserError, match="is not a report"):
        write_report(SUITE, RESULTS, thesis, resamples=10)
    assert (thesis / "chapter.tex").exists()


def test_results_that_were_kept_without_their_runs_are_enough(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = BenchFolder(tmp_path)
    folder.suite.write_text(SUITE_TEXT)
    write_results(folder.results, RESULTS)
    bench_report(tmp_path, resamples=10)
    printed = capsys.readouterr().out
    assert "QDagger   2.500" in printed
    # The only run of "scratch" ends at 0.5 on its only game: there is no interval.
    assert "0.500  (one run of each game)" in printed
    page = (folder.report / "index.html").read_text()
    assert "<td>0.500</td><td>no run</td>" in re.sub(r"\s+<", "<", page)
    assert "0.500 (" not in page


def test_names_with_html_in_them_are_shown_as_they_are(tmp_path: Path) -> None:
    hostile = "</title><script>alert(1)</script>"
    text = SUITE_TEXT.replace('label = "QDagger"', f'label = "{hostile}"')
    text = f'title = "{hostile}"\nnotes = "{hostile}"\n{text}'
    write_report(parse_suite(text), RESULTS, tmp_path / "report", resamples=10)
    page = (tmp_path / "report/index.html").read_text()
    assert "<script" not in page
    assert "&lt;/title&gt;&lt;script&gt;" in page


def test_a_folder_without_a_suite_is_an_error_for_the_user(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="not a suite's folder"):
        bench_report(tmp_path)


def test_a_remark_names_the_first_of_many_runs_and_where_all_are(tmp_path: Path) -> None:
    suite = dataclasses.replace(SUITE, seeds=tuple(range(100)))
    summary = write_report(suite, RESULTS, tmp_path / "report", resamples=10)
    (remark,) = summary["remarks"]
    # Two entries, two games: five runs are there.
    assert remark.startswith("The suite is incomplete, 395 missing: qdagger/asterix/seed2, qdagger")
    assert remark.endswith(", ... (summary.json names all).") and len(remark) < 400
    assert len(summary["missing_runs"]) == 395


def test_a_sweep_is_reported_over_its_setting(tmp_path: Path) -> None:
    suite = parse_suite(
        SUITE_TEXT
        + "[entries.scratch.sweep]\n"
        + '"method.learning_rate" = [0.1, 0.001, 0.01]\n"student.double" = [false, true]\n'
    )
    # Of the largest rate nothing is finished.
    finals = {
        f"scratch-learning_rate-{rate}-double-{double}": 100 * rate + double
        for rate in (0.001, 0.01)
        for double in (False, True)
    }
    rows = tuple(
        evaluation(entry, game, seed, 400, value, final=True)
        for entry, value in finals.items()
        for game in suite.games
        for seed in suite.seeds
    )
    results = Results(evaluations=rows, references=RESULTS.references)
    summary = write_report(suite, results, tmp_path / "report", resamples=20)
    settings = ["method.learning_rate", "student.double"]
    assert summary["sweeps"]["scratch"]["settings"] == settings
    assert summary["sweeps"]["scratch"]["points"]["scratch-learning_rate-0.01-double-True"] == [
        0.01,
        True,
    ]
    assert (tmp_path / "report" / "sweep_scratch.png").read_bytes().startswith(b"\x89PNG")
    with (tmp_path / "report" / "sweep_scratch.csv").open() as file:
        table = [*csv.DictReader(file)]
    # In the order of the file, the last setting's values changing fastest.
    assert [(row[settings[0]], row[settings[1]], float(row["iqm"])) for row in table] == [
        ("0.001", "False", 0.1),
        ("0.001", "True", 1.1),
        ("0.01", "False", 1.0),
        ("0.01", "True", 2.0),
    ]
    page = (tmp_path / "report" / "index.html").read_text()
    assert "<h2>scratch: each value</h2>" in page
    assert "scratch: the effect of learning_rate and double" in page


def test_a_swept_setting_is_the_axis_of_a_figure() -> None:
    def points(values: list[object]) -> Axes:
        sweep = Sweep(entry="e", label="E", settings=("a.b",), points={})
        scores = {"iqm": [0.0, 1.0, 2.0], "low": [0.0, 1.0, 2.0], "high": [0.0, 1.0, 2.0]}
        table = pd.DataFrame({"a.b": pd.Series(values, dtype=object), **scores})
        axes = Figure().subplots()
        draw_sweep(axes, sweep, table, cycler(color=["#000000"]))
        return axes

    wide = points([1.0, 0.01, 0.1])
    assert wide.get_xscale() == "log"
    (line,) = wide.get_lines()
    assert (list(line.get_xdata()), list(line.get_ydata())) == ([0.01, 0.1, 1.0], [1.0, 2.0, 0.0])
    assert points([0, 1, 2]).get_xscale() == "linear"
    named = points(["kl", True, [3, 4]])
    assert [text.get_text() for text in named.get_xticklabels()] == ["kl", "True", "3x4"]

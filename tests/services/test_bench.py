"""`rrl bench` for real, on Catch: a teacher is trained, a worker is killed, the suite resumes."""

from __future__ import annotations

import contextlib
import csv
import html.parser
import json
import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest

from rrl_agents.checkpoints.teacher_directory import load_teacher_directory
from services.bench.session import run_suite
from services.cli.bench_report import bench_report
from services.learner.pending_evaluations import EVALUATIONS_FILE
from services.shared.errors import UserError

ROOT = Path(__file__).parents[2]
RRL = (sys.executable, "-m", "services.cli.main", "bench")
PATIENCE_SECONDS = 900.0


class Bench:
    """`rrl bench run` as a user starts it, in one folder."""

    def __init__(self, folder: Path) -> None:
        self.out = folder / "out"
        self._log = folder / "printed"
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> subprocess.Popen[bytes]:
        command = [*RRL, "run", str(ROOT / "suites/catch_smoke.toml"), "--out", str(self.out)]
        with self._log.open("wb") as log:
            self.process = subprocess.Popen(
                [*command, "--jobs", "2"],
                stdout=log,
                stderr=subprocess.STDOUT,
                cwd=ROOT,
                start_new_session=True,
            )
        return self.process

    @property
    def printed(self) -> str:
        return self._log.read_text()

    def wait_until(self, condition: Callable[[], bool]) -> None:
        """Wait for something while the session runs."""
        assert self.process is not None
        end = time.monotonic() + PATIENCE_SECONDS
        while not condition():
            assert self.process.poll() is None, f"ended early:\n{self.printed}"
            assert time.monotonic() < end, f"waited too long:\n{self.printed}"
            time.sleep(0.02)

    def kill_worker_at(self, run: str) -> None:
        """Kill -9 the worker that has said that it begins with this run."""
        assert self.process is not None
        for child in psutil.Process(self.process.pid).children():
            with contextlib.suppress(psutil.Error):
                for file in child.open_files():
                    if Path(file.path).parent == self.out / "logs":
                        begun = re.findall(r"INFO (\S+): starts in", Path(file.path).read_text())
                        if begun[-1:] == [run]:
                            child.kill()
                            return
        raise AssertionError(f"no worker runs {run}:\n{self.printed}")


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    bench = Bench(tmp_path)
    yield bench
    if bench.process is not None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(bench.process.pid, signal.SIGKILL)
        bench.process.wait()


class Page(html.parser.HTMLParser):
    """Counts what a page has, and what it would fetch."""

    def __init__(self) -> None:
        super().__init__()
        self.images: list[dict[str, str | None]] = []
        self.tables = 0
        self.fetched: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        values = dict(attrs)
        self.tables += tag == "table"
        if tag == "img":
            self.images.append(values)
        links = (values.get("src"), values.get("href"))
        self.fetched += [link for link in links if link and not link.startswith("data:")]


def _rows(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def test_a_suite_is_carried_out_by_a_worker_and_reported(
    tmp_path: Path, catch_teacher: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "argv", ["/usr/bin/rrl", "bench", "run", "suite.toml"])
    suite = tmp_path / "suite.toml"
    text = (ROOT / "suites/catch_smoke.toml").read_text()
    # The teacher that never misses, and of the runs one.
    _, _, settings = text.partition("[settings]")
    suite.write_text(
        'name = "small"\nenvironment = "catch"\ngames = []\nseeds = [0, 1]\n'
        f'teacher.checkpoint = "{catch_teacher}"\n[settings]{settings}'
    )
    out = tmp_path / "out"
    # The teacher's card notes another epsilon, and not how long episodes are.
    result = run_suite(suite, out, threading.Event(), jobs=1, only="tabula_rasa/*/seed0")
    assert (result.finished, result.asked, result.failures) == (1, 1, {})
    # Finished: nothing is left to do.
    again = run_suite(suite, out, threading.Event(), jobs=1, only="tabula_rasa/*/seed0")
    assert (again.finished, again.asked) == (1, 1)
    with pytest.raises(UserError, match="teacher was evaluated with epsilon 0.0, students with"):
        bench_report(out, resamples=20)
    bench_report(out, resamples=20, mixed_protocols=True)
    summary = json.loads((out / "report/summary.json").read_text())
    assert list(summary["iqm"]) == ["tabula_rasa"]
    assert len(summary["missing_runs"]) == 3
    # The worker was started by this command, and the page says so.
    (made,) = summary["sessions"]
    assert (made["command"], made["runs"]) == ("rrl bench run suite.toml", 1)
    assert "<pre>rrl bench run suite.toml</pre>" in (out / "report/index.html").read_text()


@pytest.mark.slow
def test_a_suite_survives_a_killed_worker_and_a_stop_and_its_report_has_every_run(
    bench: Bench,
) -> None:
    run = "qdagger/catch/seed0"
    records = bench.out / "runs" / run / EVALUATIONS_FILE
    bench.start()
    bench.wait_until(records.exists)
    bench.kill_worker_at(run)
    killed = f"resumes   {run}: its worker was killed by SIGKILL"
    bench.wait_until(lambda: killed in bench.printed)
    # The next worker has taken it up; Ctrl-C reaches the whole group.
    bench.wait_until(lambda: bench.printed.count(f"starts    {run}") == 2)
    process = bench.process
    assert process is not None
    os.killpg(process.pid, signal.SIGINT)
    assert process.wait(PATIENCE_SECONDS) == 0, bench.printed
    assert "the same command resumes" in bench.printed

    assert bench.start().wait(PATIENCE_SECONDS) == 0, bench.printed
    assert "5 of 5 runs are finished" in bench.printed
    _check_runs(bench.out)
    _check_results(bench.out)

    done = subprocess.run(
        [*RRL, "report", str(bench.out), "--resamples", "200"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    assert "QDagger" in done.stdout
    _check_report(bench.out)


def _check_runs(out: Path) -> None:
    card = load_teacher_directory(out / "teachers/catch").card
    assert card.score is not None
    # The suite's own protocol, in the last evaluation of the teacher's run.
    assert (card.score.episodes, card.score.epsilon) == (40, 0.001)
    assert card.score.mean_return > -0.6
    for run in out.glob("runs/*/*/*"):
        assert (run / "config.json").is_file()
        # What a finished run does not need any more is gone, what an export needs is there.
        assert not list(run.glob("**/replay"))
        assert list(run.glob("checkpoints/*/state"))


def _check_results(out: Path) -> None:
    rows = _rows(out / "results/evaluations.csv")
    runs = {(row["entry"], row["game"], row["seed"]) for row in rows}
    assert len(runs) == 4
    for entry, game, seed in runs:
        curve = [row for row in rows if (row["entry"], row["seed"]) == (entry, seed)]
        frames = [int(row["frames"]) for row in curve]
        # Updates begin at 200 decisions and take 4 each, evaluated every 50 of 200; Catch has one
        # frame per decision: 200 + 4 x 50 = 400, and so on.
        assert sorted(set(frames)) == [0, 400, 600, 800, 1000], (entry, game, seed)
        assert [row["final"] for row in curve] == ["False"] * (len(curve) - 1) + ["True"]
    (reference,) = _rows(out / "results/references.csv")
    assert float(reference["random_return"]) == -0.6
    # The teacher's budget: 200 + 4 x 950 decisions, and what was played beyond by the last update.
    assert int(reference["teacher_frames"]) >= 4_000


def _check_report(out: Path) -> None:
    report = out / "report"
    summary = json.loads((report / "summary.json").read_text())
    assert set(summary["iqm"]) == {"qdagger", "tabula_rasa"}
    for found in summary["iqm"].values():
        assert found["low"] <= found["point"] <= found["high"]
    assert summary["missing_runs"] == []
    assert summary["entries"]["qdagger"] == {
        "label": "QDagger",
        "games": 1,
        "seeds": 2,
        "episodes": 20,
        "final_episodes": 40,
        "epsilon": 0.001,
        "frames": 1_000,
    }
    page = Page()
    page.feed((report / "index.html").read_text())
    assert len(page.images) == 5
    assert all(image["alt"] for image in page.images)
    assert page.tables == 3
    assert page.fetched == []
    for picture in report.glob("*.png"):
        assert picture.read_bytes().startswith(b"\x89PNG")

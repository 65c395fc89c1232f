"""`rrl bench report`: aggregates a suite's scores."""

from __future__ import annotations

from pathlib import Path

from tyro.conf import Positional

from services.cli.terminal import print_rows
from services.shared.errors import UserError


def bench_report(
    folder: Positional[Path],
    *,
    out: Path | None = None,
    resamples: int = 2_000,
    mixed_protocols: bool = False,
) -> None:
    """Aggregate a suite's scores: figures, CSV tables, summary.json and one HTML page.

    Reports interquartile means of teacher-normalised scores with 95% stratified bootstrap
    intervals, performance profiles, the probability of improvement over the teacher (rliable), and
    each game's curves. The report of an unfinished suite covers its finished runs and lists what is
    missing.

    Args:
        folder: The --out folder of `rrl bench run`; its suite.toml and results/ are enough.
        out: Folder for the report; FOLDER/report by default.
        resamples: Number of bootstrap resamples for each interval.
        mixed_protocols: Accept a teacher score measured under a different protocol from the
            students'; every figure then carries a note about it.

    Raises:
        UserError: it is not a suite's folder, no run is finished, or the scores are not comparable.
    """
    # Imported here, since --help does not need it.
    from services.bench.collecting import collect
    from services.bench.folder import BenchFolder
    from services.bench.plan import plan_suite
    from services.bench.report.writing import write_report
    from services.bench.results import read_results, write_results
    from services.bench.suite import read_suite
    from services.run_report.html_page import PAGE_FILE

    place = BenchFolder(folder.absolute())
    if not place.suite.is_file():
        raise UserError(f"{folder} is not a suite's folder: it has no {place.suite.name}")
    suite, _ = read_suite(place.suite)
    if place.runs.is_dir():
        # Without the runs, the report uses the scores stored in results/.
        write_results(place.results, collect(plan_suite(suite, place)))
    target = place.report if out is None else out
    summary = write_report(
        suite,
        read_results(place.results),
        target,
        resamples=resamples,
        mixed_protocols=mixed_protocols,
    )
    print("IQM of teacher-normalised scores (0 = random, 1 = teacher), 95% interval")
    rows = []
    for name, found in summary["iqm"].items():
        low_high = f"({found['low']:.3f} to {found['high']:.3f})"
        interval = low_high if summary["entries"][name]["seeds"] > 1 else "(one run of each game)"
        rows.append([f"  {suite.label_of(name)}", f"{found['point']:6.3f}", interval])
    print_rows(rows)
    for one in summary.get("episode_metrics", ()):
        teacher = "" if one["teacher"] is None else f", teacher {one['teacher']:.3f}"
        print(
            f"{suite.label_of(one['entry'])}, {one['game']}: {one['metric']} {one['mean']:.3f} "
            f"({one['low']:.3f} to {one['high']:.3f}){teacher}"
        )
    for remark in summary["remarks"]:
        print(f"note: {remark}")
    print(f"report: {target / PAGE_FILE}")

"""`rrl bench run`: every run of a suite, several at a time, on this machine."""

from __future__ import annotations

import logging
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from tyro.conf import Positional

from services.cli.shutdown import install_shutdown_event
from services.shared.errors import UserError

if TYPE_CHECKING:
    from services.bench.session import SessionResult


def bench_run(
    suite: Positional[Path], *, out: Path, jobs: int | None = None, only: str = "*"
) -> None:
    """Execute every run of a suite: each entry (a method and its settings) on each game and seed.

    Run the same command again to resume after a stop or a crash: finished runs are skipped, failed
    ones retried. A run that fails does not stop the others. On Ctrl-C every run saves a checkpoint,
    then the command ends.

    Args:
        suite: The suite's file, e.g. suites/catch_smoke.toml.
        out: Folder for the suite's runs and results.
        jobs: Runs at a time; by default one per CPU core. Each run computes on one CPU thread, or
            on the GPU if there is one; set JAX_PLATFORMS=cpu to keep runs off the GPU.
        only: Execute only the runs whose name, ENTRY/GAME/seedN, matches this shell pattern, e.g.
            'qdagger/*'.

    Raises:
        UserError: The suite file is invalid, the folder belongs to another suite, or a run failed.
    """
    # Imported here, since --help does not need it.
    from services.bench.session import run_suite

    logging.basicConfig(format="%(message)s", stream=sys.stdout)
    logging.getLogger("services").setLevel(logging.INFO)
    stop = install_shutdown_event()
    result = run_suite(suite, out, stop, jobs=jobs, only=only)
    print(f"{result.finished} of {result.asked} runs are finished", flush=True)
    if stop.is_set():
        print(f"stopped; the same command resumes {out}", flush=True)
    if result.failures:
        raise UserError(_failures(result, out))
    if not stop.is_set():
        print(f"raw scores: {out / 'results'}; see them with: rrl bench report {out}")


def _failures(result: SessionResult, out: Path) -> str:
    """What failed and why."""
    lines = [f"{len(result.failures)} failed; the same command retries"]
    lines += [f"  {name}: {error}" for name, error in result.failures.items()]
    return "\n".join([*lines, f"what the workers printed is in {out / 'logs'}"])

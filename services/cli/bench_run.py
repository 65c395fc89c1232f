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
    """Execute every run of a suite: entries x games x seeds, several at a time.

    The same command resumes where it was stopped or killed. Runs that are finished are left alone,
    and one that fails stops no other. Ctrl-C has all runs save a checkpoint and ends.

    Args:
        suite: The suite's file, e.g. suites/catch_smoke.toml.
        out: Folder of its runs and results.
        jobs: Runs at a time; by default one for each core. Each computes on one thread; on the GPU
            where there is one, JAX_PLATFORMS=cpu keeps off it.
        only: Shell pattern of the runs to do, of names like ENTRY/GAME/seed0.

    Raises:
        UserError: The suite is not in order, the folder is another's, or a run failed.
    """
    # Here and not above: --help needs none of it.
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

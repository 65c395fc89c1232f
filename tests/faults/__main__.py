"""`python -m tests.faults --faults 200 --seed 1 --run DIR`: faults on a real system, and a report.

Exits with 1 where something was seen that must not be: a clock that fell behind its checkpoint, a
number that is not finite, a damaged or half-written checkpoint that was loaded, a system that did
not come back by itself, too much memory. Ctrl-C ends after the fault under way.
"""

from __future__ import annotations

import argparse
import json
import logging
import sys
from pathlib import Path

from services.cli.shutdown import install_shutdown_event
from tests.faults.campaign import Outcome
from tests.faults.faults import Kind
from tests.faults.report import as_json, line, summary, table
from tests.faults.running import Plan, run_plan


def main() -> int:
    """Run the plan of the command line; returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m tests.faults", description=__doc__)
    parser.add_argument("--faults", type=int, default=50)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--run", type=Path, required=True, help="a new folder for everything")
    parser.add_argument("--faults-per-run", type=int, default=60)
    parser.add_argument("--patience-seconds", type=float, default=120.0)
    parser.add_argument(
        "--kinds",
        nargs="+",
        choices=[kind.name.lower() for kind in Kind],
        default=[kind.name.lower() for kind in Kind],
        help="which faults; all by default",
    )
    own = parser.parse_args()
    # The harness reads checkpoints that it has damaged itself.
    logging.disable(logging.WARNING)
    plan = Plan(
        folder=own.run.resolve(),
        faults=own.faults,
        seed=own.seed,
        faults_per_run=own.faults_per_run,
        kinds=frozenset(Kind[name.upper()] for name in own.kinds),
        patience_seconds=own.patience_seconds,
    )
    plan.folder.mkdir(parents=True, exist_ok=True)
    stop = install_shutdown_event()

    def tell(outcome: Outcome) -> None:
        print(line(outcome), flush=True)
        with (plan.folder / "faults.jsonl").open("a") as records:
            records.write(as_json(outcome) + "\n")

    results = run_plan(plan, tell, stop.is_set)
    numbers = summary(results.outcomes, results.campaigns)
    (plan.folder / "summary.json").write_text(json.dumps(numbers, indent=1))
    print(table(numbers))
    for problem in results.problems:
        print(f"! {problem}")
    print("all is well" if results.is_well else "not all is well")
    return 0 if results.is_well else 1


if __name__ == "__main__":
    sys.exit(main())

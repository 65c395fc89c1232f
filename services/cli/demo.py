"""`rrl demo`: a whole run in minutes, from the bundled Pong teacher to a report."""

from __future__ import annotations

from pathlib import Path

from services.cli.spinner import spinning
from services.cli.train import train
from services.launcher.presets import DEMO, PRESETS
from services.launcher.resolution import describe, resolve
from services.launcher.run_directory import is_finished

BASELINE = Path(__file__).parents[1] / "launcher" / "baselines" / "pong_demo_tabula_rasa.json"
"""A tabula-rasa run of the demo's budget; the file holds the command that made it."""


def demo(*, runs: Path = Path("runs")) -> None:
    """Reincarnate the bundled Pong teacher into a smaller student with QDagger.

    Starts the teacher service, replay, two actors, the learner and the evaluator, each in its own
    process, shows their progress, and writes a report. Run it again to resume a stopped demo; once
    a demo has finished, the command starts a new one.

    Args:
        runs: Folder for the demo's runs.
    """
    config = PRESETS["qdagger"][DEMO]
    run = _next_run(runs)
    with spinning("teacher and game"):
        experiment = resolve(config)
    for name, value in describe(experiment).items():
        print(f"{name:<16} {value}")
    print(flush=True)
    train(config, run, baseline=BASELINE)


def _next_run(runs: Path) -> Path:
    """The newest demo if it is not finished, else the one after."""
    number = 1
    while is_finished(runs / f"pong-demo-{number}"):
        number += 1
    return runs / f"pong-demo-{number}"

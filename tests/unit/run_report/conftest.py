from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from rrl_agents.checkpoints.sealed_json import seal
from services.learner.evaluation_records import EvaluationRecord, append_record

MakeRun = Callable[..., Path]


@pytest.fixture
def make_run(tmp_path: Path) -> MakeRun:
    """Makes the folder of a run on disk, as a run leaves it behind."""

    def make(
        name: str = "run", *, method: str = "qdagger", offline: int = 1_000, finished: bool = True
    ) -> Path:
        run = tmp_path / name
        run.mkdir()
        config = {
            "method": method,
            "environment": {"name": "atari", "game": "pong", "frames_per_step": 4},
            "teacher": {"name": "pong_dqn"},
            "teacher_return": -4.0,
            "random_return": -20.0,
            "budgets": {"actor_steps": 400},
        }
        (run / "config.json").write_text(seal(config))

        def evaluate(
            updates: tuple[int, int], steps: int, returns: tuple[float, ...], weight: float
        ) -> None:
            record = EvaluationRecord(
                player="student",
                weights_version=1,
                stage="online" if steps else "offline",
                teacher_steps=500 if offline else 0,
                offline_updates=updates[0],
                online_updates=updates[1],
                actor_steps=steps,
                weaning_weight=weight,
                episode_returns=returns,
                episode_steps=(100,) * len(returns),
                epsilon=0.001,
                seconds_since_start=60.0 + steps,
                final=finished and len(returns) == 4,
            )
            append_record(run / "metrics/evaluations.jsonl", record)

        if offline:
            evaluate((0, 0), 0, (-20.0, -21.0), 1.0)
            evaluate((offline, 0), 0, (-15.0, -13.0), 1.0)
        evaluate((offline, 50), 200, (-12.0, -10.0), 0.5)
        evaluate((offline, 100), 400, (-9.0, -7.0, -9.0, -7.0), 0.25)
        return run

    return make

"""Models that Stable-Baselines3 and PyTorch write now, in an environment of their own."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from rrl_agents.checkpoints.hints import Hints
from rrl_agents.checkpoints.import_other_agent import import_other_agent
from tests.support.other_agents import OTHER_AGENTS, check_scores, model_file

PYTHON = Path(__file__).parents[3] / ".venv-torch" / "bin" / "python"


@pytest.mark.torch
@pytest.mark.parametrize("seed", [1, 2])
def test_models_written_now_score_as_their_libraries_say(tmp_path: Path, seed: int) -> None:
    if not PYTHON.exists():
        pytest.skip("missing .venv-torch, which make test-torch makes")
    recorder = OTHER_AGENTS / "record_stable_baselines3.py"
    subprocess.run([PYTHON, recorder, "--seed", str(seed), tmp_path], check=True)
    written = sorted(folder.name for folder in tmp_path.iterdir())
    recorded = OTHER_AGENTS.glob("*/model.zip*"), OTHER_AGENTS.glob("*/model.pth*")
    names = {file.parent.name for found in recorded for file in found}
    assert {*written} == names - {"sb3_ppo_lunar_lander"}
    for name in written:
        hints = Hints(agent="dqn") if name.startswith("torch") else Hints()
        folder = tmp_path / name
        check_scores(
            import_other_agent(model_file(name, folder, source=tmp_path), hints),
            name,
            source=tmp_path,
        )

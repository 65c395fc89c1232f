from __future__ import annotations

from pathlib import Path

from services.bench.folder import drop_replay
from services.bench.workers import process_environment


def test_a_worker_computes_on_one_thread_of_the_cpu() -> None:
    variables = process_environment({"XLA_FLAGS": "--xla_dump_to=/d"}, 3, has_gpu=False)
    assert variables["XLA_FLAGS"] == (
        "--xla_dump_to=/d --xla_cpu_multi_thread_eigen=false intra_op_parallelism_threads=1"
    )
    assert variables["OMP_NUM_THREADS"] == "1"
    assert variables["JAX_PLATFORMS"] == "cpu"


def test_workers_share_a_gpu_unless_they_are_kept_off_it() -> None:
    variables = process_environment({}, 3, has_gpu=True)
    # Nine tenths of its memory among three.
    assert variables["XLA_PYTHON_CLIENT_MEM_FRACTION"] == "0.300"
    assert "JAX_PLATFORMS" not in variables
    kept = process_environment({"JAX_PLATFORMS": "cuda"}, 3, has_gpu=False)
    assert kept["JAX_PLATFORMS"] == "cuda"


def test_of_a_finished_run_the_replay_goes_and_nothing_else(tmp_path: Path) -> None:
    kept = ["checkpoints/00000002/state/params", "config.json", "metrics/evaluations.jsonl"]
    for file in (*kept, "replay/00/checkpoints/00000002/chunks.tfrecord"):
        path = tmp_path / file
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    for _ in range(2):
        drop_replay(tmp_path)
        files = (path for path in tmp_path.rglob("*") if path.is_file())
        assert sorted(path.relative_to(tmp_path).as_posix() for path in files) == kept

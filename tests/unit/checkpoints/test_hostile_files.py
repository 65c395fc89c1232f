"""Real files, damaged in every way: each reader gives an answer or a clear error, in bounds.

One example is one damaged file. The default run tries a few dozen per reader, `-m slow` thousands.
Readers that only promise to execute nothing are run behind the wall (`services/library/confined`),
which bounds their memory and time, and survives what breaks a library.
"""

from __future__ import annotations

import functools
import gzip
import pickle
import shutil
import time
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from rrl_agents.checkpoints.dopamine_replay.episode_ends import read_episode_ends
from rrl_agents.checkpoints.dopamine_replay.rows import open_dopamine_replay
from rrl_agents.checkpoints.hints import Hints
from rrl_agents.checkpoints.import_dopamine import import_dopamine_agent
from rrl_agents.checkpoints.import_other_agent import import_other_agent
from rrl_agents.checkpoints.onnx_export import export_onnx
from rrl_agents.checkpoints.onnx_policy_file import read_onnx_file
from rrl_agents.checkpoints.params_codec import params_hash, params_to_bytes
from rrl_agents.checkpoints.safe_unpickling import load_safely
from rrl_agents.checkpoints.sealed_json import seal, unseal
from rrl_agents.checkpoints.teacher_card import TeacherCard, read_card
from rrl_agents.checkpoints.teacher_directory import load_teacher_directory, save_teacher
from rrl_agents.networks.registry import NetworkConfig
from services.library.catalogue import BUNDLED_DIRECTORY
from services.library.confined import Limits, run_confined
from tests.support.dopamine_agents import SMALL, layers_of
from tests.support.other_agents import model_file, torch_file, torch_tensor

LONGEST_SECONDS = 10.0
"""Of the processor. A file of some kilobytes takes milliseconds; what hangs takes for ever."""

MOST_BYTES = 64 << 20
"""Of Python's and numpy's memory above what was there: the intact files need far less."""

LONGEST_MESSAGE = 4000

TENSORFLOW = Path(__file__).parents[2] / "fixtures/dopamine2.0.5_tf1/1/checkpoints"

# Numbers that lengths, shapes and offsets turn into when somebody means harm.
_NUMBERS = st.sampled_from(
    [0, 1, 2**7, 2**15, 2**31 - 1, 2**31, 2**32 - 1, 2**62, 2**63, 2**64 - 1]
)


@st.composite
def _steps(draw: st.DrawFn) -> Callable[[bytes], bytes]:
    # Headers lie at one end or the other: places close to them are as likely as all others.
    share = draw(st.one_of(st.floats(0, 1), st.floats(0, 0.02), st.floats(0.98, 1)))
    length = draw(st.integers(0, 64))
    kind = draw(st.sampled_from(["cut", "drop", "fill", "number", "repeat"]))
    raw = draw(st.binary(min_size=1, max_size=16))
    number = draw(_NUMBERS).to_bytes(8, draw(st.sampled_from(["little", "big"])))

    def step(content: bytes) -> bytes:
        at = int(share * len(content))
        before, after = content[:at], content[at:]
        if kind == "cut":
            return before
        if kind == "drop":
            return before + after[length:]
        if kind == "repeat":
            return before + after[:length] * 3 + after[length:]
        new = raw if kind == "fill" else number
        return before + new + after[len(new) :]

    return step


DAMAGES = st.lists(_steps(), min_size=1, max_size=3)
"""Ways to damage a file: one to three steps, each at a share of its length."""


def check_bounds(read: Callable[[], Any], is_confined: bool) -> None:
    """Read, and hold the reader to its word: an answer or a ValueError, soon, in little memory.

    Behind the wall any error will do; it ends in one line there.
    """
    tracemalloc.start()
    start = time.thread_time()
    try:
        read()
    except Exception as error:
        assert is_confined or (isinstance(error, ValueError) and str(error))
        assert len(str(error)) < LONGEST_MESSAGE
    finally:
        seconds = time.thread_time() - start
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
    assert seconds < LONGEST_SECONDS
    assert is_confined or peak < MOST_BYTES


def overwrite(path: Path, content: bytes) -> None:
    path.unlink(missing_ok=True)
    path.write_bytes(content)


# Each case: (file to damage, reader), built once in a folder of its own.
Case = tuple[Path, Callable[[], Any], Callable[[bytes], bytes], bytes]


def same(content: bytes) -> bytes:
    return content


def jax_case(folder: Path) -> Case:
    bundle = {"training_steps": 3, "online_params": {"params": layers_of(SMALL)}, "state": None}
    file = folder / "ckpt.3"
    return file, lambda: import_dopamine_agent(file), same, pickle.dumps(bundle, protocol=4)


def small_pickle_case(folder: Path) -> Case:
    """So small that damage hits what a pickle says, and not only the numbers in it."""
    value = {"a": np.arange(4, dtype="f4"), "b": [(1, 2.0), "x", {np.int64(3)}]}
    file = folder / "ckpt.0"
    return file, lambda: load_safely(file.read_bytes()), same, pickle.dumps(value, protocol=4)


def tensorflow_case(folder: Path, ending: str) -> Case:
    for file in TENSORFLOW.glob("tf_ckpt-199.*"):
        shutil.copyfile(file, folder / file.name)
    (damaged,) = folder.glob(f"tf_ckpt-199.{ending}*")
    return damaged, lambda: import_dopamine_agent(folder), same, damaged.read_bytes()


def card_case(folder: Path) -> Case:
    content = (BUNDLED_DIRECTORY / "pong_dqn/card.json").read_bytes()
    card = unseal(content.decode())
    card["parents"] = [{"relations": ["teacher"], "card": unseal(content.decode())}]
    file = folder / "card.json"
    return file, lambda: read_card(file), same, seal(card).encode()


def small_teacher(folder: Path) -> None:
    params = layers_of({"Dense_0": (6, 2)})
    save_teacher(
        folder,
        {"params": params},
        TeacherCard(
            name="small",
            game="none",
            network=NetworkConfig(name="mlp", features=()),
            num_actions=2,
            observation_shape=(2, 3),
            made="by hand",
            parameters_sha256=params_hash(params_to_bytes({"params": params})),
        ),
    )


def params_case(folder: Path) -> Case:
    small_teacher(folder)
    file, card = folder / "params.safetensors", folder / "card.json"
    content, text = file.read_bytes(), card.read_text()
    right = params_hash(content)

    def read() -> Any:
        # A card that vouches for the damaged file: the hash is not a defence then.
        overwrite(card, text.replace(right, params_hash(file.read_bytes())).encode())
        return load_teacher_directory(folder)

    return file, read, same, content


def onnx_case(folder: Path) -> Case:
    small_teacher(folder)
    teacher = load_teacher_directory(folder)
    assert teacher.card.network is not None
    content = export_onnx(teacher.card.network, teacher.params, teacher.card.spec)
    file = folder / "small.onnx"
    return file, lambda: read_onnx_file(file, Hints()), same, content


def model_case(folder: Path, name: str) -> Case:
    """A model of another library."""
    model = model_file(name, folder)
    damaged = folder / f"damaged{model.suffix}"
    return damaged, lambda: import_other_agent(damaged, Hints()), same, model.read_bytes()


def small_model_case(folder: Path) -> Case:
    """So small that damage hits what its pickle says."""
    weights = {"only.weight": torch_tensor((2, 3)), "only.bias": torch_tensor((2,), key="1")}
    storages = {"0": np.arange(6, dtype="f4"), "1": np.arange(2, dtype="f4")}
    file = folder / "model.pth"
    said = Hints(output="q_values")
    return file, lambda: import_other_agent(file, said), same, torch_file(weights, storages)


def ends_case(folder: Path) -> Case:
    content = pickle.dumps({np.int64(n) for n in range(5)}, protocol=4)
    file = folder / "episode_end_indices_ckpt.0.gz"
    return file, lambda: read_episode_ends(file, 20), gzip.compress, content


def replay_case(folder: Path, column: str, *, packed: bool) -> Case:
    rows = 40
    columns = {
        "$store$_observation": np.zeros((rows, 4, 4), np.uint8),
        "$store$_action": np.zeros(rows, np.int32),
        "$store$_reward": np.zeros(rows, np.float32),
        "$store$_terminal": (np.arange(rows) % 10 == 9).astype(np.uint8),
        "add_count": np.array(55),
        # 55 rows into 40: the next goes to row 15. One step before it, four frames behind.
        "invalid_range": np.arange(14, 19),
    }
    for name, array in columns.items():
        with gzip.open(folder / f"{name}_ckpt.0.gz", "wb") as file:
            np.save(file, array, allow_pickle=False)
    damaged = folder / f"{column}_ckpt.0.gz"
    content = damaged.read_bytes()

    def read() -> int:
        replay = open_dopamine_replay(folder)
        return sum(map(len, replay.chunks(0, 16)))

    assert read() == rows
    if packed:
        return damaged, read, same, content
    return damaged, read, gzip.compress, gzip.decompress(content)


CASES: dict[str, Callable[[Path], Case]] = {
    "jax pickle": jax_case,
    "small pickle": small_pickle_case,
    "tensorflow index": lambda folder: tensorflow_case(folder, "index"),
    "tensorflow data": lambda folder: tensorflow_case(folder, "data"),
    "card": card_case,
    "parameters": params_case,
    "onnx": onnx_case,
    "ends of episodes": ends_case,
    "stable-baselines3": lambda folder: model_case(folder, "sb3_dqn_cart_pole"),
    "cleanrl jax": lambda folder: model_case(folder, "cleanrl_dqn_jax_cart_pole"),
    "pytorch": small_model_case,
    **{
        f"replay {column}{' packed' if packed else ''}": (
            lambda folder, column=column, packed=packed: replay_case(folder, column, packed=packed)
        )
        for column in ("$store$_observation", "$store$_terminal", "add_count", "invalid_range")
        for packed in (False, True)
    },
}


CONFINED = {
    "onnx",
    "ends of episodes",
    "jax pickle",
    "tensorflow index",
    "tensorflow data",
    "small pickle",
    "stable-baselines3",
    "cleanrl jax",
    "pytorch",
}
"""Of these, the wall bounds memory and time."""

FUZZED = Limits(memory_bytes=2 << 30, cpu_seconds=3600, wall_seconds=3600)


def run(name: str, folder: str, examples: int) -> None:
    file, read, pack, content = CASES[name](Path(folder))
    overwrite(file, pack(content))
    read()

    @settings(
        max_examples=examples,
        deadline=None,
        suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
    )
    @given(steps=DAMAGES)
    def damaged(steps: list[Callable[[bytes], bytes]]) -> None:
        damage = functools.reduce(lambda before, step: step(before), steps, content)
        overwrite(file, pack(damage))
        check_bounds(read, name in CONFINED)

    damaged()


@pytest.mark.parametrize("examples", [25, pytest.param(2000, marks=pytest.mark.slow)])
@pytest.mark.parametrize("name", sorted(CASES))
def test_a_damaged_file_is_read_or_refused_in_bounds(
    name: str, examples: int, tmp_path: Path
) -> None:
    if name in CONFINED:
        arguments = {"name": name, "folder": tmp_path, "examples": examples}
        run_confined(f"{__name__}:run", arguments, limits=FUZZED)
    else:
        run(name, str(tmp_path), examples)

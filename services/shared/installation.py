"""Advice on how to install packages that a command lacks.

This project is not on a package index, and pip alone cannot resolve the training side, so all
advice starts from a checkout of the repository.
"""

from __future__ import annotations

from typing import Literal, TypeAlias

Side: TypeAlias = Literal["teacher", "train", "track"]
"""The extra of pyproject.toml that has the packages."""

ADVICE: dict[Side, str] = {
    "teacher": "run `pip install '.[teacher]'` in a checkout of the repository",
    "train": (
        "run `make setup` in a checkout of the repository and use its .venv/bin/rrl, or start the "
        "images there with `docker compose up -d --build --wait`"
    ),
    "track": (
        "run `.venv/bin/pip install -r locks/tracking.lock` in a checkout of the repository, after "
        "`make setup`"
    ),
}

_SIDES: dict[str, Side] = {
    **dict.fromkeys(
        (
            *("absl", "flax", "google", "google_crc32c", "grpc"),
            *("grpc_health", "grpc_reflection", "jax", "numpy", "onnx", "onnxruntime"),
            *("markdown_it", "optax", "orbax", "prometheus_client", "requests", "rich"),
            *("safetensors", "scipy", "tyro"),
            *("urllib3", "uvloop", "waitress"),
        ),
        "teacher",
    ),
    **dict.fromkeys(
        (
            *("ale_py", "balloon_learning_environment", "chex", "cycler", "gin", "gym"),
            *("gymnasium", "h5py", "launchpad", "matplotlib", "minatar", "pandas"),
            *("PIL", "portpicker", "reverb", "rliable", "tensorboard", "tensorflow"),
            *("tensorflow_probability", "threadpoolctl"),
            *("cv2", "huggingface_hub", "minari"),
        ),
        "train",
    ),
    **dict.fromkeys(("mlflow", "trackio", "wandb"), "track"),
}
"""The packages that this project imports, by the smallest extra that contains them."""


def advice_for(module: str, extra: Side) -> str | None:
    """Advice for a module that cannot be found.

    Args:
        module: Its name, possibly dotted.
        extra: Which packages the command needs.

    Returns:
        The advice; None if the setup of this project does not contain the module.
    """
    side = _SIDES.get(module.partition(".")[0])
    if side is None:
        return None
    return ADVICE[extra if side == "teacher" else side]

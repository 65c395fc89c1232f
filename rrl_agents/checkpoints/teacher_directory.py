"""A teacher's directory, verified on reading: `card.json`, `params.safetensors` or `policy.onnx`.

README.md shows the card to people; no code reads it. The card is written last, so a directory with
a card is complete.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from rrl_agents.checkpoints.bounded_files import read_bounded
from rrl_agents.checkpoints.card_markdown import card_markdown
from rrl_agents.checkpoints.params_codec import (
    MAX_PARAMS_BYTES,
    flatten_params,
    params_from_bytes,
    params_hash,
    params_to_bytes,
)
from rrl_agents.checkpoints.teacher_card import (
    CARD_FILE,
    MAX_CARD_BYTES,
    ONNX_POLICY_FILE,
    PARAMS_FILE,
    POLICY_FILES,
    README_FILE,
    Teacher,
    TeacherCard,
    read_card,
)
from rrl_agents.durable_files import write_whole
from rrl_agents.networks.config import NetworkConfig
from rrl_agents.types import Params


def save_teacher(path: Path, params: Params, card: TeacherCard) -> None:
    """Write the directory of one of our networks; nothing that exists is overwritten.

    Args:
        path: Directory to write into, created if missing.
        params: Tree of float32 arrays.
        card: Its card; hash and shapes must fit the parameters.

    Raises:
        ValueError: When the directory already holds a teacher, or card and parameters disagree.
        OSError: When writing fails.
    """
    check_params(params, card)
    _save(path, PARAMS_FILE, params_to_bytes(params), card)


def save_onnx_policy(path: Path, encoded: bytes, card: TeacherCard) -> None:
    """Write the directory of an ONNX model; nothing that exists is overwritten.

    Args:
        path: Directory to write into, created if missing.
        encoded: The checked model.
        card: Its card, without a network.

    Raises:
        ValueError: When the directory already holds a teacher, or the card belongs to another
            model.
        OSError: When writing fails.
    """
    _save(path, ONNX_POLICY_FILE, encoded, card)


def _save(path: Path, file: str, content: bytes, card: TeacherCard) -> None:
    check_hash(content, card, str(path))
    text = card.to_json().encode()
    if len(text) > MAX_CARD_BYTES:
        raise ValueError(
            f"the card of {card.name!r} with all its parents has {len(text)} bytes, and would not "
            f"be read again: at most {MAX_CARD_BYTES}; leave out the `returns` of old scores"
        )
    path.mkdir(parents=True, exist_ok=True)
    for name in (*POLICY_FILES, README_FILE, CARD_FILE):
        if (path / name).exists():
            raise ValueError(f"{path} already holds {name}; choose another directory")
    write_whole(path / file, content)
    write_whole(path / README_FILE, card_markdown(card))
    write_whole(path / CARD_FILE, text)


def load_teacher_directory(path: Path) -> Teacher:
    """Read the directory of one of our networks, verifying hash, sizes and shapes.

    Args:
        path: Directory with `params.safetensors` and `card.json`.

    Returns:
        The teacher, parameters as float32 numpy arrays.

    Raises:
        ValueError: When a file is missing, too large or damaged, or the two disagree.
    """
    card = read_card(path / CARD_FILE)
    _network_of(card)
    encoded = read_bounded(path / PARAMS_FILE, MAX_PARAMS_BYTES, what="a teacher's parameters")
    check_hash(encoded, card, str(path))
    try:
        params = params_from_bytes(encoded)
    except ValueError as error:
        raise ValueError(f"{path / PARAMS_FILE}: {error}") from error
    check_params(params, card)
    return Teacher(params=params, card=card)


def check_params(params: Params, card: TeacherCard) -> None:
    """Check a tree of parameters against the card's network.

    Args:
        params: Tree of float32 arrays.
        card: The card.

    Raises:
        ValueError: When a leaf is missing, superfluous, misshapen or not finite; the message names
            it. Or when the card has no network.
    """
    network = _network_of(card)
    found = flatten_params(params)
    shapes, wanted = {name: found[name].shape for name in found}, _expected_shapes(network, card)
    unlike = sorted(name for name in shapes | wanted if shapes.get(name) != wanted.get(name))
    if unlike:
        differences = ", ".join(f"{n} has {shapes.get(n)}, needs {wanted.get(n)}" for n in unlike)
        raise ValueError(f"shapes of {card.name!r} do not fit {network.name}: {differences}")
    for name, leaf in found.items():
        if not np.isfinite(leaf).all():
            raise ValueError(f"parameter {name} of {card.name!r} holds numbers that are not finite")


def _network_of(card: TeacherCard) -> NetworkConfig:
    if card.network is None:
        raise ValueError(
            f"{card.name!r} is computed by something that is not a network of ours, so it has no "
            "parameters that could be loaded or trained on"
        )
    return card.network


def _expected_shapes(config: NetworkConfig, card: TeacherCard) -> dict[str, tuple[int, ...]]:
    """Flat name -> shape."""
    # Imported here: other teachers need neither JAX nor flax.
    from flax.traverse_util import flatten_dict

    from rrl_agents.networks.registry import make_network
    from rrl_agents.networks.size import check_size

    tree = check_size(make_network(config, card.num_actions), card.observation_shape)["params"]
    leaves: dict[str, Any] = flatten_dict(tree, sep="/")  # type: ignore[no-untyped-call]
    return {name: leaf.shape for name, leaf in leaves.items()}


def check_hash(encoded: bytes, card: TeacherCard, where: str) -> None:
    """Check a file's hash against its card.

    Args:
        encoded: Its content: parameters, or an ONNX model.
        card: The card beside it.
        where: The directory, for the message.

    Raises:
        ValueError: They do not match.
    """
    found = params_hash(encoded)
    if found != card.parameters_sha256:
        raise ValueError(
            f"{where}: parameters have SHA-256 {found}, the card says {card.parameters_sha256}; "
            "copy the teacher again from its source"
        )

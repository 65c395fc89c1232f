"""A teacher on disk: a directory with `params.safetensors` and `card.json`, checked on reading.

README.md says the same as the card, for people; nothing reads it. The card is written last, so a
directory with a card is whole.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import jax
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
from rrl_agents.checkpoints.teacher_card import Teacher, TeacherCard
from rrl_agents.durable_files import write_whole
from rrl_agents.networks.registry import NetworkConfig, make_network
from rrl_agents.networks.size import check_size
from rrl_agents.types import Params

PARAMS_FILE = "params.safetensors"
CARD_FILE = "card.json"
README_FILE = "README.md"
MAX_CARD_BYTES = 1 << 20
"""Bound of a card's size; real ones have about 2 kB."""


def save_teacher(path: Path, params: Params, card: TeacherCard) -> None:
    """Write a teacher's directory; nothing that exists is overwritten.

    Args:
        path: Directory to write into, made if missing.
        params: Tree of float32 arrays.
        card: Its card; hash and shapes must fit the parameters.

    Raises:
        ValueError: When the directory holds a teacher already, or card and parameters disagree.
        OSError: When the disk refuses.
    """
    encoded = params_to_bytes(params)
    _check_hash(encoded, card, str(path))
    check_params(params, card)
    text = card.to_json().encode()
    if len(text) > MAX_CARD_BYTES:
        raise ValueError(
            f"the card of {card.name!r} with all its parents has {len(text)} bytes, and would not "
            f"be read again: at most {MAX_CARD_BYTES}; leave out the `returns` of old scores"
        )
    path.mkdir(parents=True, exist_ok=True)
    _refuse_existing(path)
    write_whole(path / PARAMS_FILE, encoded)
    write_whole(path / README_FILE, card_markdown(card))
    write_whole(path / CARD_FILE, text)


def load_teacher_directory(path: Path) -> Teacher:
    """Read a teacher's directory and verify hash, sizes and shapes against its card.

    Args:
        path: Directory with `params.safetensors` and `card.json`.

    Returns:
        The teacher, parameters as float32 numpy arrays.

    Raises:
        ValueError: When a file is missing, too large or damaged, or the two disagree.
    """
    card = read_card(path / CARD_FILE)
    encoded = read_bounded(path / PARAMS_FILE, MAX_PARAMS_BYTES, what="a teacher's parameters")
    _check_hash(encoded, card, str(path))
    params = params_from_bytes(encoded)
    check_params(params, card)
    return Teacher(params=params, card=card)


def read_card(path: Path) -> TeacherCard:
    """Read a card by itself; whether the parameters fit it is not looked at.

    Args:
        path: The `card.json`.

    Returns:
        The card.

    Raises:
        ValueError: When it cannot be read, is too large, or is no card; the message has the path.
    """
    try:
        return TeacherCard.from_json(
            read_bounded(path, MAX_CARD_BYTES, what="a teacher's card").decode()
        )
    except ValueError as error:
        message = str(error)
        raise ValueError(message if str(path) in message else f"{path}: {message}") from error


def check_params(params: Params, card: TeacherCard) -> None:
    """Compare a tree of parameters with what the card's network needs.

    Args:
        params: Tree of float32 arrays.
        card: The card.

    Raises:
        ValueError: When a leaf is missing, superfluous or misshapen, or holds a number that is not
            finite; the message names it. Or when the card has no network that could hold them.
    """
    network = _network_of(card)
    found = flatten_params(params)
    wanted = _expected_shapes(network, card)
    if found.keys() != wanted.keys():
        raise ValueError(
            f"parameters of {card.name!r} do not fit {network.name}: missing "
            f"{sorted(wanted.keys() - found.keys())}, superfluous "
            f"{sorted(found.keys() - wanted.keys())}"
        )
    for name, leaf in found.items():
        if leaf.shape != wanted[name]:
            raise ValueError(
                f"parameter {name} of {card.name!r} has shape {leaf.shape}, the card's network "
                f"needs {wanted[name]}"
            )
        if not np.isfinite(leaf).all():
            raise ValueError(f"parameter {name} of {card.name!r} holds numbers that are not finite")


def _network_of(card: TeacherCard) -> NetworkConfig:
    if card.network is None:
        raise ValueError(
            f"{card.name!r} is computed by something that is no network of ours, and has no "
            "parameters to keep in a teacher's directory; give its ONNX file or its entry point "
            "instead"
        )
    return card.network


def _expected_shapes(config: NetworkConfig, card: TeacherCard) -> dict[str, tuple[int, ...]]:
    """Flat name -> shape, found by abstract evaluation: nothing is computed or allocated."""
    network = make_network(config, card.num_actions)
    check_size(network, card.observation_shape)
    # A broadcast zero: the right shape and type without the memory.
    observation = np.broadcast_to(
        np.zeros((), card.observation_dtype), (1, *card.observation_shape)
    )
    tree: Any = jax.eval_shape(network.init, jax.random.key(0), observation)["params"]
    leaves, _ = jax.tree_util.tree_flatten_with_path(tree)
    return {"/".join(step.key for step in path): leaf.shape for path, leaf in leaves}


def _check_hash(encoded: bytes, card: TeacherCard, where: str) -> None:
    found = params_hash(encoded)
    if found != card.parameters_sha256:
        raise ValueError(
            f"{where}: parameters have SHA-256 {found}, the card says {card.parameters_sha256}; "
            "copy the teacher again from its source"
        )


def _refuse_existing(path: Path) -> None:
    for name in (PARAMS_FILE, README_FILE, CARD_FILE):
        if (path / name).exists():
            raise ValueError(f"{path} already holds {name}; choose another directory")

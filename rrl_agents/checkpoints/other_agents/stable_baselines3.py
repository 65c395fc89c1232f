"""Reads models of Stable-Baselines3 and sb3-contrib (`model.save`): DQN, QR-DQN, PPO and A2C.

The file is a zip archive. `policy.pth` is the policy's `state_dict`, `data` a JSON object with the
settings. Settings that JSON cannot hold are pickles, which are never read, with their attributes as
text beside them. That text has what is needed: the spaces, and the policy's arguments. Optimisers
and other members are ignored.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any, Literal

from rrl_agents.checkpoints.other_agents.agent import OtherAgent
from rrl_agents.checkpoints.other_agents.layers import (
    Activation,
    LastLayer,
    Layer,
    chained,
    shown,
    torch_layers,
)
from rrl_agents.checkpoints.torch_files import read_torch_file
from rrl_agents.checkpoints.zip_members import ZipMembers

MAX_SETTINGS_BYTES = 64 << 20
"""Bound of `data`, which typically has some ten kilobytes and the last observations."""

MAX_WEIGHTS_BYTES = 1 << 30
"""Bound of `policy.pth`; a Nature CNN and its target have 14 MB."""

_SETTINGS, _WEIGHTS, _VERSION = "data", "policy.pth", "_stable_baselines3_version"
_DEFAULT_QUANTILES = 200
_CLASS = re.compile(r"<class '(?:[\w.]+\.)?(\w+)'>")

# Prefixes of a policy's parts, in the order of the computation.
_PARTS: Mapping[str, tuple[str, ...]] = {
    "DQN": ("q_net.features_extractor.", "q_net.q_net."),
    "QR-DQN": ("quantile_net.features_extractor.", "quantile_net.quantile_net."),
    "PPO": (
        "pi_features_extractor.",
        "mlp_extractor.shared_net.",
        "mlp_extractor.policy_net.",
        "action_net.",
    ),
}
_KNOWN_EXTRACTORS = ("NatureCNN", "FlattenExtractor")
_ACTIVATIONS: Mapping[str, Activation] = {"ReLU": "relu", "Tanh": "tanh"}


def is_stable_baselines3(archive: ZipMembers) -> bool:
    """Whether Stable-Baselines3 wrote this archive."""
    return {_SETTINGS, _WEIGHTS} <= archive.names


def read_stable_baselines3(archive: ZipMembers) -> OtherAgent:
    """Read a model.

    Args:
        archive: Its archive, nothing of which is trusted.

    Raises:
        ValueError: It is damaged, unsafe or unsupported; says why.
        Exception: It is damaged; of nearly any class.
    """
    settings = json.loads(archive.read(_SETTINGS, MAX_SETTINGS_BYTES))
    if not isinstance(settings, dict):
        raise ValueError(f"{_SETTINGS!r} holds no settings of a model")
    leaves = read_torch_file(archive.read(_WEIGHTS, MAX_WEIGHTS_BYTES))
    if not isinstance(leaves, dict) or not all(isinstance(name, str) for name in leaves):
        raise ValueError(f"{_WEIGHTS!r} holds no weights by name")
    algorithm, layers = _policy(leaves)
    policy = _text(settings.get("policy_kwargs"))
    _check_plain(policy)
    _check_discrete(_text(settings.get("action_space")))
    space = _text(settings.get("observation_space"))
    shape, dtype = _observed(space, layers)
    if len(shape) == 1 and dtype == "uint8":
        # SB3 divides pixels of images by 255, but not bytes of vectors.
        layers[0] = layers[0]._replace(kernel=layers[0].kernel * 255)
    network = chained(
        layers,
        _last_layer(algorithm, layers[-1], policy),
        has_channels_first=True,
        activation=_activation(policy, algorithm),
        observation_shape=shape,
    )
    if algorithm == "PPO" and "clip_range" not in settings:
        algorithm = "A2C"
    return OtherAgent(
        network=network,
        observation_dtype=dtype,
        output="logits" if algorithm in ("PPO", "A2C") else "q_values",
        algorithm=algorithm,
        library=_library(archive),
        steps=_steps(settings.get("num_timesteps")),
    )


def _policy(leaves: Mapping[str, Any]) -> tuple[str, list[Layer]]:
    """The policy's algorithm, and the acting layers."""
    # Before 1.7, actor and critic always shared the extractor; since then both names can occur.
    extractor = "features_extractor."
    if not any(name.startswith("pi_features_extractor.") for name in leaves):
        leaves = {
            f"pi_{name}" if name.startswith(extractor) else name: leaf
            for name, leaf in leaves.items()
        }
    for algorithm, parts in _PARTS.items():
        own = {name: leaves[name] for part in parts for name in leaves if name.startswith(part)}
        if any(name.startswith(parts[-1]) for name in own) and "log_std" not in leaves:
            return algorithm, torch_layers(own)
    raise ValueError(
        f"it is not a policy with discrete actions of DQN, QR-DQN, PPO or A2C; its weights begin "
        f"with {[name[:60] for name in list(leaves)[:5]]}"
    )


def _text(value: Any) -> dict[str, Any]:
    """An entry of the settings: plain JSON, or the text beside a pickle."""
    found = value if isinstance(value, dict) else {}
    return {name: part for name, part in found.items() if name != ":serialized:"}


def _class(value: Any) -> str:
    """Name of a class in Python's representation; empty for other text."""
    match = _CLASS.search(value) if isinstance(value, str) else None
    return match[1] if match else ""


def _check_plain(policy: Mapping[str, Any]) -> None:
    """Refuse a policy that computes more than its layers."""
    extractor = policy.get("features_extractor_class")
    if extractor is not None and _class(extractor) not in _KNOWN_EXTRACTORS:
        raise ValueError(
            f"its features come from {str(extractor)[:80]}; {' and '.join(_KNOWN_EXTRACTORS)} are "
            "read. Export the policy's network to ONNX, or give a Python policy that loads it"
        )
    if str(policy.get("normalize_images", True)) != "True":
        raise ValueError(
            "it takes images as they are (normalize_images=False); ours are divided by 255"
        )


def _check_discrete(space: Mapping[str, Any]) -> None:
    kind = _class(space.get(":type:"))
    if kind != "Discrete" or str(space.get("start", "0")) != "0":
        raise ValueError(
            f"its actions are {kind or 'of an unknown space'}, beginning with "
            f"{str(space.get('start', 0))[:20]}; teachers have discrete actions from 0 on"
        )


def _observed(
    space: Mapping[str, Any], layers: list[Layer]
) -> tuple[tuple[int, ...], Literal["uint8", "float32"]]:
    """Shape and type of one observation; images have their channels last."""
    kind = _class(space.get(":type:"))
    if kind == "Discrete":  # One-hot.
        return layers[0].kernel.shape[:1], "float32"
    if kind != "Box":
        raise ValueError(
            f"its observations are {kind or 'of an unknown space'}; teachers observe one array "
            "(Box) or one number (Discrete)"
        )
    shape = tuple(int(size) for size in re.findall(r"\d{1,9}", str(space.get("_shape", ""))))
    is_image = layers[0].kernel.ndim == 4
    if len(shape) != (3 if is_image else 1):
        raise ValueError(
            f"its observations have shape {str(space.get('_shape'))[:40]}, and its layers are "
            f"{shown(layers)}; images [C, H, W] before convolutions and vectors are read"
        )
    dtype: Literal["uint8", "float32"] = "uint8" if space.get("dtype") == "uint8" else "float32"
    if not is_image:
        return shape, dtype
    if dtype != "uint8":
        raise ValueError("its images are not bytes (uint8)")
    return (*shape[1:], shape[0]), dtype


def _last_layer(algorithm: str, layer: Layer, policy: Mapping[str, Any]) -> LastLayer:
    outputs = layer.kernel.shape[-1]
    if algorithm != "QR-DQN":
        return LastLayer(num_actions=outputs)
    quantiles = str(policy.get("n_quantiles", _DEFAULT_QUANTILES))
    if not quantiles.isdecimal() or not 1 <= int(quantiles[:9]) <= outputs:
        raise ValueError(f"it has {quantiles[:20]} quantiles per action and {outputs} outputs")
    atoms = int(quantiles[:9])
    return LastLayer(
        num_actions=outputs // atoms, head="quantile", num_atoms=atoms, has_actions_last=True
    )


def _activation(policy: Mapping[str, Any], algorithm: str) -> Activation:
    default = "Tanh" if algorithm == "PPO" else "ReLU"
    name = _class(policy["activation_fn"]) if "activation_fn" in policy else default
    if name not in _ACTIVATIONS:
        raise ValueError(
            f"its activation is {str(policy.get('activation_fn'))[:80]}; "
            f"{' and '.join(_ACTIVATIONS)} are read"
        )
    return _ACTIVATIONS[name]


def _library(archive: ZipMembers) -> str:
    stored = (
        archive.read(_VERSION, 100).decode(errors="replace") if _VERSION in archive.names else ""
    )
    version = re.match(r"[0-9][0-9A-Za-z.+-]{0,30}", stored.strip())
    return f"Stable-Baselines3 {version[0]}" if version else "Stable-Baselines3"


def _steps(stored: Any) -> int | None:
    return stored if type(stored) is int and 0 < stored < 10**15 else None

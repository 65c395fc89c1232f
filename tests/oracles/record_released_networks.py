"""Record the initial weights of the released code's own networks, per layer.

    python tests/oracles/record_released_networks.py CHECKOUT > tests/oracles/released_networks.json

CHECKOUT is a checkout of google-research/reincarnating_rl; it needs Dopamine. Only networks that
Dopamine lacks are recorded. Layers have our names: an encoder's stacks stand at the top.
"""

from __future__ import annotations

import importlib.metadata
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import jax
import numpy as np

ACTIONS, SEEDS, SHAPE = 4, 4, (20, 20, 4)


def _layers(tree: Any) -> dict[str, Any]:
    params = dict(tree["params"])
    encoder = params.pop("encoder")
    leaves = jax.tree_util.tree_flatten_with_path(encoder | params)[0]
    return {".".join(key.key for key in path): np.asarray(leaf) for path, leaf in leaves}


def _statistics(network: Any, **arguments: Any) -> dict[str, Any]:
    state = np.zeros(SHAPE, np.uint8)
    draws = [
        _layers(network.init(jax.random.PRNGKey(seed), state, **arguments)) for seed in range(SEEDS)
    ]
    return {
        layer: {
            "shape": list(draws[0][layer].shape),
            "mean": float(np.mean([one[layer] for one in draws])),
            "variance": float(np.var([one[layer] for one in draws])),
            "largest": float(np.abs([one[layer] for one in draws]).max()),
        }
        for layer in sorted(draws[0])
    }


def record(checkout: Path) -> dict[str, Any]:
    """Draw each network's parameters with several keys."""
    sys.path.insert(0, str(checkout))
    from reincarnating_rl import reincarnation_networks as networks

    rainbow = networks.ImpalaRainbowNetwork(
        num_actions=ACTIONS, num_atoms=51, noisy=False, dueling=False
    )
    quantile = networks.ImpalaImplicitQuantileNetwork(
        num_actions=ACTIONS, quantile_embedding_dim=64
    )
    key = jax.random.PRNGKey(0)
    commit = subprocess.run(
        ["git", "-C", str(checkout), "rev-parse", "HEAD"],
        check=True,
        capture_output=True,
        text=True,
    ).stdout.strip()
    return {
        "commit": commit,
        "packages": {name: importlib.metadata.version(name) for name in ("dopamine-rl", "flax")},
        "observation_shape": SHAPE,
        "networks": {
            "ImpalaRainbowNetwork": _statistics(
                rainbow, support=np.linspace(-10.0, 10.0, 51, dtype=np.float32), key=key
            ),
            "ImpalaImplicitQuantileNetwork": _statistics(quantile, num_quantiles=32, rng=key),
        },
    }


if __name__ == "__main__":
    print(json.dumps(record(Path(sys.argv[1])), indent=1))

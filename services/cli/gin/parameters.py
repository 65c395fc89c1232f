"""How a parameter of the released code, or of the Dopamine beneath it, is taken here."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping


@dataclasses.dataclass(frozen=True, kw_only=True)
class Parameter:
    """A parameter that gin may bind.

    Attributes:
        default: What the released code takes where nothing binds it.
        idle: Why its value cannot matter here; None where it does.
        fixed: Why no value but the default can be had here; None where others can.
    """

    default: object
    idle: str | None = None
    fixed: str | None = None


@dataclasses.dataclass(frozen=True, kw_only=True)
class Configurable:
    """A class or function that gin configures.

    Attributes:
        modules: Where it lies, in either generation of the released code.
        parameters: Name -> parameter.
    """

    modules: tuple[str, ...]
    parameters: Mapping[str, Parameter]


def used(**defaults: object) -> dict[str, Parameter]:
    """Parameters whose values become settings of ours."""
    return {name: Parameter(default=default) for name, default in defaults.items()}


def idle(why: str, names: Iterable[str]) -> dict[str, Parameter]:
    """Parameters that cannot matter here."""
    return {name: Parameter(default=None, idle=why) for name in names}


def fixed(why: str, **defaults: object) -> dict[str, Parameter]:
    """Parameters that are as the released code has them by default, and nothing else."""
    return {name: Parameter(default=default, fixed=why) for name, default in defaults.items()}


LOGGING = idle(
    "metrics are written by the learner, every --log-period of its own",
    ("summary_writer", "summary_writing_frequency", "collector_allowlist"),
)
SEED = idle("--run_number is the seed", ("seed",))
PREPROCESSING = fixed("pixels go to the network divided by 255, as there", preprocess_fn=None)
EACH_UPDATE = "an update is one batch"
EITHER_NETWORK = (
    "the released code does not read it for these agents: bind {agent}.network, or give "
    "--gin_bindings @reincarnation_networks.ImpalaRainbowNetwork"
)

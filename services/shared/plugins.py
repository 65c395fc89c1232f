"""Which code of other packages this process may import: what the environment's variable names."""

from __future__ import annotations

import os

from rrl_agents import plugins


def allow_variable() -> None:
    """Let the names in RRL_PLUGINS, separated by commas, be imported."""
    plugins.allow(*os.environ.get(plugins.VARIABLE, "").split(","))

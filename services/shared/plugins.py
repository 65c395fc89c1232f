"""Allows code of other packages that an environment variable names."""

from __future__ import annotations

import os

from rrl_agents import plugins


def allow_variable() -> None:
    """Allow imports of the names in RRL_PLUGINS, separated by commas."""
    plugins.allow(*os.environ.get(plugins.VARIABLE, "").split(","))

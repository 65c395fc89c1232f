"""An environment, a network, a method and a teacher of one's own, declared in pyproject.toml."""

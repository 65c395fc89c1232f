"""A custom environment, network, method and teacher, declared in pyproject.toml."""

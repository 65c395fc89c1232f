"""The part of Courier's handlers that Launchpad imports; see the package's docstring."""

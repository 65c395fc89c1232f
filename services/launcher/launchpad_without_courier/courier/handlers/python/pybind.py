"""What Launchpad imports of Courier's handlers; see the package's docstring."""

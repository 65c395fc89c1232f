"""Runs the commands of the code released with Agarwal et al., 2022 (arXiv:2206.01626).

`python -um reincarnating_rl.train ...` becomes `python -um services.cli.reincarnating_train ...`;
the flags and the gin files stay. Exit codes are those of `rrl`.
"""

from __future__ import annotations

import sys

from services.cli.main import run


def main() -> None:
    """Run the command line; ends the process with its exit code."""
    sys.exit(run(["gin", *sys.argv[1:]]))


if __name__ == "__main__":
    main()

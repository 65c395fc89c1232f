"""Runs the commands of the code released with Agarwal et al., 2022 (arXiv:2206.01626).

`python -um reincarnating_rl.train ...` becomes `python -um services.cli.reincarnating_train ...`;
the flags and the gin files stay. Exit codes are those of `rrl`.
"""

from __future__ import annotations

import os
import sys


def main() -> None:
    """Run the command line; ends the process with its exit code."""
    # TensorFlow, which Reverb brings along, reports every library of a GPU it does not find.
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    from services.cli.gin.command import gin_main
    from services.shared.errors import UserError

    try:
        gin_main(sys.argv[1:])
    except UserError as error:
        # A gin file's own words must not steer the terminal.
        shown = "".join(c if c.isprintable() or c == "\n" else "?" for c in str(error))
        print(f"reincarnating_train: {shown}", file=sys.stderr)
        sys.exit(2)
    except KeyboardInterrupt:
        sys.exit(130)


if __name__ == "__main__":
    main()

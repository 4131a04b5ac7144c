"""`python -m freeml.sim.msp430`: compile the simulator's core ahead of its first use, and say where it is."""

from __future__ import annotations

import sys

from freeml.errors import FreemlError
from freeml.sim.msp430.library import library_path


def main() -> int:
    """Returns the exit status."""
    try:
        print(library_path())
    except FreemlError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())

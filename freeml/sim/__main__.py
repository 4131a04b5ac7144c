"""`python -m freeml.sim`: compile the simulators' parts in C ahead of their first use, and say where they are kept."""

from __future__ import annotations

import importlib.util
import sys

from freeml.errors import FreemlError
from freeml.sim.native import cache_folder


def main() -> int:
    """Returns the exit status."""
    from freeml.sim.msp430.library import load_library

    try:
        load_library()
        if importlib.util.find_spec("unicorn") is not None:
            from freeml.sim.apollo4.engine import load_hooks

            load_hooks()
    except FreemlError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    print(f"simulators: {cache_folder()}")
    return 0


if __name__ == "__main__":
    sys.exit(main())

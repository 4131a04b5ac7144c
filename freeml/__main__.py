"""`python -m freeml` is `freeml`."""

from __future__ import annotations

from freeml.cli import main

main(prog_name="freeml")

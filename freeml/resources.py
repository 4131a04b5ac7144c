"""Where the templates and the firmware sources are: inside an installed wheel, or at the top of a checkout."""

from __future__ import annotations

from pathlib import Path

PACKAGE = Path(__file__).resolve().parent


def resource_dir(name: str) -> Path:
    """The folder `codegen_templates` or `firmware`."""
    installed = PACKAGE / "_resources" / name
    return installed if installed.is_dir() else PACKAGE.parent / name

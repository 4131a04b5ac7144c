"""Arguments and options that commands share."""

from __future__ import annotations

from pathlib import Path

import click

PRECISIONS = ("int8", "int16", "auto")
WEIGHTS = ("int8", "int16")
RANGES = ("minmax", "percentile", "mse")

# Paths are checked where they are used: those checks say more than click's.
PATH = click.Path(path_type=Path)

model_argument = click.argument("model", type=PATH)
folder_argument = click.argument("folder", type=PATH, metavar="DIR")
SEED = click.IntRange(min=0)

json_option = click.option("--json", "as_json", is_flag=True, help="Print one JSON object and nothing else.")

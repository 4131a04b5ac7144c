#!/usr/bin/env python3
"""A table of what a net keeps under budgets of flash, by each method of compression.

    python tools/compare_compression.py net-s.onnx cifar10.npz --flash 40KB,17KB,12KB --effort thorough --out net-s

Every row is a compile as `freeml compile --flash` makes it, with its artifact under --out; a row that is there already
is read, not made again. Points lost are those of the test part, float before against integer after. Processor time is
that of this process: without the C compiler's, and of a row that was interrupted, since it went on.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import freeml
from freeml.errors import CompressionError, FreemlError

COLUMNS = (
    "| method | flash | weights, B | times smaller | RAM, B | arena, B | cycles, M | points lost, test (95 %) | s |"
)


def row(method: str, flash: str, arguments: argparse.Namespace) -> str:
    """One compile as a line of the table; kept beside its artifact."""
    out: Path = arguments.out / f"{method}-{flash}-{arguments.effort}"
    seconds = out / "seconds.txt"
    if not seconds.is_file():
        start = time.process_time()
        try:
            freeml.compile(
                arguments.model, data=arguments.data, target=arguments.target, flash=flash, method=method,
                max_drop=arguments.max_drop, effort=arguments.effort, out=out,
                on_round=lambda found: print(f"  {method} {flash}: {found}", file=sys.stderr, flush=True),
            )  # fmt: skip
        except CompressionError as error:
            return f"| {method} | {flash} | {str(error).splitlines()[0]} |"
        seconds.write_text(f"{time.process_time() - start:.0f}\n")
    report: dict[str, Any] = json.loads((out / "report.json").read_text())
    found, costs = report["compression"], [layer["predicted_cost"] or 0 for layer in report["layers"]]
    low, high = found["interval"]
    return (
        f"| {method} | {flash} | {found['bytes_after']:,} | {found['ratio']:.1f} | {report['bytes']['sram']:,} "
        f"| {report['arena']['bytes']:,} | {sum(costs) / 1e6:.2f} "
        f"| {100 * found['drop']:.2f} ({100 * low:.2f} to {100 * high:.2f}) | {seconds.read_text().strip()} |"
    )


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line; returns the exit status."""
    parser = argparse.ArgumentParser(description="Compare methods of compression under budgets of flash.")
    parser.add_argument("model", type=Path)
    parser.add_argument("data", type=Path)
    parser.add_argument("--flash", required=True, help="budgets, separated by commas")
    parser.add_argument("--method", default="joint,sparsecomp", help="methods, separated by commas")
    parser.add_argument("--effort", default="quick")
    parser.add_argument("--max-drop", type=float, default=100.0)
    parser.add_argument("--target", default="msp430")
    parser.add_argument("--out", type=Path, required=True, help="folder for the artifacts")
    options = parser.parse_args(arguments)
    options.out.mkdir(parents=True, exist_ok=True)
    print(COLUMNS, "|---" * (COLUMNS.count("|") - 1) + "|", sep="\n", flush=True)
    try:
        for flash in options.flash.split(","):
            for method in options.method.split(","):
                print(row(method, flash, options), flush=True)
    except FreemlError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    raise SystemExit(main())

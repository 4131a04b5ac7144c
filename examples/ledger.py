"""Figures of every example net, measured: ``python -m examples.ledger`` (a few minutes; ``--boards`` for sizes only).

For each net: accuracy on the whole test split as float, int8 and int16; bytes from the ELF on both boards; the arena
beside its lower bound; MACs. Those are of the net as compiled; `examples.evaluate` counts the layers of the ONNX file,
which for har are 600 MACs fewer: a batch norm of the raw input, with no layer before it to join, is one more layer.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from examples.data import MODEL_DATA, DataError, ensure_npz
from freeml.artifact import Artifact
from freeml.errors import FreemlError
from freeml.options import Options
from freeml.pipeline import compile_model
from freeml.report import terminal

HERE = Path(__file__).resolve().parent
MODELS = HERE / "models"
DATA = HERE / ".data"
BOARDS = ("msp430", "apollo4")


def compiled(name: str, *, target: str, precision: str, with_data: bool = True) -> Artifact:
    """One example net compiled, with its data set unless told otherwise."""
    data = ensure_npz(MODEL_DATA[name], DATA)[0] if with_data else None
    options = Options(target=target, precision=precision)  # type: ignore[arg-type]
    return compile_model(MODELS / f"{name}.onnx", options=options, data=data)


def accuracy_row(name: str) -> tuple[str, ...]:
    """Accuracy of one net in each precision."""
    narrow = compiled(name, target="msp430", precision="int8").report
    wide = compiled(name, target="msp430", precision="int16").report
    shares = (narrow["accuracy"]["float"], narrow["accuracy"]["quantized"], wide["accuracy"]["quantized"])
    count = narrow["accuracy"]["samples"]
    return (name, f"{count:,}", *(terminal.percent(share) for share in shares), f"{narrow['macs']:,}")


def size_row(name: str, target: str) -> tuple[str, ...]:
    """Bytes of one int8 net on one board."""
    report = compiled(name, target=target, precision="int8", with_data=False).report
    size, arena = report["bytes"], report["arena"]
    ratio = arena["bytes"] / arena["lower_bound_bytes"]
    return (
        name, target, f"{size['weights']:,}", f"{size['code']:,}", f"{size['flash']:,}", f"{size['sram']:,}",
        f"{size['nv']:,}", f"{arena['bytes']:,} ({ratio:.2f})",
    )  # fmt: skip


def main(arguments: Sequence[str] | None = None) -> int:
    """Print the tables."""
    parser = argparse.ArgumentParser(prog="python -m examples.ledger", description=__doc__)
    parser.add_argument("names", nargs="*", default=sorted(MODEL_DATA), help="nets to measure (all)")
    parser.add_argument("--boards", action="store_true", help="sizes only, which need no data")
    options = parser.parse_args(arguments)
    try:
        if not options.boards:
            rows = [accuracy_row(name) for name in options.names]
            columns = ("net", "test samples", "float", "int8", "int16", "MACs")
            terminal.table("Accuracy on the whole test split", columns, rows)
        columns = ("net", "board", "weights", "code", "image", "SRAM", "NV data", "arena (over its lower bound)")
        rows = [size_row(name, board) for name in options.names for board in BOARDS]
        terminal.table("Bytes, int8, calibrated without data", columns, rows)
    except (DataError, FreemlError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())

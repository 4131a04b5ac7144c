"""The main job, start to end: ``python -m examples.demo``, or ``make demo`` on a fresh machine.

Compiles the watch net, trained on seven shoulder exercises, for the MSP430 with its data; runs the emitted C over the
whole test split on this machine; holds every byte against the integer reference, and the accuracy against that of
onnxruntime, both of the float model and of the quantized one. Then the power of the simulated board is cut at every
instruction of an inference. Prints one table; the exit status is 1 when anything disagrees.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from examples.data import DataError, ensure_npz
from freeml import power
from freeml.artifact import Artifact
from freeml.commands.compile import share_before
from freeml.errors import FreemlError
from freeml.options import Options
from freeml.pipeline import compile_model
from freeml.power.result import PowerReport
from freeml.report import terminal
from freeml.verification import ORT_FLOAT, ORT_QUANTIZED, Verification, verify

HERE = Path(__file__).resolve().parent
MODEL = HERE / "models" / "har.onnx"
DATA = HERE / ".data"
NAME = "har"

LOST_POINTS = 1.0
"""Accuracy that int8 may cost, in points of a hundred."""
FLOAT_POINTS = 0.2
"""How far the float accuracies of freeml and onnxruntime may be apart: their sums are rounded in different order."""
AGREEMENT = 0.99
"""Share of samples on which onnxruntime must give the quantized net's class."""


def run(target: str, out: Path) -> tuple[Artifact, Verification, PowerReport]:
    """Compile, verify, cut the power everywhere. Raises FreemlError and DataError."""
    data, _ = ensure_npz(NAME, DATA)
    with terminal.progress() as show:
        artifact = compile_model(
            MODEL,
            options=Options(target=target),
            data=data,
            output=out,
            progress=lambda step: show(f"compile: {step}", share_before(step) * 0.4),
        )
        found = verify(
            out, data=data, model=MODEL, progress=lambda step, share: show(f"verify: {step}", 0.4 + 0.4 * share)
        )
        cuts = power.run(
            out, mode="exhaustive", on="board",
            progress=lambda step, share: show(f"power: {step}", 0.8 + 0.2 * share),
        )  # fmt: skip
    return artifact, found, cuts


def disagreements(report: dict[str, Any], found: Verification, cuts: PowerReport) -> list[str]:
    """What is not as it must be, in words; empty when all is well."""
    accuracy, problems = report["accuracy"], []
    if cuts.failures:
        problems.append(f"{cuts.failures:,} power cuts made a difference, replay={cuts.replay}: {cuts.reason}")
    problems += [
        f"the reference and the {executor}: {terminal.mismatch_text(mismatch)}"
        for executor, mismatches in found.first_mismatches.items()
        for mismatch in mismatches
    ]
    if not found.board_samples:
        problems.append("the firmware did not run on its board: " + "; ".join(found.notes))
    if found.accuracy["reference"] != accuracy["quantized"] or found.samples != accuracy["samples"]:
        problems.append("the accuracy of the report is not the one measured by verify")
    lost = 100 * (accuracy["float"] - accuracy["quantized"])
    if lost > LOST_POINTS:
        problems.append(f"the integer net loses {lost:.2f} points of accuracy, expected at most {LOST_POINTS}")
    if ORT_FLOAT not in found.accuracy:
        problems.append("onnxruntime is not installed: " + "; ".join(found.notes))
        return problems
    apart = 100 * abs((found.accuracy[ORT_FLOAT] or 0.0) - accuracy["float"])
    if apart > FLOAT_POINTS:
        problems.append(f"onnxruntime and freeml are {apart:.2f} points apart on the float model")
    problems += [
        f"onnxruntime agrees with the integer net on {one.agreement:.2%} of the samples only"
        for one in found.differences[ORT_QUANTIZED]
        if one.agreement < AGREEMENT
    ]
    return problems


def show(report: dict[str, Any], found: Verification, cuts: PowerReport, seconds: float) -> None:
    """The one table."""
    size, limits, accuracy, supply = report["bytes"], report["limits"], report["accuracy"], report["power"]
    ort = {name: terminal.percent(found.accuracy.get(name)) for name in (ORT_FLOAT, ORT_QUANTIZED)}

    def of(need: int, limit: int) -> str:
        return f"{need / limit:.1%} of {limit:,} B"

    rows = [
        ("accuracy, float", terminal.percent(accuracy["float"]), f"onnxruntime: {ort[ORT_FLOAT]}"),
        ("accuracy, int8", terminal.percent(accuracy["quantized"]), f"onnxruntime: {ort[ORT_QUANTIZED]}"),
        ("mismatches, C on this machine", f"{sum(m.count for m in found.first_mismatches['host']):,}",
         f"{found.layers} layers, {found.bytes * found.samples:,} B compared"),
        ("mismatches, simulated board", f"{sum(m.count for m in found.first_mismatches.get('board', ())):,}",
         f"{found.board_samples:,} samples"),
        ("changed by a power cut", f"{cuts.failures:,}",
         f"of {cuts.instructions or 0:,} instructions to cut at, in {cuts.cuts:,} images"),
        ("boots per inference", f"{supply['boots_per_inference']:,}",
         f"{supply['capacitor_uf']:g} uF, {supply['regions']:,} regions; {supply['min_capacitor_uf']:.2g} uF would do"),
        ("weights", f"{size['weights']:,} B", f"{report['params']:,} parameters"),
        ("RAM, stack included", f"{size['sram']:,} B", of(size["sram"], limits["sram"])),
        ("NV: activations, results", f"{size['nv']:,} B", ""),
        ("flash: the ELF's image", f"{size['flash']:,} B", ""),
        ("flash and NV", f"{size['flash'] + size['nv']:,} B", of(size["flash"] + size["nv"], limits["flash"])),
        ("multiply-accumulates", f"{report['macs']:,}", ""),
    ]  # fmt: skip
    title = f"watch net on {report['target']}, {found.samples:,} test samples, {seconds:.0f} s"
    terminal.table(title, ("", "", ""), rows, left=(0, 2))


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line; returns the exit status."""
    parser = argparse.ArgumentParser(prog="python -m examples.demo", description="Compile and verify the watch net.")
    parser.add_argument("--target", default="msp430", help="board: msp430 or apollo4")
    parser.add_argument("--out", type=Path, help="folder for the firmware (default: build/har-TARGET)")
    parser.add_argument("--json", action="store_true", help="print one JSON object and nothing else")
    options = parser.parse_args(arguments)
    out = options.out or Path("build") / f"{NAME}-{options.target}"
    began = time.monotonic()
    try:
        artifact, found, cuts = run(options.target, out)
    except (FreemlError, DataError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    report = dict(artifact.report)
    problems = disagreements(report, found, cuts)
    if options.json:
        print(
            json.dumps(
                {"compile": report, "verify": asdict(found), "power": cuts.as_dict(), "disagreements": problems},
                indent=2,
            )
        )
    else:
        show(report, found, cuts, time.monotonic() - began)
        terminal.line(f"firmware in {out}; the board's image is {out / 'firmware.elf'}")
    for problem in problems:
        print(f"disagreement: {problem}", file=sys.stderr)
    return 1 if problems else 0


if __name__ == "__main__":
    raise SystemExit(main())

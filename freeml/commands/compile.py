"""`freeml compile`: an ONNX file becomes a folder of C."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from freeml.commands.options import PATH, PRECISIONS, RANGES, SEED, WEIGHTS, json_option, model_argument

EFFORTS = ("quick", "normal", "thorough")
COMPRESSIONS = ("joint", "sparsecomp")
TRAININGS = ("two-stage", "joint")
# Steps of the pipeline and about how long each takes, for the time left.
STEPS = {"import": 1, "quantize": 8, "plan": 2, "build": 6, "evaluate": 6, "write": 1}


@click.command("compile")
@model_argument
@click.option("--target", default="msp430", show_default=True, help="Board: msp430 or apollo4.")
@click.option("--data", type=PATH, help="Data set (.npz: x_train, y_train, x_test, y_test).")
@click.option("--out", type=PATH, metavar="DIR", help="Folder for the firmware.  [default: MODEL-TARGET]")
@click.option(
    "--precision", type=click.Choice(PRECISIONS), default="int8", show_default=True, help="Width of activations."
)
@click.option("--weights", type=click.Choice(WEIGHTS), default="int8", show_default=True, help="Width of weights.")
@click.option("--ranges", type=click.Choice(RANGES), help="How ranges are chosen.  [default: the best on calibration]")
@click.option("--toolchain", help="zig, clang, gcc or (MSP430) gcc-large.  [default: zig, else the first found]")
@click.option("--capacitor", metavar="C", help="What a boot has to spend, as in 100uF.  [default: 100uF]")
@click.option("--v-on", type=float, default=3.0, show_default=True, help="Volts at which a boot begins.")
@click.option("--v-off", type=float, default=1.9, show_default=True, help="Volts at which the power is gone.")
@click.option("--budget-energy", metavar="E", help="Instead of a capacitor, as in 250uJ.")
@click.option("--budget-cycles", type=click.IntRange(min=1), metavar="N", help="Instead of a capacitor, in cycles.")
@click.option(
    "--regions",
    type=click.Choice(("budget", "layer", "element")),
    default="budget",
    show_default=True,
    help="Where to commit: as the budget asks, or after every layer or output element, for comparison.",
)
@click.option("--flash", metavar="SIZE", help="Compress until the firmware takes at most so much flash, as in 32KB.")
@click.option("--ram", metavar="SIZE", help="Compress until variables and stack take at most so much RAM, as in 4KB.")
@click.option("--energy", metavar="E", help="Compress until an inference takes at most so much (estimate), as in 5mJ.")
@click.option(
    "--max-drop", type=float, metavar="POINTS", help="Accuracy that a budget, or exits, may cost.  [default: 1.0]"
)
@click.option("--effort", type=click.Choice(EFFORTS), help="How long to search for a budget.  [default: quick]")
@click.option(
    "--method", type=click.Choice(COMPRESSIONS), help="freeml's search, or SparseComp, to compare.  [default: joint]"
)
@click.option("--trials", type=click.IntRange(min=1), metavar="N", help="Recipes to try at most.  [default: by effort]")
@click.option("--storage", metavar="URL", help="Database in which processes share a search, as in sqlite:///s.db.")
@click.option(
    "--exits", metavar="WHICH", default="none", show_default=True,
    help="Where inferences may end early: none; shared, shared:N, shared:LAYER,LAYER; linear or separate likewise.",
)  # fmt: skip
@click.option(
    "--exit-training", type=click.Choice(TRAININGS), default="two-stage", show_default=True,
    help="Train exits on the net as it is, or the net and its exits together.",
)  # fmt: skip
@click.option("--exit-bytes", metavar="SIZE", help="Constants of the branch at most, as in 1KB.  [default: by the net]")
@click.option("--exit-output", metavar="NAME", help="Output that exits answer for.  [default: the first]")
@click.option(
    "--policy", metavar="RULE",
    help="confidence, entropy, patience, label-free, reliability or none; with +energy, or energy alone.  "
    "[default: confidence]",
)  # fmt: skip
@click.option("--confidence", type=float, metavar="P", help="Of the promise that --max-drop is kept.  [default: 0.95]")
@click.option("--seed", type=SEED, default=0, show_default=True, help="Seed of every random choice.")
@json_option
def compile_command(
    model: Path, target: str, data: Path | None, out: Path | None, precision: Any, weights: Any, ranges: Any,  # noqa: ANN401
    toolchain: str | None, capacitor: str | None, v_on: float, v_off: float, budget_energy: str | None,
    budget_cycles: int | None, regions: Any, flash: str | None, ram: str | None, energy: str | None,  # noqa: ANN401
    max_drop: float | None, effort: Any, method: Any, trials: int | None, storage: str | None,  # noqa: ANN401
    exits: str, exit_training: Any, exit_bytes: str | None, exit_output: str | None,  # noqa: ANN401
    policy: str | None, confidence: float | None, seed: int, as_json: bool,
) -> None:  # fmt: skip
    """Compile an ONNX MODEL to a folder of C for a board.

    The folder holds readable C99, the weights, test vectors, a Makefile, the firmware as an ELF file, the net as a
    quantized ONNX file, and report.json with every figure printed here. Without --data the ranges come from the graph
    itself, and the accuracy is unverified.

    The firmware survives power failures: between two commits it never does more than what a charge of the capacitor
    pays for, and goes on from the last commit when the power returns.

    With --flash, --ram or --energy the net is made smaller until it fits: channels are removed and what is left is
    retrained on the data, as long as that costs no more than --max-drop points of accuracy on the validation part. A
    search that was interrupted is kept in DIR.search, and the same command goes on from there.

    With --exits inferences may end early: a small branch, trained on the data, answers at several layers, and a rule
    decides where each inference ends. With probability --confidence the rule costs at most --max-drop points; that is
    certified on the validation part.

    \b
    Example:
      freeml compile lenet5.onnx --data mnist.npz --exits shared --policy entropy --max-drop 1
      freeml compile lenet5.onnx --target apollo4 --data mnist.npz --out firmware
      freeml compile lenet5.onnx --data mnist.npz --flash 16KB --max-drop 0.5
      freeml compile lenet5.onnx --capacitor 47uF --v-on 3.3 --v-off 1.9
    """
    from freeml.compression.budget import parse_budget
    from freeml.exits.asking import parse_exits
    from freeml.options import Options
    from freeml.pipeline import compile_model
    from freeml.regions.supply import parse_supply
    from freeml.report import terminal

    budgeted = any(limit is not None for limit in (flash, ram, energy))
    wanted, rule = parse_exits(
        exits, exit_training, exit_bytes, policy, confidence, max_drop, exit_output, budgeted=budgeted
    )  # fmt: skip
    budget_drop = max_drop if budgeted or exits == "none" else None
    supply = parse_supply(capacitor, v_on=v_on, v_off=v_off, energy=budget_energy, cycles=budget_cycles)
    options = Options(
        target=target, precision=precision, weights=weights, ranges=ranges, toolchain=toolchain,
        supply=supply, regions=regions, seed=seed,
        budget=parse_budget(flash, ram, budget_drop, effort, method, trials, energy),
        exits=wanted, rule=rule,
    )  # fmt: skip
    folder = out if out is not None else Path(f"{model.stem}-{target}")
    with terminal.progress() as show:
        artifact = compile_model(
            model, options=options, data=data, output=folder, progress=lambda step: show(step, share_before(step)),
            search_progress=show, storage=storage,
        )  # fmt: skip
    if as_json:
        terminal.print_json({**artifact.report, "folder": str(folder)})
    else:
        terminal.print_report(artifact.report, folder)


def share_before(step: str) -> float:
    """Share (0..1) of a compile that is done when `step` begins; an unknown step counts as the end."""
    names = list(STEPS)
    done = names[: names.index(step)] if step in STEPS else names
    return sum(STEPS[name] for name in done) / sum(STEPS.values())

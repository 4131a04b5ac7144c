"""What is said about boards: what runs on them and what it costs, flashing them, what they answer."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from freeml.report.terminal import line, mismatch_text, table

if TYPE_CHECKING:
    from freeml.device import DeviceRun
    from freeml.flashing import Flash
    from freeml.power.result import PowerReport
    from freeml.profiling import LayerCost, Profile
    from freeml.running import Execution

SHOWN_SAMPLES, SHOWN_VALUES = 10, 8


def print_execution(found: Execution) -> None:
    """The outputs of the first samples, and what they cost."""
    rows = []
    for sample in range(min(found.samples, SHOWN_SAMPLES)):
        for name, values in found.outputs.items():
            flat = np.ravel(values[sample])
            more = "  ..." if flat.size > SHOWN_VALUES else ""
            text = "  ".join(f"{value:.4g}" for value in flat[:SHOWN_VALUES]) + more
            rows.append((str(sample), name, text, str(int(flat.argmax()))))
    table(f"{found.samples:,} samples on the {found.on}", ("sample", "output", "values", "largest"), rows, left=(1, 2))
    if found.samples > SHOWN_SAMPLES:
        line(f"... and {found.samples - SHOWN_SAMPLES:,} more: --output writes them all")
    if found.instructions is not None:
        per = found.samples
        cycles = "" if found.cycles is None else f"{found.cycles / per:,.0f} cycles, "
        energy = "" if found.energy_nj is None else f", {found.energy_nj / per / 1000:,.1f} uJ (estimate)"
        line(f"per inference: {cycles}{found.instructions / per:,.0f} instructions{energy}")


def print_profile(found: Profile, *, functions: bool) -> None:
    """Costs by layer, and by function where asked for."""
    cycles = found.total.cycles is not None
    unit = "cycles" if cycles else "instructions"
    rows = [_row(layer, found.total, cycles=cycles) for layer in (*found.layers, found.total)]
    samples = "1 sample" if found.samples == 1 else f"mean of {found.samples:,} samples"
    columns = ("layer", "MACs", unit, "share", "model error", "uJ", "NV writes")
    table(f"{found.target}, {samples}, {found.image}", columns, rows)
    if functions:
        cost = [
            (
                function.name,
                f"{function.instructions:,.0f}",
                "" if function.cycles is None else f"{function.cycles:,.0f}",
                f"{function.nv_writes:,.0f}",
            )
            for function in found.functions
        ]
        table("own instructions of each function", ("function", "instructions", "cycles", "NV writes"), cost)
    about = "" if cycles else "about "
    line(f"{about}{found.seconds * 1000:,.2f} ms per inference at {found.clock_hz / 1e6:g} MHz")
    line(f"energy is an estimate: {found.energy_source}")


def _row(layer: LayerCost, total: LayerCost, *, cycles: bool) -> tuple[str, ...]:
    cost, whole = (layer.cycles, total.cycles) if cycles else (layer.instructions, total.instructions)
    assert cost is not None and whole is not None
    return (
        layer.name if layer is total else f"{layer.name}: {layer.op}",
        f"{layer.macs:,}" if layer.macs else "",
        f"{cost:,.0f}",
        f"{cost / whole:.1%}" if whole else "",
        "" if layer.predicted is None else f"{layer.predicted / cost - 1:+.1%}",
        f"{layer.energy_nj / 1000:,.2f}",
        f"{layer.nv_writes:,.0f}",
    )


def print_flash(done: Flash) -> None:
    """The command, and where it was run."""
    line(done.shell_line)
    if done.script is not None:
        line(f"{done.folder / done.script_name}:" if done.script_name else "")
        for text in done.script.splitlines():
            line(f"  {text}")
    if done.output is None:
        line("not run: --dry-run", "yellow")
    else:
        line(f"{done.image} was flashed to the board by {done.programmer}", "green")


def print_device(found: DeviceRun) -> None:
    """What the board answered, against the reference."""
    line(f"{found.port}: model {found.model} on {found.target}", "bold")
    ran = f"{found.vectors:,} test vectors" if found.vectors != 1 else "1 test vector"
    if found.samples:
        ran += f" and {found.samples:,} samples" if found.samples != 1 else " and 1 sample"
    if found.wrong_bytes:
        line(f"the board itself counts {found.wrong_bytes:,} wrong bytes in its test vectors", "red")
    for number in found.wrong_vectors:
        line(f"test vector {number}: its outputs are not the reference's", "red")
    for wrong in found.mismatches:
        line(f"mismatch: {mismatch_text(wrong)}", "red")
    if found.equal:
        line(f"{ran}: every byte of the outputs equals the reference's", "green")


def print_cuts(found: PowerReport) -> None:
    """What cutting the power showed."""
    stand_for = f", which stand for {found.instructions:,} instructions" if found.instructions is not None else ""
    what = {"linear": "boots", "depth2": "pairs of cuts"}.get(found.mode, "cuts")
    line(f"{found.mode} on the {found.on}: {found.cuts:,} {what}{stand_for}, {found.wall_s:,.1f} s")
    line(f"at most {found.boots_max:,} boots for an inference")
    for note in found.notes:
        line(f"note: {note}", "yellow")
    if found.failures:
        line(f"{found.failures:,} of them made a difference; the first: {found.reason}", "red")
        again = found.mode if found.replay is None else f"replay={found.replay}"
        line(f"again: freeml power ... --on {found.on} --mode {again}", "red")
    else:
        line("0 failures: every one ends like a run without cuts, in every byte", "green")

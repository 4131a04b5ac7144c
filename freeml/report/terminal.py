"""Tables and progress in the terminal. Results go to standard output, progress to standard error."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich import box
from rich.console import Console
from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.table import Table
from rich.text import Text

if TYPE_CHECKING:
    from freeml.building import Firmware, Library
    from freeml.inspection import Inspection
    from freeml.sim.onnx_run import Difference
    from freeml.sim.trace import Mismatch
    from freeml.verification import Verification

Row = tuple[str, str, str]


class _Console(Console):
    """A console that leaves a reader who went away to the command line, which knows the exit status for it."""

    def on_broken_pipe(self) -> None:
        """Instead of leaving the process with status 1."""
        raise BrokenPipeError


def print_json(document: Mapping[str, Any]) -> None:
    """One JSON object and nothing else on standard output."""
    write(json.dumps(document, indent=2) + "\n")


def write(text: str) -> None:
    """Put text on standard output, whatever that is at the moment of the call."""
    sys.stdout.write(text)


@contextmanager
def progress() -> Iterator[Callable[[str, float], None]]:
    """Yields what to call with the step under way and the share (0..1) done before it.

    Shown on standard error with the time left, where that is a terminal, and wiped away at the end.
    """
    console = _Console(stderr=True)
    if not console.is_terminal:
        yield lambda step, share: None
        return
    columns = (
        SpinnerColumn(), TextColumn("{task.description:<36}", markup=False), BarColumn(bar_width=24),
        TimeElapsedColumn(), TextColumn("left"), TimeRemainingColumn(compact=True),
    )  # fmt: skip
    with Progress(*columns, console=console, transient=True) as bar:
        task = bar.add_task("start", total=1.0)
        yield lambda step, share: bar.update(task, description=step, completed=share)


def table(title: str, columns: Sequence[str], rows: Sequence[Sequence[str]], left: Sequence[int] = (0,)) -> None:
    """Print a table; columns other than those numbered in `left` are right-aligned."""
    if title:
        line(title, "bold")
    grid = Table(box=box.ROUNDED, header_style="bold", show_header=any(columns))
    for index, column in enumerate(columns):
        grid.add_column(Text(column), justify="left" if index in left else "right", overflow="fold")
    for row in rows:
        grid.add_row(*map(Text, row))  # Text: brackets in a name are no markup
    _show(grid)


def line(text: str, style: str = "") -> None:
    """Print one line of text as it is."""
    _show(Text(text, style=style))


def _show(item: Table | Text) -> None:
    # Rendered first and written by us: rich would answer a closed pipe by ending the process itself.
    console = _Console()
    with console.capture() as captured:
        console.print(item, soft_wrap=isinstance(item, Text))
    write(captured.get())


def percent(share: float | None) -> str:
    """0.8412 as 84.12%."""
    return "unverified" if share is None else f"{share:.2%}"


def size_rows(size: Mapping[str, int], limits: Mapping[str, int]) -> list[Row]:
    """The bytes of a firmware against its board."""
    rows = [
        ("weights", f"{size['weights']:,} B", ""),
        ("code", f"{size['code']:,} B", ""),
        ("test vectors", f"{size['vectors']:,} B", ""),
        ("flash: image and persistent data", f"{size['flash'] + size['nv']:,} B", f"of {limits['flash']:,} B"),
    ]
    if size["nv"]:
        rows.append(("  of which activations", f"{size['nv']:,} B", "not in the image"))
    return [*rows, ("SRAM, with the stack's estimate", f"{size['sram']:,} B", f"of {limits['sram']:,} B")]


def print_report(report: Mapping[str, Any], folder: Path) -> None:
    """The figures of a compile."""
    accuracy, arena, how = report["accuracy"], report["arena"], report["quantization"]
    split = f"{accuracy['samples']:,} samples, {accuracy['split']}" if accuracy["samples"] else "no data"
    rows = [
        ("accuracy, float", percent(accuracy["float"]), split),
        ("accuracy, integer", percent(accuracy["quantized"]), split),
        *size_rows(report["bytes"], report["limits"]),
        ("arena of the activations", f"{arena['bytes']:,} B", f"at least {arena['lower_bound_bytes']:,} B"),
        ("  of the net as it came", f"{arena['unfused_bytes']:,} B", f"{_times(arena)}, every operator stored"),
        ("parameters", f"{report['params']:,}", ""),
        ("multiply-accumulates", f"{report['macs']:,}", ""),
    ]
    table(f"{report['model']} on {report['target']} (built by {report['toolchain']})", ("", "", ""), rows, left=(0, 2))
    print_compression(report["compression"])
    print_stored(report["layers"], report["cost_unit"])
    print_power(report["power"])
    print_exits(report)
    line(f"{how['precision']} by {how['chosen']}, calibrated on {how['calibration']}")
    for note in report["notes"]:
        line(f"note: {note}", "yellow")
    line(f"written to {folder}")


def print_exits(report: Mapping[str, Any]) -> None:
    """Where inferences may end, what that takes, and what the rule does; nothing where there are no exits."""
    policy, branch = report["policy"], report["branch"]
    if policy is None:
        return
    unit, full = report["cost_unit"] or "steps", policy["full_cycles"]
    shares = [*policy["shares"]]
    rows = [
        (
            exit_["name"], exit_["after_layer"], percent(exit_["accuracy"]), f"{exit_['bytes']:,}",
            f"{exit_['cycles']:,}", f"{exit_['cycles'] / max(1, full):.0%}", f"{share:.1%}",
        )
        for exit_, share in zip(report["exits"], shares, strict=False)
    ]  # fmt: skip
    end = policy["accuracy"] + policy["achieved_drop"]
    rows.append(("the end", "", percent(end), "", f"{full:,}", "100%", f"{shares[-1]:.1%}"))
    table(
        f"exits of {branch['output']}, {branch['kind']}: {branch['parameters']:,} parameters, {branch['bytes']:,} B, "
        f"{branch['arena_bytes']:,} B of the arena, which grows by "
        f"{branch['arena_added_bytes']:,} B, {branch['share']:.1%} of the backbone's {unit}",
        ("exit", "after", "accuracy, test", "bytes", unit, "", "end here"), rows, left=(0, 1),
    )  # fmt: skip
    low, high = (100 * bound for bound in policy["achieved_interval"])
    promised = policy["promised_drop"]
    words = "" if promised is None else f", promised {100 * promised:.2f} with confidence {policy['confidence']}"
    saved = 1 - policy["mean_cycles"] / max(1, policy["backbone_cycles"])
    energy, mean = " + energy" if policy["energy"] else "", policy["mean_cycles"]
    line(
        f"policy {policy['name']}{energy} at {policy['threshold']}: accuracy {percent(policy['accuracy'])}, "
        f"{100 * policy['achieved_drop']:.2f} points lost ({low:.2f} to {high:.2f}){words}; {mean:,.0f} {unit} on "
        f"average, {abs(saved):.1%} {'less' if saved >= 0 else 'more'} than without exits"
    )


def _times(arena: Mapping[str, Any]) -> str:
    return f"{arena['unfused_bytes'] / max(1, arena['bytes']):.1f} times as much"


def print_compression(compression: Mapping[str, Any] | None) -> None:
    """What a budget made of the net, round by round; nothing when there was none."""
    if compression is None:
        return
    rounds = [
        (
            f"{found['flash']:,} B", f"{found['ram']:,} B", f"{found['cycles']:,}",
            "" if found["energy_uj"] is None else f"{found['energy_uj']:,.1f} uJ", percent(found["validation"]),
            "built, integer" if found["built"] else "estimated, float",
        )
        for found in compression["rounds"]
    ]  # fmt: skip
    columns = ("flash", "RAM", "cycles", "energy", "validation", "")
    title = f"compression, {compression['method']}: round by round (cycles and energy are estimates)"
    table(title, columns, rounds, left=(5,))
    low, high = compression["interval"]
    rows = [
        ("weights", f"{compression['bytes_before']:,} B", f"{compression['bytes_after']:,} B"),
        ("times smaller", "", f"{compression['ratio']:.1f}"),
        ("accuracy", percent(compression["accuracy_before"]), percent(compression["accuracy_after"])),
        ("drop in points", f"{100 * compression['drop']:.2f}", f"95%: {100 * low:.2f} to {100 * high:.2f}"),
    ]
    table("", ("", "float, before", "integer, after"), rows)


def print_stored(layers: Sequence[Mapping[str, Any]], unit: str | None) -> None:
    """The layers whose weights take fewer bytes of flash at the price of time; nothing where there are none."""
    rows = [
        (
            layer["name"], stored["form"], f"{stored['bytes_saved']:,} B",
            "?" if stored["cost_added"] is None else f"{stored['cost_added']:,}",
            "?" if layer["predicted_cost"] is None else f"{layer['predicted_cost']:,}",
        )
        for layer in layers
        if (stored := layer["stored"]) is not None and (stored["cost_added"] is None or stored["cost_added"] > 0)
    ]  # fmt: skip
    if rows:
        columns = ("layer", "form", "flash saved", f"{unit or 'cost'} added", "in all")
        table("layers that are slower than with plain weights, for flash (predicted)", columns, rows, left=(0, 1))


def print_power(power: Mapping[str, Any]) -> None:
    """What an inference asks of the supply."""
    if power["capacitor_uf"] is not None:
        given = f"{power['capacitor_uf']:g} uF from {power['v_on']:g} V to {power['v_off']:g} V"
    else:
        given = "budget" if power["budget_uj"] is None else f"{power['budget_uj']:,g} uJ"
    energy = "" if power["budget_uj"] is None else f"{power['budget_uj']:,.1f} uJ"
    boots = power["boots_per_inference"]
    layers = [layer for layer in power["layers"] if layer["regions"] > 1]
    rows = [
        ("a boot pays for", f"{power['budget_cycles']:,} cycles", energy),
        (
            "largest region",
            f"{power['largest_region_cycles']:,} cycles",
            f"{power['largest_region_uj']:,.1f} uJ",
        ),
        ("", "", power["largest_region"]),
        ("regions", f"{power['regions']:,}", f"{len(layers)} of {len(power['layers'])} layers are cut"),
        ("an inference, without boots", f"{power['inference_cycles']:,} cycles", f"{power['inference_uj']:,.1f} uJ"),
        ("boots per inference", "never ends" if boots is None else f"{boots:,}", "nothing harvested meanwhile"),
        ("boot, before its first", f"{power['boot_cycles']:,} cycles", ""),
        ("boot that captures the input", f"{power['capture_cycles']:,} cycles", ""),
        ("smallest capacitor", f"{power['min_capacitor_uf']:,.3g} uF", "between these voltages"),
        (
            "NV for progress and results",
            f"{power['nv_progress_bytes'] + power['nv_results_bytes'] + power['nv_kept_bytes']:,} B",
            f"written {power['writes_per_granule_max']:,.4g} times at most",
        ),
    ]
    how = "measured on the simulator" if power["measured"] else "predicted"
    table(f"power: {given} (estimates; {how})", ("", "", ""), rows, left=(0, 2))


def _ports(found: Inspection) -> list[str]:
    return [
        f"{kind} {port.name}: {port.dtype} {_shape(port.shape)}"
        for kind, ports in (("input", found.survey.inputs), ("output", found.survey.outputs))
        for port in ports
    ]


def _shape(shape: Sequence[int | str] | None) -> str:
    return "?" if shape is None else "x".join(str(extent) or "?" for extent in shape) or "scalar"


def print_inspection(found: Inspection) -> None:
    """What a model consists of."""
    nodes = [
        (
            node.name, node.op_type, " ".join(map(_shape, node.shapes)),
            f"{node.macs:,}" if node.macs else "", f"{node.params:,}" if node.params else "",
            node.reason if node.supported else f"NOT SUPPORTED: {node.reason}",
        )
        for node in found.survey.nodes
    ]  # fmt: skip
    survey = found.survey
    producer = f", written by {survey.producer}" if survey.producer else ""
    line(f"{found.model}: net {survey.name}, opset {survey.opset}{producer}", "bold")
    for text in _ports(found):
        line(text)
    line("operators: " + ", ".join(f"{count} {name}" for name, count in survey.operators().items()))
    table("", ("name", "operator", "output", "MACs", "params", ""), nodes, left=(0, 1, 2, 5))
    for problem in found.problems:
        line(f"problem: {problem}", "red")
    if not found.supported:
        return
    line(f"as compiled: {found.params:,} parameters, {found.macs:,} multiply-accumulates")
    rows = [
        (
            name, f"{estimate.weights:,} B", f"{estimate.arena:,} B", f"{estimate.scratch:,} B",
            f"{estimate.nv:,}/{estimate.limits.flash:,}", f"{estimate.sram:,}/{estimate.limits.sram:,}",
            "yes" if estimate.fits else "no",
        )
        for name, estimate in found.estimates.items()
    ]  # fmt: skip
    columns = ("board", "weights", "arena", "scratch", "flash", "SRAM", "would fit")
    table("estimate for int8, without code and stack", columns, rows)
    for name, estimate in found.estimates.items():
        if not estimate.fits:
            line(f"{name}: {estimate.reason}", "red")


def print_firmware(built: Firmware) -> None:
    """The sections of an ELF file against its board."""
    sections, size, limits = built.sections, built.bytes, built.limits
    rows = [
        ("text: instructions", f"{sections.text:,} B", ""),
        ("rodata: constants", f"{sections.rodata:,} B", f"of which test vectors {size.vectors:,} B"),
        ("weights", f"{sections.weights:,} B", f"and {sections.far:,} B beyond 64 K" if sections.far else ""),
        ("data: initialised variables", f"{sections.data:,} B", ""),
        ("bss: other variables", f"{sections.bss:,} B", ""),
        ("NV: persistent data", f"{sections.nv:,} B", "not in the image"),
        ("stack, estimated", f"{sections.stack:,} B", ""),
        ("flash: image and persistent data", f"{size.flash + size.nv:,} B", f"of {limits.flash:,} B"),
        ("SRAM: variables and stack", f"{size.sram:,} B", f"of {limits.sram:,} B"),
    ]
    table(f"{built.target}, built by {built.toolchain}", ("", "", ""), rows, left=(0, 2))
    for path in (built.elf, *built.images.values()):
        line(f"written to {path}")


def print_library(built: Library) -> None:
    """Where the library is."""
    line(f"built by {built.toolchain}, written to {built.library}")


def print_verification(found: Verification) -> None:
    """What agrees and what does not."""
    line(f"{found.samples:,} samples ({found.split}), {found.layers} layers, {found.bytes:,} bytes compared per sample")
    rows = []
    for name in found.executors:
        share = found.accuracy[name]
        accuracy = "" if share is None else percent(share)
        distances = found.differences.get(name, ())
        rows += [(name, accuracy, *_distance(one)) for one in distances] or [(name, accuracy, "", "", "", "")]
    table("", ("executor", "accuracy", "output", "max steps", "mean", "same class"), rows, left=(0, 2))
    for note in found.notes:
        line(f"note: {note}", "yellow")
    how = f"{found.toolchain}, sanitized" if found.sanitized else found.toolchain
    for executor, mismatches in found.first_mismatches.items():
        for wrong in mismatches:
            line(f"mismatch on the {executor}: {mismatch_text(wrong)}", "red")
    host = f"the C (built by {how}, {found.samples:,} samples)"
    board = f" and the board ({found.image}, {found.board_samples:,} samples)" if found.board_samples else ""
    if found.mismatches:
        line(f"{found.mismatches:,} mismatches between {host}{board} and the reference", "red")
    else:
        verb = "equal" if board else "equals"
        line(f"0 mismatches: {host}{board} {verb} the reference in every byte", "green")


def _distance(found: Difference) -> tuple[str, str, str, str]:
    """An output, its largest and mean error in steps of its format, and how often the largest score is the same one."""
    return found.value, f"{found.largest_steps:,.2f}", f"{found.mean_steps:,.3f}", percent(found.agreement)


def mismatch_text(wrong: Mismatch) -> str:
    """Where two executors part."""
    return (
        f"value {wrong.value}, sample {wrong.sample}, element {wrong.element}: expected {wrong.expected}, "
        f"found {wrong.found} ({wrong.count:,} elements of this value differ)"
    )

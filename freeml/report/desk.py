"""What is said about boards on the desk: flashing them, and what they answer."""

from __future__ import annotations

from typing import TYPE_CHECKING

from freeml.report.terminal import line, mismatch_text

if TYPE_CHECKING:
    from freeml.device import DeviceRun
    from freeml.flashing import Flash


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

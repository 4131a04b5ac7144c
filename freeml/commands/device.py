"""`freeml device`: a real board's self-test program, asked and compared."""

from __future__ import annotations

from pathlib import Path

import click

from freeml.commands.options import PATH, folder_argument, json_option


@click.command("device")
@folder_argument
@click.option(
    "--port",
    required=True,
    help="The board's console: /dev/ttyACM1, COM4; - for text on standard input; sim for the simulated board.",
)
@click.option(
    "--input",
    "inputs",
    type=PATH,
    help="Samples to run as well: .npy, or .npz with one array for each input; real numbers as the model takes them.",
)
@click.option("--baud", type=click.IntRange(min=1), help="Speed of a serial port.  [default: the board's]")
@click.option(
    "--timeout",
    type=click.FloatRange(min=0, min_open=True),
    default=5.0,
    show_default=True,
    help="Seconds the board may stay silent, beyond the time of an inference.",
)
@json_option
@click.pass_context
def device_command(
    ctx: click.Context, folder: Path, port: str, inputs: Path | None, baud: int | None, timeout: float, as_json: bool
) -> None:
    """Run DIR, a folder that freeml compile wrote and freeml flash flashed, on the board at a port.

    The board runs its test vectors again, and the samples of --input, and every byte it answers must equal the integer
    reference's. The exit status is 1 when one differs. A console that only speaks (the Apollo4's trace port, or
    --port -) is listened to: reset the board to hear its report.

    \b
    Example:
      freeml device lenet5-msp430 --port /dev/ttyACM1 --input digits.npy
    """
    from freeml.device import run_device
    from freeml.report import boards, terminal

    found = run_device(folder, port=port, inputs=inputs, baud=baud, timeout_s=timeout)
    terminal.print_json(found.as_dict()) if as_json else boards.print_device(found)
    if not found.equal:
        ctx.exit(1)

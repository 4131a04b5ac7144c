"""The command line: parse, call, print, and turn every error into an exit status. Commands are in `freeml.commands`.

Exit status: 0 done; 1 `verify` found the C to disagree with the reference; 2 wrong usage or bad input; 70 an error of
freeml's own; 130 interrupted; 141 whoever read the output has gone. Nothing heavy is imported before a command runs.

With `--json` standard output holds exactly one object. An error is `{"error": message, "kind": class}`, with `problems`
where a model is not supported and `fits`, `bytes`, `limits` and `overflow` where it does not fit; the message goes to
standard error as well.
"""

from __future__ import annotations

import json
import os
import sys
import traceback
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import click

from freeml.commands.build import build_command
from freeml.commands.compile import compile_command
from freeml.commands.device import device_command
from freeml.commands.exits import exits_command
from freeml.commands.explore import explore_command
from freeml.commands.flash import flash_command
from freeml.commands.inspect import inspect_command
from freeml.commands.power import power_command
from freeml.commands.profile import profile_command
from freeml.commands.run import run_command
from freeml.commands.verify import verify_command
from freeml.errors import FreemlError
from freeml.version import VERSION

USAGE, INTERNAL, INTERRUPTED, BROKEN_PIPE = 2, 70, 130, 141
TRACEBACK = "FREEML_TRACEBACK"


class Group(click.Group):
    """Maps errors to exit statuses, in one place for all commands."""

    def main(
        self,
        args: Sequence[str] | None = None,
        prog_name: str | None = None,
        complete_var: str | None = None,
        standalone_mode: bool = True,
        **extra: Any,  # noqa: ANN401
    ) -> Any:  # noqa: ANN401
        """Run a command line and exit, or return where `standalone_mode` is off."""
        arguments = list(sys.argv[1:] if args is None else args)

        def call() -> object:
            run = super(Group, self).main
            return run(arguments, prog_name, complete_var, standalone_mode=False, **extra)

        if not standalone_mode:
            return call()
        sys.exit(exit_status(call, as_json="--json" in arguments))

    def invoke(self, ctx: click.Context) -> Any:  # noqa: ANN401 - click's own signature
        """Run the command; a reader that went away is noticed here, before click makes an exit status of it."""
        try:
            return super().invoke(ctx)
        except BrokenPipeError:
            _forget_output()
            ctx.exit(BROKEN_PIPE)


def exit_status(call: Callable[[], object], *, as_json: bool) -> int:
    """Call, show whatever goes wrong, and return the exit status of the process."""
    if sys.stdout is None:  # started with standard output closed
        _forget_output()
    try:
        status = call()
        sys.stdout.flush()
        return status if isinstance(status, int) else 0
    except click.ClickException as error:
        error.show()
        return _fail(error.format_message(), "UsageError", error.exit_code, as_json=as_json, show=False)
    except FreemlError as error:
        return _fail(str(error), type(error).__name__, error.exit_code, as_json=as_json, details=error.details)
    except (click.Abort, KeyboardInterrupt) as error:
        how = str(error.__cause__ or error)  # click hides what was interrupted behind an Abort of its own
        return _fail(f"interrupted: {how}" if how else "interrupted", "Interrupted", INTERRUPTED, as_json=as_json)
    except BrokenPipeError:
        _forget_output()
        return BROKEN_PIPE
    except OSError as error:  # a full disk, say: nothing that freeml could mend
        return _fail(f"the system refused: {error}", "OSError", USAGE, as_json=as_json)
    except Exception as error:  # the last resort: nobody should have to read a traceback
        hint = "" if os.environ.get(TRACEBACK) else f"; {TRACEBACK}=1 shows where"
        text = f"{type(error).__name__}: {error}\nThis is a fault of freeml: please report it with the model{hint}."
        return _fail(text, "InternalError", INTERNAL, as_json=as_json)


def _fail(
    message: str, kind: str, status: int, *, as_json: bool, show: bool = True, details: Mapping[str, object] = {}
) -> int:
    """Show an error in words, and as JSON where that was asked for. Called while the exception is handled."""
    if os.environ.get(TRACEBACK):
        traceback.print_exc()
    if show:
        click.echo(f"error: {message}", err=True)
    document: dict[str, object] = {"error": message, "kind": kind, **details}
    try:
        if as_json:
            print(json.dumps(document, indent=2))
        sys.stdout.flush()
    except OSError:  # nobody can read it: the exit status and standard error have to do
        _forget_output()
    return status


def _forget_output() -> None:
    """Let what is still buffered for a closed pipe go nowhere: the interpreter flushes once more when it ends."""
    sys.stdout = open(os.devnull, "w")  # noqa: PTH123, SIM115 - lives as long as the process


@click.group(cls=Group, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(VERSION, prog_name="freeml")
def main() -> None:
    """Compile trained neural networks to exact fixed-point C for batteryless microcontrollers.

    \b
    freeml inspect model.onnx                      what is in it, would it fit
    freeml compile model.onnx --data data.npz      a folder of C, sizes and accuracy
    freeml verify model-msp430 --data data.npz     every byte against the reference
    freeml profile model-msp430                    cycles and energy of every layer

    Each command explains itself: freeml compile --help.
    """
    for stream in (sys.stdout, sys.stderr):  # a name the terminal cannot show is no reason to fail
        reconfigure = getattr(stream, "reconfigure", None)
        if reconfigure is not None:
            reconfigure(errors="backslashreplace")


COMMANDS = (
    inspect_command, compile_command, explore_command, exits_command, build_command, verify_command, run_command,
    profile_command, power_command, flash_command, device_command,
)  # fmt: skip
for command in COMMANDS:
    main.add_command(command)


if __name__ == "__main__":
    main()

"""The command line as a process: exit statuses, streams, signals, closed pipes, and what is imported when."""

from __future__ import annotations

import json
import os
import pty
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from command_line import Compiled
from small_models import snapshot

HEAVY = {"numpy", "onnx", "onnxruntime", "torch", "rich", "jinja2", "elftools", "google", "hypothesis"}
NEVER = {"optuna", "filelock", "onnxruntime", "torch", "hypothesis"}

PATCHED = """
import sys
import freeml.{module} as module
def replacement(*arguments, **options):
    {body}
module.{function} = replacement
from freeml.cli import main
main(sys.argv[1:])
"""


def freeml(*arguments: object, **environment: str) -> subprocess.CompletedProcess[str]:
    """`freeml ARGUMENTS` as a process."""
    command = [sys.executable, "-m", "freeml", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, env={**os.environ, **environment}, timeout=120)


def patched(module: str, function: str, body: str) -> list[str]:
    """A command that runs freeml with one of its functions replaced."""
    return [sys.executable, "-c", PATCHED.format(module=module, function=function, body=body)]


def modules_after(code: str) -> set[str]:
    """Top-level modules that a fresh interpreter holds after `code`."""
    code = f"{code}\nimport sys\nprint(*{{name.split('.')[0] for name in sys.modules}})"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    return set(done.stdout.splitlines()[-1].split())


def test_version() -> None:
    from freeml import __version__

    done = freeml("--version")
    assert (done.returncode, done.stdout.strip()) == (0, f"freeml, version {__version__}")


def test_help_names_every_command() -> None:
    done = freeml("--help")
    assert done.returncode == 0
    for command in ("inspect", "compile", "explore", "build", "verify", "run", "profile", "power", "flash", "device"):
        assert f"  {command} " in done.stdout


def test_help_and_import_load_nothing_heavy() -> None:
    assert not modules_after("import freeml") & HEAVY
    assert not modules_after("from freeml.cli import main\nmain(['--help'], standalone_mode=False)") & HEAVY
    assert not modules_after("from freeml.cli import main\nmain(['compile', '--help'], standalone_mode=False)") & HEAVY


def test_compile_never_loads_what_only_training_and_verifying_need(original: Compiled, tmp_path: Path) -> None:
    arguments = ["compile", str(original.model), "--out", str(tmp_path / "out")]
    loaded = modules_after(f"from freeml.cli import main\nmain({arguments!r}, standalone_mode=False)")
    assert "onnx" in loaded
    assert not loaded & NEVER


def test_json_is_all_there_is_on_standard_output(original: Compiled, tmp_path: Path) -> None:
    done = freeml("inspect", original.model, "--json")
    assert (done.returncode, done.stderr) == (0, "")
    assert json.loads(done.stdout)["supported"] is True
    failed = freeml("inspect", tmp_path / "absent.onnx", "--json")
    assert failed.returncode == 2
    assert json.loads(failed.stdout)["kind"] == "ModelFileError"
    assert failed.stderr.startswith("error: ")


def test_own_faults_ask_to_be_reported(original: Compiled) -> None:
    command = [*patched("inspection", "inspect_model", "return 1 // 0"), "inspect", str(original.model), "--json"]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 70
    assert json.loads(done.stdout)["kind"] == "InternalError"
    assert "ZeroDivisionError" in done.stderr
    assert "FREEML_TRACEBACK=1" in done.stderr
    assert "Traceback" not in done.stderr
    shown = subprocess.run(command, capture_output=True, text=True, env={**os.environ, "FREEML_TRACEBACK": "1"})
    assert shown.returncode == 70
    assert "Traceback" in shown.stderr
    assert "in replacement" in shown.stderr


def test_traceback_of_a_user_error_on_request(tmp_path: Path) -> None:
    assert "Traceback" not in freeml("inspect", tmp_path / "absent.onnx").stderr
    assert "Traceback" in freeml("inspect", tmp_path / "absent.onnx", FREEML_TRACEBACK="1").stderr


@pytest.mark.parametrize("step", ["build_to_fit"])
def test_interrupt(compiled: Compiled, step: str) -> None:
    """Control-C in the middle of a compile: a short word, exit status 130, the earlier output as it was."""
    wait = "print('ready', file=sys.stderr, flush=True); import time; time.sleep(60)"
    before, beside = snapshot(compiled.folder), sorted(compiled.folder.parent.iterdir())
    arguments = ["compile", str(compiled.model), "--out", str(compiled.folder)]
    process = subprocess.Popen(
        [*patched("intermittent", step, wait), *arguments], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert process.stderr is not None
    assert process.stderr.readline() == "ready\n"
    process.send_signal(signal.SIGINT)
    output, errors = process.communicate(timeout=60)
    assert process.returncode == 130
    assert (output, errors.strip()) == ("", "error: interrupted")
    assert snapshot(compiled.folder) == before
    assert sorted(compiled.folder.parent.iterdir()) == beside


@pytest.mark.parametrize("form", [["--json"], []])
def test_reader_that_goes_away(original: Compiled, form: list[str]) -> None:
    command = [sys.executable, "-m", "freeml", "inspect", str(original.model), *form]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stderr is not None
    process.stdout.close()
    assert process.stderr.read() == ""
    assert process.wait(timeout=60) == 141


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="this system has no /dev/full")
def test_full_disk_under_standard_output(original: Compiled) -> None:
    with open("/dev/full", "w") as full:  # noqa: PTH123
        command = [sys.executable, "-m", "freeml", "inspect", str(original.model), "--json"]
        done = subprocess.run(command, stdout=full, stderr=subprocess.PIPE, text=True, timeout=60)
    assert done.returncode == 2
    assert "No space left" in done.stderr
    assert "Traceback" not in done.stderr


def test_progress_is_for_terminals_and_on_standard_error(compiled: Compiled) -> None:
    """On a terminal the steps are shown; standard output holds the JSON object alone."""
    leader, follower = pty.openpty()
    command = [sys.executable, "-m", "freeml", "verify", str(compiled.folder), "--samples", "3", "--json"]
    environment = {**os.environ, "TERM": "xterm", "COLUMNS": "120"}
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=follower, env=environment, text=True)
    os.close(follower)
    shown = b""
    while True:
        try:
            part = os.read(leader, 4096)
        except OSError:  # how Linux says that the other end is closed
            break
        if not part:
            break
        shown += part
    os.close(leader)
    output, _ = process.communicate(timeout=60)
    assert process.returncode == 0
    assert json.loads(output)["samples"] == 3
    assert b"onnxruntime" in shown
    assert b"left" in shown

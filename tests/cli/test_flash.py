"""`freeml flash`, and what `freeml build` leaves for it.

A programmer is a program on PATH that is given a command line in a folder, so that is what stands in for it here: a
shell script that writes down both, what it finds in the folder, and ends as it is told. mspdebug itself is run as well,
where it is installed: it has a simulated chip.
"""

from __future__ import annotations

import json
import os
import shlex
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from command_line import Compiled, refusal, run

from freeml.targets import BOARDS

Tool = Callable[..., Path]

LISTING = ("firmware.elf", "firmware.hex")


@pytest.fixture
def tool(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Tool:
    """Puts a recording programmer on an otherwise empty PATH; returns the file it writes to."""
    folder = tmp_path / "tools"
    folder.mkdir()
    monkeypatch.setenv("PATH", str(folder))

    def install(name: str, *, status: int = 0, says: str = "", sleep: float = 0) -> Path:
        record = tmp_path / f"{name}.txt"
        lines = [
            "#!/bin/sh", f"exec 3>{shlex.quote(str(record))}", "pwd >&3", 'for word in "$@"; do echo "$word" >&3; done',
            *([f"/bin/sleep {sleep}"] if sleep else []), f"printf '%s\\n' {shlex.quote(says)}", f"exit {status}",
        ]  # fmt: skip
        (folder / name).write_text("\n".join(lines) + "\n")
        (folder / name).chmod(0o755)
        return record

    return install


@pytest.fixture(scope="session")
def apollo4(original: Compiled, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("apollo4") / "out"
    assert run("compile", original.model, "--target", "apollo4", "--out", folder).exit_code == 0
    return folder


def recorded(record: Path) -> tuple[Path, list[str]]:
    """Folder and arguments that a programmer was started with."""
    folder, *arguments = record.read_text().splitlines()
    return Path(folder), arguments


def test_build_writes_what_programmers_take(compiled: Compiled, apollo4: Path) -> None:
    built = json.loads(run("build", compiled.folder, "--json").stdout)
    folder = compiled.folder / "build"
    assert built["images"] == {"hex": str(folder / "firmware.hex"), "ti-txt": str(folder / "firmware.txt")}
    assert sorted(p.name for p in folder.iterdir()) == ["firmware.elf", "firmware.hex", "firmware.txt"]
    built = json.loads(run("build", apollo4, "--json").stdout)
    assert set(built["images"]) == {"hex", "bin"}
    for path in built["images"].values():
        assert Path(path).stat().st_size >= built["bytes"]["flash"]


def test_build_prints_every_size(compiled: Compiled) -> None:
    result = run("build", compiled.folder)
    for words in ("text", "data", "bss", "stack", "NV", "flash", "SRAM", "firmware.hex", "firmware.txt"):
        assert words in result.stdout, words


@pytest.mark.skipif(shutil.which("make") is None, reason="make is not installed")
def test_the_makefile_makes_the_firmware_of_the_report(compiled: Compiled) -> None:
    expected = (compiled.folder / "firmware.elf").read_bytes()
    (compiled.folder / "firmware.elf").unlink()
    command = ["make", "--silent", "TOOLCHAIN=zig", f"ZIG={sys.executable} -m ziglang"]
    subprocess.run(command, cwd=compiled.folder, check=True, capture_output=True, timeout=300)
    assert (compiled.folder / "firmware.elf").read_bytes() == expected


def test_mspdebug_is_the_default_for_the_msp430(compiled: Compiled, tool: Tool) -> None:
    record = tool("mspdebug", says="Done, 1234 bytes total")
    done = json.loads(run("flash", compiled.folder, "--json").stdout)
    assert recorded(record) == (compiled.folder / "build", ["tilib", "prog firmware.elf"])
    assert (done["programmer"], done["flashed"], done["output"]) == ("mspdebug", True, "Done, 1234 bytes total\n")
    assert (compiled.folder / "build" / "firmware.elf").read_bytes() == (compiled.folder / "firmware.elf").read_bytes()
    assert run("flash", compiled.folder, "--driver", "ezfet").exit_code == 0
    assert recorded(record)[1] == ["ezfet", "prog firmware.elf"]


def test_dslite_takes_its_configuration_and_ti_txt(compiled: Compiled, tool: Tool, tmp_path: Path) -> None:
    record = tool("dslite.sh")
    config = tmp_path / "MSP430FR5994 LaunchPad.ccxml"
    config.write_text("<configurations/>")
    result = run("flash", compiled.folder, "--programmer", "dslite", "--config", config)
    assert result.exit_code == 0, result.output
    folder, arguments = recorded(record)
    assert arguments == [f"--config={config}", "-e", "-f", "-v", "-u", "firmware.txt"]
    assert (folder / "firmware.txt").is_file()


def test_jlink_is_the_default_for_the_apollo4(apollo4: Path, tool: Tool) -> None:
    record = tool("JLinkExe")
    done = json.loads(run("flash", apollo4, "--json").stdout)
    folder, arguments = recorded(record)
    assert " ".join(arguments[-8:]) == "-if SWD -speed 4000 -autoconnect 1 -CommandFile firmware.jlink"
    assert arguments[arguments.index("-device") + 1] == "AMAP42KK-KBR"
    assert (folder / "firmware.jlink").read_text() == done["script"] == "r\nh\nloadfile firmware.hex\nr\ng\nexit\n"
    assert (folder / "firmware.hex").is_file()


def test_openocd_takes_a_script_that_knows_the_flash(apollo4: Path, tool: Tool, tmp_path: Path) -> None:
    assert "no driver" in refusal("flash", apollo4, "--programmer", "openocd", kind="FlashError")
    record = tool("openocd")
    config = tmp_path / "board.cfg"
    config.write_text("")
    assert run("flash", apollo4, "--programmer", "openocd", "--config", config).exit_code == 0
    assert recorded(record)[1] == ["-f", str(config), "-c", "program firmware.hex verify reset exit"]


@pytest.mark.parametrize("target", BOARDS)
def test_a_dry_run_prints_a_command_that_a_shell_takes(
    compiled: Compiled, apollo4: Path, tool: Tool, target: str, tmp_path: Path
) -> None:
    folder = tmp_path / "it's here; a folder"
    shutil.copytree({"msp430": compiled.folder, "apollo4": apollo4}[target], folder)
    result = run("flash", folder, "--dry-run")
    assert result.exit_code == 0, "the tool need not be installed"
    command = next(line for line in result.stdout.splitlines() if line.startswith("("))
    if target == "apollo4":
        assert "  loadfile firmware.hex\n" in result.stdout
    board = BOARDS[target]
    record = tool(board.programmers[0].programs[0])
    assert not record.exists()
    subprocess.run(["/bin/sh", "-c", command], check=True, cwd="/", timeout=60)
    place, arguments = recorded(record)
    assert place == folder / "build"
    for word in arguments:
        for name in LISTING:
            assert name not in word or (place / name).is_file()
    assert json.loads(run("flash", folder, "--dry-run", "--json").stdout)["flashed"] is False


def test_the_firmware_of_the_last_build_is_flashed(compiled: Compiled, tool: Tool) -> None:
    path = os.environ["PATH"]
    tool("mspdebug")
    built = compiled.folder / "build" / "firmware.elf"
    assert run("build", compiled.folder, "--toolchain", "zig").exit_code == 0, path
    stamp = built.stat().st_mtime_ns
    (compiled.folder / "firmware.elf").unlink()
    assert run("flash", compiled.folder).exit_code == 0
    assert built.stat().st_mtime_ns == stamp


def test_a_missing_tool(compiled: Compiled, tool: Tool) -> None:
    message = refusal("flash", compiled.folder, kind="FlashError")
    assert "mspdebug was not found: looked for mspdebug on PATH; install it" in message


def test_a_tool_that_fails_is_quoted(compiled: Compiled, tool: Tool) -> None:
    tool("mspdebug", status=255, says="tilib: can't find a FET")
    message = refusal("flash", compiled.folder, kind="FlashError")
    assert "exit status 255" in message
    assert "mspdebug tilib 'prog firmware.elf'" in message
    assert "USB" in message
    assert "\n  tilib: can't find a FET" in message


def test_a_tool_that_fails_with_status_zero(apollo4: Path, tool: Tool) -> None:
    """J-Link Commander does where it finds no probe."""
    tool("JLinkExe", says="Connecting to J-Link via USB...FAILED: Cannot connect to J-Link.")
    message = refusal("flash", apollo4, kind="FlashError")
    assert "it says 'Cannot connect'" in message
    assert "\n  Connecting to J-Link via USB" in message


def test_a_tool_that_hangs(compiled: Compiled, tool: Tool) -> None:
    tool("mspdebug", sleep=30)
    message = refusal("flash", compiled.folder, "--timeout", "0.3", kind="FlashError")
    assert "did not finish within 0.3 seconds" in message


def test_a_tool_that_cannot_be_started(compiled: Compiled, tool: Tool) -> None:
    path = tool("mspdebug").with_name("tools") / "mspdebug"
    path.write_bytes(b"\x7fELF no program")
    assert "mspdebug cannot be started" in refusal("flash", compiled.folder, kind="FlashError")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--programmer", "jlink"], "it is for Ambiq Apollo4; use --programmer mspdebug or dslite"),
        (["--programmer", "openocd"], "it is for Ambiq Apollo4"),
        (["--programmer", "dslite"], "dslite needs --config FILE: the board's .ccxml file"),
        (["--programmer", "dslite", "--config", "nowhere.ccxml"], "nowhere.ccxml: expected a configuration file"),
        (["--programmer", "dslite", "--config", __file__, "--driver", "tilib"], "no choice of drivers"),
        (["--config", __file__], "mspdebug takes no configuration file"),
    ],
)
def test_programmers_and_options_that_do_not_go_together(
    compiled: Compiled, tool: Tool, arguments: list[str], words: str
) -> None:
    tool("mspdebug")
    assert words in refusal("flash", compiled.folder, *arguments, "--dry-run", kind="FlashError")


def test_mspdebug_cannot_flash_the_apollo4(apollo4: Path) -> None:
    message = refusal("flash", apollo4, "--programmer", "mspdebug", kind="FlashError")
    assert "it is for TI MSP430FR5994; use --programmer jlink or openocd" in message


def test_what_is_no_firmware_is_not_flashed(compiled: Compiled, apollo4: Path, tool: Tool) -> None:
    record = tool("mspdebug")
    elf = compiled.folder / "firmware.elf"
    whole = elf.read_bytes()
    elf.write_bytes(whole[:5000])
    refusal("flash", compiled.folder, kind="ImageError")
    shutil.copy(apollo4 / "firmware.elf", elf)
    assert "found one for Ambiq Apollo4" in refusal("flash", compiled.folder, kind="ImageError")
    elf.unlink()
    assert "run freeml build" in refusal("flash", compiled.folder, kind="ArtifactError")
    assert not record.exists()
    assert not (compiled.folder / "build" / "firmware.elf").exists()


@pytest.mark.skipif(shutil.which("mspdebug") is None, reason="mspdebug is not installed")
def test_mspdebug_flashes_its_simulated_chip(compiled: Compiled) -> None:
    result = run("flash", compiled.folder, "--driver", "sim")
    assert result.exit_code == 0, result.output
    message = refusal("flash", compiled.folder, "--driver", "nonesuch", kind="FlashError")
    assert "Unknown driver: nonesuch" in message

"""The options that describe the supply, and `freeml power`: what they print, and what they refuse."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from command_line import Compiled, refusal, run
from onnx import TensorProto, helper
from small_models import save

POWER_KEYS = {"budget_cycles", "largest_region_cycles", "regions", "boots_per_inference", "min_capacitor_uf"}
RUN_KEYS = {"mode", "on", "cuts", "failures", "boots_max", "wall_s", "replay"}


def compile_with(compiled: Compiled, out: Path, *options: object) -> dict[str, object]:
    result = run("compile", compiled.model, "--out", out, *options, "--json")
    assert result.exit_code == 0, result.output
    power = json.loads(result.stdout)["power"]
    assert power.keys() >= POWER_KEYS
    assert json.loads((out / "report.json").read_text())["power"] == power
    return dict(power)


def test_a_smaller_budget_makes_more_regions(compiled: Compiled, tmp_path: Path) -> None:
    found = [
        compile_with(compiled, tmp_path / "out", "--capacitor", capacitor, "--v-on", 2.8, "--v-off", 2.0)
        for capacitor in ("1mF", "6uF", "4uF")
    ]
    assert [power["capacitor_uf"] for power in found] == [1000, 6, 4]
    assert found[0]["regions"] < found[1]["regions"] <= found[2]["regions"]
    assert 1 == found[0]["boots_per_inference"] < found[1]["boots_per_inference"] < found[2]["boots_per_inference"]
    for power in found:
        assert power["largest_region_cycles"] + power["boot_cycles"] <= power["budget_cycles"]
        assert (
            power["largest_region_uj"]
            < power["budget_uj"]
            == pytest.approx(0.5 * power["capacitor_uf"] * (2.8**2 - 2.0**2), rel=1e-4)
        )


def test_budgets_without_a_capacitor(compiled: Compiled, tmp_path: Path) -> None:
    energy = compile_with(compiled, tmp_path / "a", "--budget-energy", "20uJ")
    assert (energy["capacitor_uf"], energy["budget_uj"]) == (None, 20)
    cycles = compile_with(compiled, tmp_path / "b", "--budget-cycles", 20_000)
    assert (cycles["capacitor_uf"], cycles["budget_uj"], cycles["budget_cycles"]) == (None, None, 20_000)
    assert cycles["largest_region_cycles"] + cycles["boot_cycles"] <= 20_000


def test_the_table(compiled: Compiled, tmp_path: Path) -> None:
    shown = run("compile", compiled.model, "--out", tmp_path / "out", "--capacitor", "10uF").stdout
    for word in ("power: 10 uF from 3 V to 1.9 V", "a boot pays for", "largest region", "boots per inference",
                 "smallest capacitor", "estimates"):  # fmt: skip
        assert word in shown


@pytest.mark.parametrize(
    ("options", "kind", "expected"),
    [
        (("--capacitor", "100"), "FreemlError", "--capacitor: expected a positive number with its unit, as in 100uF"),
        (("--capacitor", "-1uF"), "FreemlError", "--capacitor: expected a positive number"),
        (("--budget-energy", "5uF"), "FreemlError", "--budget-energy: expected a positive number with its unit"),
        (("--v-on", "1.5"), "FreemlError", "--v-on, --v-off: expected that a boot begins at a higher voltage"),
        (("--capacitor", "1uF", "--budget-cycles", "9"), "FreemlError", "expected one of them"),
        (("--budget-cycles", "2500"), "RegionError", "allow --budget-cycles"),
        (("--capacitor", "100nF"), "RegionError", "it takes a capacitor of"),
        (("--budget-energy", "100nJ"), "RegionError", "allow --budget-energy"),
    ],
)
def test_supplies_that_are_none(
    compiled: Compiled, tmp_path: Path, options: tuple[str, ...], kind: str, expected: str
) -> None:
    message = refusal("compile", compiled.model, "--out", tmp_path / "out", *options, kind=kind)
    assert expected in message
    assert "layer" in message or kind == "FreemlError"
    assert not (tmp_path / "out").exists()


def test_the_capture_of_a_large_input_must_fit(tmp_path: Path) -> None:
    """A budget that pays for every region and not for the input would never begin."""
    values = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [1, 4_000]) for name in ("x", "y")]
    graph = helper.make_graph([helper.make_node("Relu", ["x"], ["y"], name="op")], "flat", values[:1], values[1:])
    opset = [helper.make_opsetid("", 17)]
    model = save(helper.make_model(graph, opset_imports=opset, ir_version=8), tmp_path / "flat.onnx")
    message = refusal("compile", model, "--out", tmp_path / "out", "--budget-cycles", 15_000, kind="RegionError")
    assert "the capture of the input" in message
    enough = message.split("--budget-cycles ")[1].split(",")[0]
    assert run("compile", model, "--out", tmp_path / "out", "--budget-cycles", enough).exit_code == 0
    assert run("power", tmp_path / "out", "--mode", "linear", "--jobs", 1).exit_code == 0


def test_another_compiler_must_keep_the_budget(compiled: Compiled, tmp_path: Path) -> None:
    out = tmp_path / "out"
    compile_with(compiled, out, "--budget-cycles", 30_000)
    path = out / "report.json"
    report = json.loads(path.read_text())
    report["toolchain"] = "another"
    report["power"]["budget_cycles"] = report["power"]["largest_region_cycles"] + report["power"]["boot_cycles"]
    path.write_text(json.dumps(report))
    assert run("build", out).exit_code == 0  # the very same code just fits
    report["power"]["budget_cycles"] -= 1
    report["power"]["largest_region_cycles"] = 1
    path.write_text(json.dumps(report))
    assert "compile the model with --toolchain" in refusal("build", out, kind="RegionError")


@pytest.mark.parametrize("volts", ["nan", "inf", "-1", "1e300"])
def test_voltages_that_are_none(compiled: Compiled, tmp_path: Path, volts: str) -> None:
    refusal("compile", compiled.model, "--out", tmp_path / "out", f"--v-on={volts}", kind="FreemlError")


def test_what_an_error_says_would_do_does(compiled: Compiled, tmp_path: Path) -> None:
    """First for the regions, which are planned, then for the input, whose capture is measured when they are built."""
    enough = "2500"
    for named in ("layer conv", "the capture of the input"):
        budget = ("--budget-cycles", enough)
        message = refusal("compile", compiled.model, "--out", tmp_path / "out", *budget, kind="RegionError")
        assert named in message
        enough = message.split("--budget-cycles ")[1].split(",")[0]
    assert compile_with(compiled, tmp_path / "out", "--budget-cycles", enough)["boots_per_inference"]
    assert run("power", tmp_path / "out", "--mode", "linear", "--jobs", 1).exit_code == 0


@pytest.mark.parametrize("on", ["host", "board"])
@pytest.mark.parametrize("mode", ["linear", "exhaustive", "depth2"])
def test_no_cut_makes_a_difference(compiled: Compiled, tmp_path: Path, on: str, mode: str) -> None:
    out = tmp_path / "out"
    compile_with(compiled, out, "--capacitor", "4uF")
    result = run("power", out, "--mode", mode, "--on", on, "--limit", 300, "--jobs", 1, "--json")
    assert result.exit_code == 0, result.output
    found = json.loads(result.stdout)
    assert found.keys() >= RUN_KEYS
    assert (found["mode"], found["on"], found["failures"], found["replay"]) == (mode, on, 0, None)
    assert found["cuts"] > 0
    assert found["boots_max"] >= 2


@pytest.mark.parametrize("on", ["host", "board"])
def test_replay(compiled: Compiled, on: str) -> None:
    result = run("power", compiled.folder, "--mode", "replay=3,1", "--on", on, "--json")
    assert result.exit_code == 0, result.output
    assert json.loads(result.stdout)["boots_max"] == 3


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (("--mode", "sometimes"), "--mode: expected linear, exhaustive, depth2 or replay=STRING, found 'sometimes'"),
        (("--mode", "replay=1,x"), "expected numbers like 12,0,7, found '1,x'"),
        (("--mode", "replay="), "--mode: expected"),
        (("--mode", "replay=\u00b2"), "expected numbers like 12,0,7"),
        (("--mode", "replay=9999999999999999"), "expected numbers like 12,0,7"),
        (("--mode", "linear", "--every-instruction"), "--every-instruction: expected --mode exhaustive --on board"),
    ],
)
def test_modes_that_are_none(compiled: Compiled, arguments: tuple[str, ...], expected: str) -> None:
    kind = "ReplayError" if "numbers" in expected else "FreemlError"
    assert expected in refusal("power", compiled.folder, *arguments, kind=kind)


def test_folders_that_are_none(tmp_path: Path) -> None:
    refusal("power", tmp_path, kind="ArtifactError")


@pytest.mark.parametrize("on", ["host", "board"])
def test_a_runtime_that_does_not_survive(compiled: Compiled, on: str) -> None:
    """Commit before the work is kept: found, told with a string that finds it again, exit status 1."""
    path = compiled.folder / "runtime" / "fm_run.c"
    text = path.read_text()
    work = "    layer->run(first, end);\n    keep_units(layer, first, end);\n"
    store = "    commit(result_bits() | (cursor() + 1U));\n"
    assert work + store in text
    path.write_text(text.replace(work + store, store + work))
    assert run("build", compiled.folder).exit_code == 0
    result = run("power", compiled.folder, "--on", on, "--jobs", 1, "--json")
    assert result.exit_code == 1, result.output
    found = json.loads(result.stdout)
    assert found["failures"] > 0
    again = run("power", compiled.folder, "--on", on, "--mode", f"replay={found['replay']}")
    assert again.exit_code == 1
    assert "replay" in again.stdout

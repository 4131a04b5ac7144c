"""What the commands print and write."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from command_line import Compiled, run
from onnx import helper
from small_models import model, nodes, save, small, snapshot, too_large, weights

COMPILE_KEYS = {"target", "params", "macs", "accuracy", "bytes", "limits", "fits"}
VERIFY_KEYS = {"samples", "layers", "executors", "mismatches", "accuracy"}
PARAMS = 3 * 9 + 3 + 4 * 48 + 4
MACS = 3 * 9 * 64 + 4 * 48


def test_compile_prints_the_report_as_json(original: Compiled) -> None:
    printed = original.printed
    assert printed.keys() >= COMPILE_KEYS
    assert printed["accuracy"].keys() >= {"float", "quantized", "samples", "split"}
    assert printed["bytes"].keys() >= {"weights", "code", "flash", "sram", "nv"}
    assert printed["limits"].keys() >= {"flash", "sram"}
    assert (printed["target"], printed["params"], printed["macs"], printed["fits"]) == ("msp430", PARAMS, MACS, True)
    assert (printed["accuracy"]["samples"], printed["accuracy"]["split"]) == (20, "test")
    assert 0 < printed["bytes"]["weights"] < printed["bytes"]["flash"] < printed["limits"]["flash"]
    written = json.loads((original.folder / "report.json").read_text())
    assert {**written, "folder": str(original.folder)} == printed


def test_compile_writes_a_folder_that_explains_itself(original: Compiled) -> None:
    files = snapshot(original.folder)
    assert files.keys() >= {
        "model.c", "model.h", "weights.c", "weights.h", "vectors.c", "vectors.h", "Makefile", "report.json",
        "model.qdq.onnx", "firmware.elf", "runtime/fm_math.h", "host/main.c", "device/main.c", "board/board.c",
    }  # fmt: skip
    assert not [p for p in original.folder.parent.iterdir() if p.name.startswith(".")]


def test_default_folder_is_named_after_model_and_target(
    tmp_path: Path, original: Compiled, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In an empty folder, without data: the accuracy is said to be unverified, in words and in the report."""
    monkeypatch.chdir(tmp_path)
    result = run("compile", original.model)
    assert result.exit_code == 0, result.output
    assert "unverified" in result.stdout
    assert [p.name for p in tmp_path.iterdir()] == ["small-msp430"]
    report = json.loads((tmp_path / "small-msp430" / "report.json").read_text())
    assert report["accuracy"]["float"] is None
    assert report["accuracy"]["quantized"] is None
    assert "unverified" in report["notes"][0]


def test_inspect(original: Compiled) -> None:
    found = json.loads(run("inspect", original.model, "--json").stdout)
    assert found["supported"] is True
    assert found["problems"] == []
    assert found["operators"] == {"Conv": 1, "Flatten": 1, "Gemm": 1, "MaxPool": 1, "Relu": 1}
    assert (found["params"], found["macs"]) == (PARAMS, MACS)
    shapes = {node["name"]: node["shapes"] for node in found["nodes"]}
    assert shapes == {
        "conv": [[1, 3, 8, 8]], "relu": [[1, 3, 8, 8]], "pool": [[1, 3, 4, 4]], "flatten": [[1, 48]],
        "dense": [[1, 4]],
    }  # fmt: skip
    assert {node["name"]: (node["macs"], node["params"]) for node in found["nodes"] if node["macs"]} == {
        "conv": (1728, 30),
        "dense": (192, 196),
    }
    assert found["estimates"].keys() == {"msp430", "apollo4"}


def test_estimate_is_what_the_compile_finds(original: Compiled) -> None:
    estimate = json.loads(run("inspect", original.model, "--target", "msp430", "--json").stdout)["estimates"]["msp430"]
    assert estimate["fits"] is True
    # The linker may align each of the constant arrays to a word.
    assert 0 <= original.printed["bytes"]["weights"] - estimate["weights"] <= 16
    assert estimate["arena"] == original.printed["arena"]["bytes"]
    assert estimate["scratch"] == original.printed["bytes"]["scratch"]


def test_inspect_says_what_does_not_fit_and_calls_it_an_estimate(tmp_path: Path) -> None:
    path = save(too_large(), tmp_path / "large.onnx")
    estimates = json.loads(run("inspect", path, "--json").stdout)["estimates"]
    assert (estimates["msp430"]["fits"], estimates["apollo4"]["fits"]) == (False, True)
    assert "bytes of" in estimates["msp430"]["reason"]
    shown = run("inspect", path).stdout
    assert "estimate" in shown
    assert f"msp430: {estimates['msp430']['reason']}" in shown


def test_inspect_lists_every_problem_and_succeeds(tmp_path: Path) -> None:
    chain = nodes()
    chain[1] = helper.make_node("Erf", ["c"], ["r"], name="first")
    chain.append(helper.make_node("Det", ["image"], ["d"], name="second"))
    path = save(model(chain, weights(), outputs=("logits", "d")), tmp_path / "odd.onnx")
    result = run("inspect", path, "--json")
    assert result.exit_code == 0
    found = json.loads(result.stdout)
    assert found["supported"] is False
    assert found["estimates"] == {}
    unsupported = {node["name"] for node in found["nodes"] if not node["supported"]}
    assert unsupported == {"first", "second"}
    assert [problem for problem in found["problems"] if "first" in problem]
    assert [problem for problem in found["problems"] if "second" in problem]
    assert "NOT SUPPORTED" in run("inspect", path).stdout


def test_brackets_in_names_are_shown_as_they_are(tmp_path: Path) -> None:
    chain = nodes()
    chain[0].name = "[red]conv[/nonsense]"
    result = run("inspect", save(model(chain, weights()), tmp_path / "m.onnx"))
    assert result.exit_code == 0, result.output
    assert "[red]conv[/nonsense]" in result.stdout


def test_hostile_names_and_needless_strides(tmp_path: Path) -> None:
    """Names end up in comments and cannot leave them; a stride beyond the map moves nothing, and fits no `int`."""
    chain = nodes()
    chain[0].name = "*/ #error one /*"
    chain[0].attribute.append(helper.make_attribute("strides", [2**31, 2**40]))
    chain[2] = helper.make_node("MaxPool", ["r"], ["p"], name="pool??/", kernel_shape=[1, 1], dilations=[2**33, 1])
    chain[4].name = "line\nbreak \\"
    constants = weights()
    constants["dense.weight"] = constants["dense.weight"][:, :3]
    proto = model(chain, constants, outputs=("*\\ #error two",))
    proto.graph.node[4].output[0] = "*\\ #error two"
    proto.graph.name = "*/ #error three /* 名"
    path = save(proto, tmp_path / "m.onnx")
    compiled = run("compile", path, "--out", tmp_path / "out", "--json")
    assert compiled.exit_code == 0, compiled.output
    verified = run("verify", tmp_path / "out", "--json")
    assert json.loads(verified.stdout)["mismatches"] == 0


def test_build_measures_the_same_bytes(compiled: Compiled) -> None:
    result = run("build", compiled.folder, "--json")
    assert result.exit_code == 0, result.output
    built = json.loads(result.stdout)
    assert built["bytes"] == compiled.printed["bytes"]
    assert built["limits"] == compiled.printed["limits"]
    assert (built["target"], built["toolchain"], built["fits"]) == ("msp430", compiled.printed["toolchain"], True)
    assert (compiled.folder / "build" / "firmware.elf").read_bytes() == (compiled.folder / "firmware.elf").read_bytes()


def test_build_for_the_host(compiled: Compiled) -> None:
    result = run("build", compiled.folder, "--host")
    assert result.exit_code == 0, result.output
    assert (compiled.folder / "build" / "model.so").is_file()


def test_verify_on_data(compiled: Compiled) -> None:
    result = run("verify", compiled.folder, "--data", compiled.data, "--model", compiled.model, "--json")
    assert result.exit_code == 0, result.output
    found = json.loads(result.stdout)
    assert found.keys() >= VERIFY_KEYS
    assert (found["samples"], found["layers"], found["mismatches"]) == (20, 2, 0)
    assert found["executors"] == ["reference", "host", "board", "onnxruntime_quantized", "onnxruntime_float"]
    assert found["accuracy"]["reference"] == compiled.printed["accuracy"]["quantized"]
    assert found["accuracy"]["host"] == compiled.printed["accuracy"]["quantized"]
    assert found["accuracy"]["onnxruntime_float"] == compiled.printed["accuracy"]["float"]
    assert found["differences"]["onnxruntime_quantized"][0]["largest_steps"] <= 2.0


def test_verify_on_random_samples(compiled: Compiled) -> None:
    found = json.loads(run("verify", compiled.folder, "--json").stdout)
    assert (found["samples"], found["split"], found["mismatches"]) == (100, "random", 0)
    assert set(found["accuracy"].values()) == {None}
    again = json.loads(run("verify", compiled.folder, "--samples", "7", "--json").stdout)
    assert again["samples"] == 7


def test_verify_under_sanitizers(compiled: Compiled) -> None:
    if shutil.which("gcc") is None and shutil.which("clang") is None:
        pytest.skip("sanitizers need gcc or clang, neither is installed")
    found = json.loads(run("verify", compiled.folder, "--sanitize", "--samples", "5", "--json").stdout)
    assert (found["sanitized"], found["mismatches"]) == (True, 0)


def test_verify_names_the_first_mismatch(compiled: Compiled) -> None:
    """One weight of the C changed: exit status 1, and where the two part."""
    source = compiled.folder / "weights.c"
    text = source.read_text()
    start = text.index("dense_weights[")
    head, rest = text[:start], text[start:]
    body = rest.index("{") + 1
    first = rest[body:].split(",")[0].strip()
    changed = rest[:body] + rest[body:].replace(first, str(-int(first) or 1), 1)
    source.write_text(head + changed)
    result = run("verify", compiled.folder, "--json")
    assert result.exit_code == 1, result.output
    found = json.loads(result.stdout)
    assert found["mismatches"] > 0
    assert found["first_mismatches"]["board"] == []  # the image was built before
    (first_mismatch,) = found["first_mismatches"]["host"]
    assert first_mismatch.keys() == {"value", "sample", "element", "expected", "found", "count"}
    assert (first_mismatch["value"], first_mismatch["element"]) == ("logits", 0)
    assert first_mismatch["expected"] != first_mismatch["found"]
    shown = run("verify", compiled.folder)
    assert shown.exit_code == 1
    assert "value logits, sample" in shown.stdout


def test_verify_without_onnxruntime_says_so(compiled: Compiled, monkeypatch: pytest.MonkeyPatch) -> None:
    import importlib.util

    found_spec = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "onnxruntime" else found_spec(name))
    found = json.loads(run("verify", compiled.folder, "--samples", "3", "--json").stdout)
    assert found["executors"] == ["reference", "host", "board"]
    assert "pip install 'freeml[verify]'" in found["notes"][0]


@pytest.mark.parametrize("command", ["compile", "inspect", "build", "verify"])
def test_help_has_an_example(command: str) -> None:
    result = run(command, "--help")
    assert result.exit_code == 0
    assert "Example:" in result.stdout
    assert f"freeml {command} " in result.stdout


def test_small_model_is_deterministic() -> None:
    assert small().SerializeToString(deterministic=True) == small().SerializeToString(deterministic=True)

"""`freeml compile --exits` and `freeml exits`: what they print, and what they refuse."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from command_line import Compiled, refusal, run

ROOT = Path(__file__).parents[2]
MODEL, DATA = ROOT / "examples" / "models" / "har.onnx", ROOT / "examples" / ".data" / "har.npz"
TWO_HEADS = ROOT / "examples" / "models" / "twohead.onnx"
OPTIONS = ("--exits", "shared:/1/Conv,/5/Conv", "--policy", "entropy+energy", "--max-drop", 3)


def test_what_it_prints(tmp_path: Path) -> None:
    out = tmp_path / "out"
    shown = run("compile", MODEL, "--data", DATA, "--out", out, *OPTIONS)
    assert shown.exit_code == 0, shown.output
    assert "exits of logits, shared" in shown.stdout and "policy entropy + energy" in shown.stdout
    report = json.loads((out / "report.json").read_text())
    assert [row["name"] for row in report["exits"]] == ["exit1", "exit2"]
    assert report["policy"].keys() >= {"name", "threshold", "promised_drop", "achieved_drop", "mean_cycles", "shares"}
    assert sum(report["policy"]["shares"]) == pytest.approx(1)
    found = run("exits", out, "--data", DATA, "--samples", 200, "--points", 4, "--out", tmp_path / "p", "--json")
    assert found.exit_code == 0, found.output
    curves = json.loads(found.stdout)["curves"]
    assert {points[0]["kind"] for points in curves} == {
        "confidence", "entropy", "patience", "label-free", "reliability"
    }  # fmt: skip
    assert all(points[0]["mean_cycles"] >= points[-1]["mean_cycles"] for points in curves)
    table = run("exits", out, "--data", DATA, "--samples", 50, "--points", 2).stdout
    assert "the last row is the rule that was compiled" in table


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        (("--exits", "most"), "expected none, shared, shared:N"),
        (("--exits", "shared:foo"), "'foo'; there are"),
        (("--exits", "shared", "--policy", "luck"), "--policy: expected one of"),
        (("--exits", "shared", "--confidence", 1), "--confidence: expected a probability"),
        (("--exits", "shared", "--max-drop", -1), "--max-drop: expected 0 to 100"),
        (("--exits", "shared", "--exit-bytes", 20), "at most 20 bytes"),
        (("--exits", "shared", "--policy", "none", "--max-drop", 2), "--max-drop: expected a rule to promise"),
        (("--exits", "shared", "--policy", "energy", "--confidence", 0.9), "--confidence: expected a rule to promise"),
        (("--policy", "entropy"), "expected exits to go with, found none"),
        (("--exit-training", "joint"), "expected exits to go with, found none"),
        (("--exits", "shared", "--exit-training", "joint", "--flash", "14KB"), "expected no budget beside it"),
    ],
)
def test_what_it_refuses(tmp_path: Path, options: tuple[object, ...], expected: str) -> None:
    for line in (run("compile", MODEL, "--data", DATA, "--out", tmp_path / "out", *options),):
        assert line.exit_code == 2, line.output
        assert expected in line.output
    assert not (tmp_path / "out").exists()


def test_data_that_exits_need(tmp_path: Path) -> None:
    done = run("compile", MODEL, "--exits", "shared", "--out", tmp_path / "out")
    assert done.exit_code == 2 and "expected labelled data to train the exits with" in done.output
    arrays = dict(np.load(DATA))
    kept = arrays["y_train"] != 3
    arrays |= {"x_train": arrays["x_train"][kept], "y_train": arrays["y_train"][kept]}
    np.savez(tmp_path / "d.npz", **arrays)
    done = run("compile", MODEL, "--data", tmp_path / "d.npz", "--exits", "shared", "--out", tmp_path / "out")
    assert done.exit_code == 2 and "found none of class 3" in done.output
    assert not (tmp_path / "out").exists()


def test_exits_of_another_output(tmp_path: Path) -> None:
    """The second output's labels teach its exits, certify their rule, and are what all accuracies are counted by."""
    arrays = dict(np.load(ROOT / "examples" / ".data" / "mnist5k.npz"))
    for part in ("train", "val", "test"):
        arrays[f"y_{part}_parity"] = arrays[f"y_{part}"] % 2
    data, out = tmp_path / "parity.npz", tmp_path / "out"
    np.savez(data, **arrays)
    options = ("--exits", "shared:node_linear", "--exit-output", "parity", "--json")
    done = run("compile", TWO_HEADS, "--data", data, "--out", out, *options)
    assert done.exit_code == 0, done.output
    report = json.loads(done.stdout)
    assert report["branch"]["output"] == "parity"
    assert report["policy"]["accuracy"] > 0.95 and report["exits"][0]["accuracy"] > 0.95
    found = json.loads(run("exits", out, "--data", data, "--points", 2, "--json").stdout)
    end, policy = found["accuracies"][-1], report["policy"]
    assert end == pytest.approx(policy["accuracy"] + policy["achieved_drop"])
    assert end > report["accuracy"]["quantized"] > 0.9  # digits are harder
    assert found["compiled"]["accuracy"] == pytest.approx(policy["accuracy"])
    assert run("verify", out, "--data", data, "--samples", 20).exit_code == 0
    assert "y_test_parity, found none" in refusal(
        "exits", out, "--data", ROOT / "examples" / ".data" / "mnist5k.npz", kind="DataError"
    )


@pytest.mark.parametrize(
    ("name", "lacking", "expected"),
    [
        ("other", (), "expected one of the outputs digit, parity, found other"),
        ("parity", ("train", "val", "test"), "expected labels of output parity in y_train_parity, found none but"),
        ("parity", ("val",), "expected labels of output parity in y_val_parity, found none but"),
        ("parity", ("test",), "expected labels of output parity in y_test_parity, found none but"),
        ("parity", ("train=7",), "y_train_parity: expected labels 0..1"),
        ("parity", ("val=7",), "y_val_parity: expected labels 0..1"),
        ("parity", ("test=7",), "y_test_parity: expected labels 0..1"),
    ],
)
def test_outputs_that_have_no_exits(tmp_path: Path, name: str, lacking: tuple[str, ...], expected: str) -> None:
    chance, arrays = np.random.default_rng(0), {}
    for part in ("train", "val", "test"):
        arrays[f"x_{part}"] = chance.random((60, 1, 28, 28), dtype=np.float32)
        arrays[f"y_{part}"] = np.arange(60) % 10
        if part not in lacking:
            arrays[f"y_{part}_parity"] = arrays[f"y_{part}"] % 2
        if f"{part}=7" in lacking:
            arrays[f"y_{part}_parity"][-1] = 7
    np.savez(tmp_path / "d.npz", **arrays)
    options = ("--exits", "shared", "--exit-output", name, "--out", tmp_path / "out")
    done = run("compile", TWO_HEADS, "--data", tmp_path / "d.npz", *options)
    assert done.exit_code == 2 and expected in done.output, done.output
    assert not (tmp_path / "out").exists()


def test_the_validation_part_is_that_of_the_compile(tmp_path: Path) -> None:
    """Drawn from the training part by the seed of the compile, where the data have none."""
    arrays = {name: array for name, array in np.load(DATA).items() if not name.endswith("_val")}
    data, out = tmp_path / "d.npz", tmp_path / "out"
    np.savez(data, **arrays)
    done = run("compile", MODEL, "--data", data, "--out", out, "--seed", 5, *OPTIONS, "--json")
    assert done.exit_code == 0, done.output
    policy = json.loads(done.stdout)["policy"]
    found = json.loads(run("exits", out, "--data", data, "--split", "val", "--points", 2, "--json").stdout)
    assert found["samples"] == policy["val_samples"]
    assert found["accuracies"][-1] - found["compiled"]["accuracy"] == pytest.approx(policy["val_drop"])
    report = json.loads((out / "report.json").read_text())
    (out / "report.json").write_text(json.dumps({key: value for key, value in report.items() if key != "seed"}))
    assert "lacks the cycles of exits or the seed" in refusal("exits", out, "--data", data, kind="ArtifactError")


def test_a_folder_without_exits(compiled: Compiled) -> None:
    assert "found one without" in refusal("exits", compiled.folder, "--data", DATA, kind="ArtifactError")

"""`freeml compile --exits` and `freeml exits`: what they print, and what they refuse."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from command_line import Compiled, refusal, run

from freeml.exits.asked import AskedExits, ExitsError
from freeml.pipeline import Options, compile_model

ROOT = Path(__file__).parents[2]
MODEL, DATA = ROOT / "examples" / "models" / "har.onnx", ROOT / "examples" / ".data" / "har.npz"
OPTIONS = ("--exits", "shared:/1/Conv,/5/Conv", "--policy", "entropy+energy", "--max-drop", 3)


def test_what_it_prints(tmp_path: Path) -> None:
    out = tmp_path / "out"
    shown = run("compile", MODEL, "--data", DATA, "--out", out, *OPTIONS)
    assert shown.exit_code == 0, shown.output
    assert "exits, shared" in shown.stdout and "policy entropy + energy" in shown.stdout
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


def test_exits_of_another_output() -> None:
    asked = AskedExits(kind="shared", output="other")
    with pytest.raises(ExitsError, match="expected them for the first output"):
        compile_model(MODEL, options=Options(exits=asked), data=DATA)


def test_a_folder_without_exits(compiled: Compiled) -> None:
    assert "found one without" in refusal("exits", compiled.folder, "--data", DATA, kind="ArtifactError")

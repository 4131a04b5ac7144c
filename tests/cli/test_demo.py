"""The demo does the whole job, and notices when anything disagrees."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from examples.demo import disagreements
from freeml.power.result import PowerReport
from freeml.sim.onnx_run import Difference
from freeml.sim.trace import Mismatch
from freeml.verification import ORT_FLOAT, ORT_QUANTIZED, Verification

PROJECT = Path(__file__).resolve().parents[2]


def test_demo(tmp_path: Path) -> None:
    """The watch net on its whole test split: no mismatch, and onnxruntime tells the same accuracies."""
    command = [sys.executable, "-m", "examples.demo", "--json", "--out", str(tmp_path / "har")]
    done = subprocess.run(command, cwd=PROJECT, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert found["disagreements"] == []
    assert found["compile"]["accuracy"]["samples"] == found["verify"]["samples"] == 1484
    assert found["compile"]["accuracy"]["float"] - found["compile"]["accuracy"]["quantized"] <= 0.01
    assert found["verify"]["mismatches"] == 0
    assert found["power"]["failures"] == 0
    assert found["power"]["instructions"] > 500_000
    assert (tmp_path / "har" / "firmware.elf").is_file()


FINE = Verification(
    samples=200,
    board_samples=10,
    split="test",
    layers=3,
    bytes=100,
    executors=("reference", "host", "board", ORT_QUANTIZED, ORT_FLOAT),
    toolchain="gcc",
    image="har/firmware.elf",
    sanitized=False,
    mismatches=0,
    first_mismatches={"host": (), "board": ()},
    accuracy={"reference": 0.88, "host": 0.88, "board": 0.9, ORT_QUANTIZED: 0.88, ORT_FLOAT: 0.885},
    differences={ORT_QUANTIZED: (Difference(value="logits", largest_steps=1.0, mean_steps=0.1, agreement=1.0),)},
    notes=(),
)
REPORT: dict[str, Any] = {"accuracy": {"float": 0.885, "quantized": 0.88, "samples": 200, "split": "test"}}
NO_FAILURE = PowerReport(mode="exhaustive", on="board", cuts=9, failures=0, boots_max=2, wall_s=1.0)
WRONG = Mismatch(value="conv", sample=3, element=5, expected=1, found=2, count=7)


def test_agreement_is_no_disagreement() -> None:
    assert disagreements(REPORT, FINE, NO_FAILURE) == []


@pytest.mark.parametrize(
    ("found", "expected"),
    [
        (
            replace(FINE, mismatches=7, first_mismatches={"board": (WRONG,)}),
            "board: value conv, sample 3, element 5: expected 1, found 2",
        ),
        (replace(FINE, samples=199), "the accuracy of the report"),
        (replace(FINE, accuracy={**FINE.accuracy, "reference": 0.5}), "the accuracy of the report"),
        (replace(FINE, accuracy={**FINE.accuracy, ORT_FLOAT: 0.8}), "8.50 points apart"),
        (replace(FINE, accuracy={"reference": 0.88, "host": 0.88}, notes=("install it",)), "not installed"),
        (
            replace(FINE, differences={ORT_QUANTIZED: (replace(FINE.differences[ORT_QUANTIZED][0], agreement=0.9),)}),
            "90.00% of the samples",
        ),
    ],
)
def test_disagreements(found: Verification, expected: str) -> None:
    assert any(expected in problem for problem in disagreements(REPORT, found, NO_FAILURE))


def test_a_cut_that_made_a_difference() -> None:
    cuts = replace(NO_FAILURE, failures=2, replay="12", reason="another answer")
    assert any("2 power cuts made a difference, replay=12" in found for found in disagreements(REPORT, FINE, cuts))


def test_lost_accuracy() -> None:
    poor = {"accuracy": {**REPORT["accuracy"], "float": 0.9}}
    (problem, *_) = disagreements(poor, replace(FINE, accuracy={**FINE.accuracy, ORT_FLOAT: 0.9}), NO_FAILURE)
    assert "loses 2.00 points" in problem

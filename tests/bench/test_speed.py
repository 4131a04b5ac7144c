"""The speeds that the project promises, on LeNet-5: run by `make bench`, kept out of the tests.

Each check prints what it measured through pytest-benchmark and fails when the promise is not kept.
"""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from freeml.artifact import Artifact
from freeml.options import Options
from freeml.pipeline import compile_model
from freeml.sim.host import run_host
from freeml.sim.onnx_run import run_onnx
from freeml.sim.trace import run_reference

LENET = Path(__file__).parents[2] / "examples" / "models" / "lenet5.onnx"
IMAGES = 5000

pytestmark = pytest.mark.bench


@pytest.fixture(scope="module")
def lenet() -> Artifact:
    return compile_model(LENET, options=Options(target="apollo4"))


@pytest.fixture(scope="module")
def images() -> np.ndarray:
    return np.random.default_rng(0).uniform(size=(IMAGES, 1, 28, 28)).astype(np.float32)


@pytest.mark.parametrize("target", ["msp430", "apollo4"])
def test_compile_from_prompt_to_prompt(benchmark, tmp_path, target):
    out = str(tmp_path / "o")
    command = [sys.executable, "-m", "freeml", "compile", str(LENET), "--target", target, "--out", out]
    benchmark.pedantic(subprocess.run, args=(command,), kwargs={"check": True, "capture_output": True}, rounds=5)
    assert benchmark.stats.stats.median <= 3.0


def test_help(benchmark):
    command = [sys.executable, "-m", "freeml", "--help"]
    benchmark.pedantic(subprocess.run, args=(command,), kwargs={"check": True, "capture_output": True}, rounds=5)
    assert benchmark.stats.stats.median <= 0.3


def test_reference(benchmark, lenet, images):
    inputs = lenet.quantized_inputs(images[:1000])
    benchmark.pedantic(run_reference, args=(lenet.graph, inputs), rounds=3)
    assert 1000 / benchmark.stats.stats.median >= 300


@pytest.mark.benchmark(group="images")
def test_host(benchmark, lenet, images, tmp_path):
    """Process start, transfer of samples and results included."""
    library = lenet.build_host(tmp_path)
    inputs = lenet.quantized_inputs(images)
    benchmark.pedantic(run_host, args=(library, lenet.graph, inputs), rounds=5)
    assert IMAGES / benchmark.stats.stats.median >= 5000


@pytest.mark.benchmark(group="images")
def test_onnxruntime_beside_it(benchmark, images):
    benchmark.pedantic(run_onnx, args=(LENET, {"input": images}), kwargs={"batch": 128}, rounds=5)

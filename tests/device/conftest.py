"""Nets on boards: one input of int8, and two inputs with int16 activations."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from cli.small_models import IMAGE, arrays, save, small
from freeml.artifact import Artifact, load
from freeml.options import Options
from freeml.pipeline import compile_model


@dataclass(frozen=True)
class OnBoard:
    """A compiled folder, its artifact and samples for it."""

    folder: Path
    artifact: Artifact
    samples: Path

    @property
    def elf(self) -> Path:
        return self.folder / "firmware.elf"


def one_input(folder: Path, target: str) -> OnBoard:
    model = save(small(), folder / "small.onnx")
    compile_model(model, options=Options(target=target), data=arrays(), output=folder / "out")
    samples = np.random.default_rng(3).normal(size=(5, *IMAGE)).astype(np.float32)
    np.save(folder / "samples.npy", samples)
    return OnBoard(folder / "out", load(folder / "out"), folder / "samples.npy")


@pytest.fixture(scope="session")
def original(tmp_path_factory) -> OnBoard:
    return one_input(tmp_path_factory.mktemp("msp430"), "msp430")


@pytest.fixture(scope="session")
def apollo4(tmp_path_factory) -> OnBoard:
    return one_input(tmp_path_factory.mktemp("apollo4"), "apollo4")


@pytest.fixture
def net(original, tmp_path) -> OnBoard:
    """A copy to do anything with."""
    shutil.copytree(original.folder, tmp_path / "out")
    return OnBoard(tmp_path / "out", original.artifact, original.samples)


@pytest.fixture(scope="session")
def two_inputs(tmp_path_factory) -> OnBoard:
    """Two dense layers on inputs of odd lengths, their sum, and one of them as a second output."""
    folder = tmp_path_factory.mktemp("two")
    rng = np.random.default_rng(0)
    constants = {"wa": rng.normal(size=(5, 3)), "wb": rng.normal(size=(7, 3))}
    nodes = [
        helper.make_node("Gemm", ["a", "wa"], ["ya"], name="left"),
        helper.make_node("Gemm", ["b", "wb"], ["yb"], name="right"),
        helper.make_node("Add", ["ya", "yb"], ["sum"], name="sum"),
    ]
    values = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [1, n]) for name, n in (("a", 5), ("b", 7))]
    results = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [1, 3]) for name in ("sum", "ya")]
    graph = helper.make_graph(
        nodes, "two", values, results,
        [numpy_helper.from_array(array.astype(np.float32), name) for name, array in constants.items()],
    )  # fmt: skip
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9), folder / "two.onnx")
    compile_model(folder / "two.onnx", options=Options(precision="int16"), output=folder / "out")
    np.savez(folder / "samples.npz", a=rng.normal(size=(4, 5)), b=rng.normal(size=(4, 7)))
    return OnBoard(folder / "out", load(folder / "out"), folder / "samples.npz")

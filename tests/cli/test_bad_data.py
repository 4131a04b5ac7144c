"""Bad data sets: one clear message, exit status 2, no traceback, nothing half-written."""

from __future__ import annotations

import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from command_line import Compiled, refusal
from numpy.typing import NDArray
from onnx import TensorProto, helper
from small_models import CLASSES, IMAGE, arrays, save, save_data

Arrays = dict[str, NDArray[Any]]


def spoiled(name: str, array: NDArray[Any]) -> Arrays:
    """The data set with one array replaced."""
    return {**arrays(), name: array}


def without(*names: str) -> Arrays:
    """The data set with some arrays left out."""
    return {name: array for name, array in arrays().items() if name not in names}


def with_nan(name: str, value: float) -> Arrays:
    """The data set with one number replaced."""
    data = arrays()
    data[name][7, 0, 1, 2] = value
    return data


BAD_DATA: dict[str, tuple[Arrays, str]] = {
    "nothing": ({}, "x_train is missing"),
    "no x_train": (without("x_train"), "x_train is missing"),
    "no y_test": (without("y_test"), "y_test is missing"),
    "x_val alone": (spoiled("x_val", np.zeros((2, *IMAGE))), "only one of them"),
    "empty x_train": (spoiled("x_train", np.zeros((0, *IMAGE))) | {"y_train": np.zeros(0, int)}, "at least one sample"),
    "empty x_test": (spoiled("x_test", np.zeros((0, *IMAGE))) | {"y_test": np.zeros(0, int)}, "at least one sample"),
    "one training sample": (
        spoiled("x_train", np.zeros((1, *IMAGE))) | {"y_train": np.zeros(1, int)}, "at least 2 training samples",
    ),
    "wrong shape": (spoiled("x_test", np.zeros((20, 1, 8, 9))), "expected samples of shape (1, 8, 8)"),
    "wrong rank": (spoiled("x_train", np.zeros((40, 64))), "expected samples of shape (1, 8, 8)"),
    "a number": (spoiled("x_train", np.float32(3.0)), "a single number"),
    "NaN": (with_nan("x_train", np.nan), "NaN or infinity first in sample 7"),
    "infinity": (with_nan("x_test", np.inf), "NaN or infinity first in sample 7"),
    "beyond float32": (
        spoiled("x_test", np.full((20, *IMAGE), 1e300)), "NaN or infinity first in sample 0",
    ),
    "text": (spoiled("x_train", np.full((40, *IMAGE), "a")), "expected numbers"),
    "complex": (spoiled("x_train", np.zeros((40, *IMAGE), complex)), "expected numbers"),
    "label too large": (spoiled("y_test", np.full(20, CLASSES)), f"expected labels 0..{CLASSES - 1}"),
    "negative label": (spoiled("y_train", np.full(40, -1)), "found -1"),
    "fractional labels": (spoiled("y_train", np.full(40, 0.5)), "expected integer labels"),
    "NaN labels": (spoiled("y_train", np.full(40, np.nan)), "expected integer labels"),
    "one-hot labels": (spoiled("y_train", np.eye(CLASSES)[np.zeros(40, int)]), "expected integer labels"),
    "labels missing": (spoiled("y_test", np.zeros(19, int)), "expected 20 labels"),
    "pickled": (spoiled("x_train", np.array([None] * 40, dtype=object)), "plain arrays"),
}  # fmt: skip


@pytest.mark.parametrize("case", BAD_DATA)
def test_bad_arrays(tmp_path: Path, model_file: Path, compiled: Compiled, case: str) -> None:
    """Both commands that read data say the same."""
    data, expected = BAD_DATA[case]
    path = save_data(data, tmp_path / "data.npz")
    message = refusal("compile", model_file, "--data", path, "--out", tmp_path / "out", kind="DataError")
    assert expected in message
    assert not (tmp_path / "out").exists()
    if "train" not in case and "negative" not in case:
        assert expected in refusal("verify", compiled.folder, "--data", path, kind="DataError")


def write_npy(path: Path) -> None:
    with path.open("wb") as file:
        np.save(file, np.zeros(3))


def write_stranger(path: Path) -> None:
    save_data(arrays(), path)
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr("README.txt", "not an array")


def write_damaged(path: Path) -> None:
    save_data(arrays(), path)
    content = bytearray(path.read_bytes())
    middle = len(content) // 2
    content[middle : middle + 64] = bytes(64)
    path.write_bytes(content)


def write_truncated(path: Path) -> None:
    save_data(arrays(), path)
    path.write_bytes(path.read_bytes()[:-100])


BAD_FILES: dict[str, Callable[[Path], object]] = {
    "missing": lambda path: None,
    "folder": lambda path: path.mkdir(),
    "empty": lambda path: path.write_bytes(b""),
    "text": lambda path: path.write_text("x,y\n1,2\n"),
    "one array": write_npy,
    "stranger inside": write_stranger,
    "damaged": write_damaged,
    "truncated": write_truncated,
}


@pytest.mark.parametrize("case", BAD_FILES)
def test_bad_data_files(tmp_path: Path, model_file: Path, case: str) -> None:
    path = tmp_path / "data.npz"
    BAD_FILES[case](path)
    message = refusal("compile", model_file, "--data", path, "--out", tmp_path / "out", kind="DataError")
    assert "data.npz" in message
    assert ".npz" in message
    assert not (tmp_path / "out").exists()


def test_data_for_a_net_with_two_inputs(tmp_path: Path) -> None:
    graph = helper.make_graph(
        [helper.make_node("Add", ["a", "b"], ["c"])],
        "two",
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, (1, *IMAGE)) for name in ("a", "b")],
        [helper.make_tensor_value_info("c", TensorProto.FLOAT, None)],
    )
    proto = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    path, data = save(proto, tmp_path / "m.onnx"), save_data(arrays(), tmp_path / "data.npz")
    assert "one input" in refusal("compile", path, "--data", data, "--out", tmp_path / "out", kind="DataError")

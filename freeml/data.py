"""Data sets: `.npz` files with x_train, y_train, x_test, y_test and optionally x_val, y_val.

Inputs are in the model's own domain and layout, labels are integers. Without a validation part a seeded share of the
training part is held back. Calibration reads the training part only; the test part is read once, at the end.
"""

from __future__ import annotations

import zipfile
import zlib
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from tokenize import TokenError

import numpy as np

from freeml.errors import DataError
from freeml.ir.types import Array, Shape

VALIDATION_SHARE = 0.2
# What numpy and zipfile raise for archives that are damaged, encrypted, or hold something other than plain arrays.
_UNREADABLE = (ValueError, OSError, EOFError, KeyError, RuntimeError, MemoryError)
FORM = "expected arrays x_train, y_train, x_test, y_test (optionally x_val, y_val)"


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """Inputs (n, *sample shape) float32 and labels (n,) int64; `labels` holds those of further outputs by name."""

    x: Array
    y: Array
    labels: Mapping[str, Array]

    def __len__(self) -> int:
        return int(self.x.shape[0])


@dataclass(frozen=True, slots=True, kw_only=True)
class Dataset:
    """The three parts of a data set."""

    train: Part
    val: Part
    test: Part


def load_dataset(source: Path | Mapping[str, Array], input_shape: Shape, *, seed: int = 0) -> Dataset:
    """Read and check a data file, or its arrays by name, for a model input of `input_shape` (batch axis 1 included).

    Raises DataError naming the array, what was expected and what was found.
    """
    arrays = _read(source) if isinstance(source, Path) else {name: np.asarray(array) for name, array in source.items()}
    path = str(source) if isinstance(source, Path) else "data"
    for name in ("x_train", "y_train", "x_test", "y_test"):
        if name not in arrays:
            raise DataError(f"{path}: {FORM}, found {', '.join(sorted(arrays)) or 'nothing'}: {name} is missing")
    if ("x_val" in arrays) != ("y_val" in arrays):
        raise DataError(f"{path}: expected x_val and y_val together, found only one of them")
    train = _part(path, arrays, "train", input_shape)
    test = _part(path, arrays, "test", input_shape)
    if "x_val" in arrays:
        return Dataset(train=train, val=_part(path, arrays, "val", input_shape), test=test)
    if len(train) < 2:
        raise DataError(f"{path}: expected at least 2 training samples, one of them for validation, found {len(train)}")
    order = np.random.default_rng(seed).permutation(len(train))
    held = max(1, int(len(train) * VALIDATION_SHARE))
    return Dataset(train=_select(train, np.sort(order[held:])), val=_select(train, np.sort(order[:held])), test=test)


def _read(path: Path) -> dict[str, Array]:
    arrays = read_arrays(path)
    if not isinstance(arrays, dict):
        raise DataError(f"{path}: expected a .npz archive, found a single array; {FORM}")
    return arrays


def read_arrays(path: Path) -> Array | dict[str, Array]:
    """The array of a .npy file, or those of a .npz file by name. Raises DataError."""
    if not path.is_file():
        raise DataError(f"{path}: expected a .npz file, found {'a folder' if path.is_dir() else 'nothing'}")
    try:
        loaded = np.load(path, allow_pickle=False)
        if not isinstance(loaded, np.lib.npyio.NpzFile):
            return np.asarray(loaded)
        with loaded as archive:
            arrays = {name: archive[name] for name in archive.files}
    except (*_UNREADABLE, zipfile.BadZipFile, zlib.error, SyntaxError, TokenError) as error:
        raise DataError(f"{path}: expected a .npz file of plain arrays, found: {error}") from error
    strangers = [name for name, array in arrays.items() if not isinstance(array, np.ndarray)]
    if strangers:
        raise DataError(f"{path}: expected a .npz file of plain arrays, found the file {strangers[0]} in it")
    return arrays


def _part(path: str, arrays: Mapping[str, Array], part: str, input_shape: Shape) -> Part:
    x, y = arrays[f"x_{part}"], arrays[f"y_{part}"]
    x = check_inputs(x, input_shape, f"{path}: x_{part}")
    prefix = f"y_{part}_"
    labels = {k[len(prefix) :]: _labels(path, k, v, len(x)) for k, v in arrays.items() if k.startswith(prefix)}
    return Part(x=x, y=_labels(path, f"y_{part}", y, len(x)), labels=labels)


def check_samples(x: object, input_shape: Shape, what: str) -> Array:
    """What a caller hands over for an input, as float32 of shape (n, *input_shape); raises DataError.

    A single sample may come without its leading axis.
    """
    try:
        array = np.asarray(x)
    except ValueError as error:  # rows of several lengths
        raise DataError(f"{what}: expected an array of numbers, found something else ({error})") from None
    if array.shape == input_shape[1:]:
        array = array[np.newaxis]
    checked = check_inputs(array, input_shape, what)
    return checked.reshape(len(checked), *input_shape)


def check_inputs(x: Array, input_shape: Shape, what: str) -> Array:
    """Samples as float32 of shape (n, *input_shape[1:]); raises DataError."""
    if x.dtype.kind not in "fiub":
        raise DataError(f"{what}: expected numbers, found {x.dtype}")
    if x.ndim == 0:
        raise DataError(f"{what}: expected samples of shape {input_shape[1:]}, found a single number")
    if x.ndim == len(input_shape) + 1 and x.shape[1:] == input_shape:
        x = x.reshape(x.shape[0], *input_shape[1:])
    if x.shape[1:] != input_shape[1:]:
        raise DataError(
            f"{what}: expected samples of shape {input_shape[1:]} (the model's input is {input_shape}), "
            f"found {x.shape[1:]}"
        )
    if x.shape[0] == 0:
        raise DataError(f"{what}: expected at least one sample, found none")
    with np.errstate(over="ignore"):  # what float32 cannot hold is infinite, and said to be so
        x = x.astype(np.float32)
    if not np.isfinite(x).all():
        bad = int(np.argwhere(~np.isfinite(x))[0][0])
        raise DataError(f"{what}: expected finite numbers, found NaN or infinity first in sample {bad}")
    return x


def _labels(path: str, name: str, y: Array, count: int) -> Array:
    if y.ndim == 2 and y.shape[1] == 1:
        y = y[:, 0]
    whole = y.dtype.kind in "iub" or (y.dtype.kind == "f" and np.isfinite(y).all() and (y == np.floor(y)).all())
    if y.ndim != 1 or not whole:
        raise DataError(f"{path}: {name}: expected integer labels of shape (n,), found {y.dtype} of shape {y.shape}")
    if len(y) != count:
        raise DataError(f"{path}: {name}: expected {count} labels, one per sample, found {len(y)}")
    return y.astype(np.int64)


def check_label_range(part: Part, classes: int, what: str) -> None:
    """Raise DataError when a label is not a class of the model's output."""
    low, high = int(part.y.min()), int(part.y.max())
    if low < 0 or high >= classes:
        raise DataError(
            f"{what}: expected labels 0..{classes - 1} (the model tells {classes} classes apart), "
            f"found {low if low < 0 else high}"
        )


def of_output(part: Part, output: str, first: str, what: str, classes: int) -> Part:
    """The same inputs with the labels of an output: `what` in the file are those of the `first`, `what`_OUTPUT those of
    others.

    Raises DataError where there are none, or where one is no class of the output.
    """
    if output != first:
        if output not in part.labels:
            known = ", ".join(f"{what}_{name}" for name in part.labels) or "none but the first output's"
            raise DataError(f"expected labels of output {output} in {what}_{output}, found {known}; add them")
        part, what = replace(part, y=part.labels[output]), f"{what}_{output}"
    check_label_range(part, classes, what)
    return part


def _select(part: Part, index: Array) -> Part:
    return Part(x=part.x[index], y=part.y[index], labels={k: v[index] for k, v in part.labels.items()})

"""ONNX models through onnxruntime, and how far its results are from those of the integer reference."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from freeml.errors import FreemlError
from freeml.ir.graph import QGraph
from freeml.ir.types import Array
from freeml.sim.trace import Trace

DTYPES = {"tensor(float)": "float32", "tensor(double)": "float64", "tensor(float16)": "float16"}


class OnnxRunError(FreemlError):
    """onnxruntime is not installed, or refuses the model or its inputs."""


def run_onnx(
    model: Path | bytes, inputs: Mapping[str, Array], *, idle: Collection[str] = (), batch: int = 1
) -> dict[str, Array]:
    """Outputs of an ONNX model (a file, or serialized) for real inputs, computed on one thread.

    `inputs` holds (samples, *shape) or, without the batch axis, (samples, *shape[1:]) for every input of the model but
    the `idle` ones, which no output depends on: they are fed zeros. Results are (samples, *shape) with the batch axis
    of 1, as everywhere in freeml. Samples run one at a time, as on a board, since an operator may act across the batch
    axis; in batches where a larger `batch` says that none does and the model's batch axis is symbolic. Nodes are not
    merged beforehand: onnxruntime's merged 8-bit operators saturate sums of products at 16 bits on some processors.
    Raises OnnxRunError.
    """
    session = _session(model)
    feeds = {spec.name: _feed(spec, inputs) for spec in session.get_inputs() if spec.name not in idle}
    counts = {len(array) for array in feeds.values()}
    if len(counts) != 1 or counts == {0}:
        raise OnnxRunError(f"expected as many samples for every input and at least one, found {sorted(counts)}")
    feeds |= {spec.name: _zeros(spec, min(counts)) for spec in session.get_inputs() if spec.name in idle}
    batched = batch > 1 and all(_symbolic_batch(spec) for spec in (*session.get_inputs(), *session.get_outputs()))
    size = batch if batched else 1
    names = [spec.name for spec in session.get_outputs()]
    parts: dict[str, list[Array]] = {name: [] for name in names}
    for start in range(0, counts.pop(), size):
        chunk = {name: array[start : start + size] for name, array in feeds.items()}
        length = len(next(iter(chunk.values())))
        chunk = {name: array[:, 0] if batched else array[0] for name, array in chunk.items()}
        for name, result in zip(names, _run(session, names, chunk), strict=True):
            if batched and result.shape[:1] != (length,):
                raise OnnxRunError(
                    f"output {name}: expected {length} samples along its first axis, found shape {list(result.shape)}; "
                    "export the model with a batch of 1"
                )
            parts[name].append(result[:, np.newaxis] if batched else result[np.newaxis])
    return {name: np.concatenate(arrays) for name, arrays in parts.items()}


def _session(model: Path | bytes) -> Any:  # noqa: ANN401 - onnxruntime has no types
    try:
        import onnxruntime
    except ImportError:
        raise OnnxRunError(
            "expected onnxruntime to compare with, found none; install it with: pip install 'freeml[verify]'"
        ) from None
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.inter_op_num_threads = 1
    options.log_severity_level = 4
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    source = model if isinstance(model, bytes) else str(model)
    try:
        return onnxruntime.InferenceSession(source, options, providers=["CPUExecutionProvider"])
    except Exception as error:  # onnxruntime's errors have no base class of their own
        name = "the model" if isinstance(model, bytes) else str(model)
        raise OnnxRunError(f"onnxruntime {onnxruntime.__version__} cannot load {name}: {_first_line(error)}") from None


def _run(session: Any, names: list[str], feeds: Mapping[str, Array]) -> list[Array]:  # noqa: ANN401
    try:
        return [np.asarray(result) for result in session.run(names, dict(feeds))]
    except Exception as error:
        raise OnnxRunError(f"onnxruntime cannot run the model: {_first_line(error)}") from None


def _first_line(error: Exception) -> str:
    return next((line.strip() for line in str(error).splitlines() if line.strip()), type(error).__name__)


def _symbolic_batch(spec: Any) -> bool:  # noqa: ANN401
    return len(spec.shape) > 0 and not isinstance(spec.shape[0], int)


def _feed(spec: Any, inputs: Mapping[str, Array]) -> Array:  # noqa: ANN401
    """The array for an input of the model as (samples, *shape), in the model's element type."""
    if spec.name not in inputs:
        raise OnnxRunError(f"input {spec.name}: expected an array for it, found {', '.join(sorted(inputs)) or 'none'}")
    if spec.type not in DTYPES:
        raise OnnxRunError(f"input {spec.name}: expected a tensor of floats, found {spec.type}")
    array = np.asarray(inputs[spec.name])
    shape = [1 if axis == 0 and not isinstance(n, int) else n for axis, n in enumerate(spec.shape)]
    if array.ndim == len(shape) and shape[:1] == [1]:
        array = array[:, np.newaxis]
    fits = array.ndim == len(shape) + 1 and all(
        not isinstance(n, int) or n == found for n, found in zip(shape, array.shape[1:], strict=True)
    )
    if not fits:
        raise OnnxRunError(
            f"input {spec.name}: expected samples of shape {shape}, found {list(np.shape(inputs[spec.name])[1:])}"
        )
    return np.ascontiguousarray(array, dtype=DTYPES[spec.type])


def _zeros(spec: Any, count: int) -> Array:  # noqa: ANN401
    """(count, *shape) zeros of an input's type; symbolic axes have extent 1."""
    element = str(spec.type).removeprefix("tensor(").removesuffix(")")
    try:
        dtype = np.dtype(DTYPES.get(spec.type, element))
    except TypeError:
        raise OnnxRunError(f"input {spec.name}: expected a tensor of numbers, found {spec.type}") from None
    return np.zeros((count, *(n if isinstance(n, int) else 1 for n in spec.shape)), dtype=dtype)


# --- comparison with the reference ------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class Difference:
    """How far real results are from the reference for one value.

    `largest_steps` and `mean_steps` are absolute errors in units of the value's scale (for an index: of 1);
    `agreement` is the share of samples (0..1) whose largest number is at the same place.
    """

    value: str
    largest_steps: float
    mean_steps: float
    agreement: float


def differences(graph: QGraph, reference: Trace, found: Mapping[str, Array]) -> tuple[Difference, ...]:
    """Compare the values that both hold, in the order of `found`. Arrays are (samples, *shape)."""
    result = []
    for name, real in found.items():
        if name not in reference.values:
            continue
        type_ = graph.types[name]
        expected = np.asarray(reference.values[name], dtype=np.float64).reshape(reference.samples, -1)
        steps = np.asarray(real, dtype=np.float64).reshape(expected.shape) / type_.scale + type_.zero_point
        error = np.abs(steps - expected)
        same = expected == np.rint(steps) if expected.shape[1] == 1 else expected.argmax(1) == steps.argmax(1)
        result.append(
            Difference(
                value=name,
                largest_steps=float(error.max()),
                mean_steps=float(error.mean()),
                agreement=float(same.mean()),
            )
        )
    return tuple(result)

"""`freeml verify`: the integer reference, the C on this machine, the firmware on its board, onnxruntime.

Host and board must equal the reference in every byte that any layer stores. onnxruntime computes in floating point, so
it is compared by error and by accuracy: with the quantized ONNX file of the folder, and the float model where given.
"""

from __future__ import annotations

import importlib.util
import tempfile
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from freeml.artifact import Artifact, flashed_image, load
from freeml.data import Part, check_label_range, load_dataset
from freeml.errors import ArtifactError, DataError
from freeml.evaluate import classes, predictions
from freeml.frontend.onnx_reader import import_onnx
from freeml.ir.graph import QGraph
from freeml.ir.types import Array
from freeml.plan.exits import exits_of
from freeml.quant.quantize import dequantize, quantize_input
from freeml.sim.board import BoardRunner, run_board, simulator_missing
from freeml.sim.host import run_host
from freeml.sim.onnx_run import Difference, differences, run_onnx
from freeml.sim.trace import Mismatch, Trace, compare, run_reference, stored_values
from freeml.toolchains import find_host

RANDOM_SAMPLES = 100
BOARD_SAMPLES = 10
CHUNK = 128
QDQ = "model.qdq.onnx"
ORT_QUANTIZED, ORT_FLOAT = "onnxruntime_quantized", "onnxruntime_float"

Progress = Callable[[str, float], None]
"""Told the step under way and the share (0..1) that is done before it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Verification:
    """What a verification found.

    `executors` are what was run: the reference, the host's C, the board's image, and what of onnxruntime there is.
    `layers` is the number of stored values compared per sample, `bytes` their size. `mismatches` counts the elements
    that differ from the reference on host and board; `first_mismatches` holds the first of every value that does, by
    executor and in order of execution. `accuracy` is the share of right answers (0..1) by executor over the samples it
    ran, None without labels. `differences` are the distances of the reference's outputs from those of the executors of
    real numbers.
    """

    samples: int
    board_samples: int
    split: str
    layers: int
    bytes: int
    executors: tuple[str, ...]
    toolchain: str
    image: str | None
    sanitized: bool
    mismatches: int
    first_mismatches: Mapping[str, tuple[Mismatch, ...]]
    accuracy: Mapping[str, float | None]
    differences: Mapping[str, tuple[Difference, ...]]
    notes: tuple[str, ...]

    def as_dict(self) -> dict[str, Any]:
        """Plain JSON values."""
        return asdict(self)


@dataclass(frozen=True, slots=True, kw_only=True)
class Samples:
    """Inputs, (n, *shape) by name, as integers in its formats and as the real numbers they came from.

    `labels` are the classes of the first output, (n,); `split` says where the samples are from.
    """

    integers: Mapping[str, Array]
    real: Mapping[str, Array]
    labels: Array | None
    split: str

    def __len__(self) -> int:
        return len(next(iter(self.integers.values())))

    def first(self, count: int) -> dict[str, Array]:
        """Integers of the first `count` samples."""
        return {name: array[:count] for name, array in self.integers.items()}

    def chunks(self) -> Iterator[tuple[int, dict[str, Array]]]:
        """Where a chunk starts, and its inputs."""
        for start in range(0, len(self), CHUNK):
            yield start, {name: array[start : start + CHUNK] for name, array in self.integers.items()}


def verify(
    folder: Path,
    *,
    data: Path | Mapping[str, Array] | None = None,
    samples: int | None = None,
    board_samples: int = BOARD_SAMPLES,
    model: Path | None = None,
    sanitize: bool = False,
    toolchain: str | None = None,
    seed: int = 0,
    progress: Progress | None = None,
) -> Verification:
    """Run everything there is on the test samples of `data`, or on random ones; the board on the first few of them.

    Raises ArtifactError for a folder that is not a compiled net, ToolchainError without a compiler for this machine,
    MachineFaultError when the board would not survive its firmware, and OnnxRunError when onnxruntime cannot run a
    model.
    """
    show = progress or (lambda *_: None)
    show("read", 0.0)
    artifact = load(folder)
    graph = artifact.graph
    if data is None:
        chosen = random_samples(graph, samples or RANDOM_SAMPLES, seed)
    else:
        chosen = test_samples(graph, data, samples)
    compiler = find_host(toolchain, needs_libc=sanitize).kind
    with tempfile.TemporaryDirectory(prefix="freeml-verify-") as scratch:
        show("build", 0.02)
        program = artifact.build_host(Path(scratch), toolchain=toolchain, sanitize=sanitize)
        reference, host, differing = _bit_exact(graph, program, chosen, show)
    wrong = {"host": differing}
    exact = {"reference": reference.values, "host": host.values}
    notes = []
    missing = simulator_missing(artifact.board)
    if board_samples and missing:
        notes.append(missing)
        board_samples = 0
    board_samples = min(board_samples, len(chosen))
    if board_samples:
        board, wrong["board"] = _board(artifact, folder, chosen.first(board_samples), show)
        exact["board"] = board.values
    found: dict[str, dict[str, Array]] = {}
    if importlib.util.find_spec("onnxruntime") is None:
        notes.append("onnxruntime is not installed, so it was not compared with: pip install 'freeml[verify]'")
    else:
        show("onnxruntime", 0.9)
        found[ORT_QUANTIZED] = run_onnx(_quantized_model(artifact), chosen.real)
        if model is not None:
            found[ORT_FLOAT] = run_onnx(model, chosen.real, idle=import_onnx(model).unread)

    threshold = artifact.report.get("accuracy", {}).get("threshold")

    def accuracy(name: str, outputs: Mapping[str, Array]) -> float | None:
        if chosen.labels is None:
            return None
        if graph.outputs[0] not in outputs:
            raise ArtifactError(
                f"{model}: expected an output {graph.outputs[0]}, found {', '.join(outputs)}; name the model that "
                f"{folder} was compiled from"
            )
        scores = outputs[graph.outputs[0]]
        real = dequantize(scores, graph.types[graph.outputs[0]]) if name in exact else scores
        right = predictions(real, threshold)
        return float((right == chosen.labels[: len(right)]).mean())

    results = {**exact, **found}
    return Verification(
        samples=len(chosen),
        board_samples=board_samples,
        split=chosen.split,
        layers=len(stored_values(graph)),
        bytes=sum(graph.types[v].size_bytes for v in stored_values(graph)),
        executors=tuple(results),
        toolchain=compiler,
        image=str(flashed_image(folder)) if board_samples else None,
        sanitized=sanitize,
        mismatches=sum(m.count for mismatches in wrong.values() for m in mismatches),
        first_mismatches=wrong,
        accuracy={name: accuracy(name, outputs) for name, outputs in results.items()},
        differences={name: differences(graph, reference, outputs) for name, outputs in found.items()},
        notes=tuple(notes),
    )


def random_samples(graph: QGraph, count: int, seed: int) -> Samples:
    """Every integer of the inputs' formats is as likely as any other."""
    chance = np.random.default_rng(seed)
    integers = {}
    for name in graph.inputs:
        type_ = graph.types[name]
        integers[name] = chance.integers(type_.qmin, type_.qmax, size=(count, *type_.shape), endpoint=True)
    real = {name: dequantize(array, graph.types[name]) for name, array in integers.items()}
    return Samples(integers=integers, real=real, labels=None, split="random")


def test_samples(graph: QGraph, data: Path | Mapping[str, Array], count: int | None) -> Samples:
    """The first `count` test samples of a data set, or all. Raises DataError."""
    if len(graph.inputs) != 1:
        found = ", ".join(graph.inputs)
        raise DataError(f"expected a net with one input to go with x_test, found {found}; leave out --data")
    (name,) = graph.inputs
    type_ = graph.types[name]
    part = load_dataset(data, type_.shape).test
    if count is not None and count < len(part):
        part = Part(x=part.x[:count], y=part.y[:count], labels={})
    if classes(graph):
        check_label_range(part, classes(graph), "y_test")
    real = part.x.reshape(len(part), *type_.shape)
    return Samples(integers={name: quantize_input(real, type_)}, real={name: real}, labels=part.y, split="test")


def _bit_exact(
    graph: QGraph, program: Path, samples: Samples, show: Progress
) -> tuple[Trace, Trace, tuple[Mismatch, ...]]:
    """Outputs of the reference and of the C, and the first disagreement of every value, chunk by chunk."""
    parts: dict[str, tuple[list[Array], list[Array]]] = {name: ([], []) for name in graph.outputs}
    differing: dict[str, Mismatch] = {}
    for start, chunk in samples.chunks():
        show(f"host and reference, {start:,} of {len(samples):,} samples", 0.05 + 0.45 * start / len(samples))
        expected = run_reference(graph, chunk, every_value=True)
        found = run_host(program, graph, chunk, every_value=True)
        wrong = compare(expected, found)
        if exits_of(graph) is not None:  # and once more as the firmware runs, where the rule may end an inference
            wrong += compare(run_reference(graph, chunk), run_host(program, graph, chunk))
        for mismatch in wrong:
            earlier = differing.get(mismatch.value)
            differing[mismatch.value] = (
                replace(mismatch, sample=start + mismatch.sample)
                if earlier is None
                else replace(earlier, count=earlier.count + mismatch.count)
            )
        for name, (left, right) in parts.items():
            left.append(expected.values[name])
            right.append(found.values[name])
    reference = Trace(values={name: np.concatenate(left) for name, (left, _) in parts.items()})
    host = Trace(values={name: np.concatenate(right) for name, (_, right) in parts.items()})
    order = {name: index for index, name in enumerate((*stored_values(graph), *graph.outputs))}
    return reference, host, tuple(sorted(differing.values(), key=lambda m: order[m.value]))


def _board(
    artifact: Artifact, folder: Path, inputs: Mapping[str, Array], show: Progress
) -> tuple[Trace, tuple[Mismatch, ...]]:
    """The image's outputs, and where any layer of it differs from the reference."""
    count = len(next(iter(inputs.values())))
    runner = BoardRunner(artifact.graph, artifact.board, flashed_image(folder))
    found = run_board(
        runner,
        inputs,
        every_value=True,
        progress=lambda done: show(f"board, {done:,} of {count:,} samples", 0.5 + 0.4 * done / count),
    )
    wrong = compare(run_reference(artifact.graph, inputs, every_value=True), found)
    if exits_of(artifact.graph) is not None:
        wrong += compare(run_reference(artifact.graph, inputs), run_board(runner, inputs))
    return found, wrong


def _quantized_model(artifact: Artifact) -> bytes:
    if QDQ not in artifact.files:
        raise ArtifactError(f"the artifact is not whole ({QDQ} is missing); compile the model anew")
    return artifact.files[QDQ]

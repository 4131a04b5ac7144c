"""torch modules in, torch modules out: `freeml.compress`, which knows no board."""

from __future__ import annotations

import copy
import logging
import tempfile
import warnings
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from freeml import evaluate
from freeml.compression.budget import Effort, drop_interval, parse_size
from freeml.compression.checkpoint import Checkpoints, search_hash
from freeml.compression.floats import FloatEstimator, ModuleBudget, float_net, peak_activation_bytes, weight_bytes
from freeml.compression.graphtext import from_text, to_text
from freeml.compression.study import compress
from freeml.compression.twin import FORMS
from freeml.data import Dataset, load_dataset, read_arrays
from freeml.errors import DataError, FreemlError, OutputFolderError, UnsupportedModelError
from freeml.frontend.float_writer import to_onnx
from freeml.frontend.onnx_reader import import_onnx
from freeml.ir.graph import Graph
from freeml.ir.types import Array
from freeml.passes.driver import run_passes
from freeml.passes.standard import PASSES
from freeml.report.figures import CompressionRound
from freeml.version import VERSION

PARTS = ("train", "val", "test")


class GraphModule(nn.Module):
    """A float graph as a torch module: float32 tensors (n, *shape) in, the same out, a tuple where there are several.

    Weights and biases are parameters that can be trained further, and so are the other float constants; it can be
    copied, pickled and moved to another device. `names` are the graph's names of them, by the module's own.
    """

    names: dict[str, str]

    def __init__(self, graph: Graph) -> None:
        """Raises UnsupportedModelError for operators without a torch form."""
        super().__init__()
        lacking = [f"{stage.op.kind} has no torch form" for stage in graph.stages() if type(stage.op) not in FORMS]
        if lacking:
            raise UnsupportedModelError(lacking)
        self.graph, self.names = graph, {}
        for name, array in graph.constants.items():
            key = "".join(letter if letter.isalnum() else "_" for letter in name)
            key = key if key not in self.names and not hasattr(self, key) else f"{key}_{len(self.names)}"
            self.names[key] = name
            tensor = torch.from_numpy(np.array(array))
            if tensor.dtype == torch.float32:
                self.register_parameter(key, nn.Parameter(tensor))
            else:
                self.register_buffer(key, tensor)

    def forward(self, *inputs: Tensor) -> Tensor | tuple[Tensor, ...]:
        """The outputs for a batch of samples."""
        values = {name: getattr(self, key)[None] for key, name in self.names.items()}
        for name, x in zip(self.graph.inputs, inputs, strict=True):
            values[name] = x.reshape(x.shape[0], *self.graph.types[name].shape)
        for stage in self.graph.stages():
            values[stage.outputs[0]] = FORMS[type(stage.op)](stage.op, tuple(values[v] for v in stage.inputs))
        found = tuple(
            values[name].reshape(values[name].shape[0], *self.graph.types[name].shape[1:])
            for name in self.graph.outputs
        )
        return found[0] if len(found) == 1 else found

    def __getstate__(self) -> dict[str, Any]:
        """The graph as text: its mappings are read-only, and pickle has no word for those."""
        return {**self.__dict__, "graph": to_text(self.graph)}

    def __setstate__(self, state: dict[str, Any]) -> None:
        """The graph back."""
        super().__setstate__({**state, "graph": from_text(state["graph"])})  # type: ignore[no-untyped-call]


@dataclass(frozen=True, slots=True, kw_only=True)
class ModuleReport:
    """What was done. Bytes are float32: of the weights, and of the activations of one sample at their peak.

    Accuracies are shares (0..1) of right answers on the validation part, `drop` their difference and `interval` its
    95 % interval; `test_before` and `test_after` are those of the test part, read once at the end, None where none was
    given.
    """

    weight_bytes_before: int
    weight_bytes_after: int
    activation_bytes_before: int
    activation_bytes_after: int
    accuracy_before: float
    accuracy_after: float
    drop: float
    interval: tuple[float, float]
    test_before: float | None
    test_after: float | None
    rounds: tuple[CompressionRound, ...]
    notes: tuple[str, ...]

    def as_dict(self) -> dict[str, Any]:
        """Plain JSON values."""
        return asdict(self)


class CompressedModule(NamedTuple):
    """The smaller net as a torch module and as an ONNX file's bytes: the same function twice. And what was done."""

    module: nn.Module
    onnx: bytes
    report: ModuleReport


def compress_module(
    module: nn.Module,
    data: Any,  # noqa: ANN401 - checked below
    budget: int | str,
    *,
    activations: int | str | None = None,
    max_drop: float = 1.0,
    effort: Effort = "quick",
    trials: int | None = None,
    seed: int = 0,
    out: Path | None = None,
    storage: str | None = None,
    on_round: Callable[[CompressionRound], None] = lambda _: None,
    progress: Callable[[str, float], None] = lambda *_: None,
) -> CompressedModule:
    """See `freeml.compress`."""
    limits = ModuleBudget(
        flash_bytes=_size(budget, "budget"),
        ram_bytes=None if activations is None else _size(activations, "activations"),
        max_drop_points=max_drop, effort=effort, trials=trials,
    )  # fmt: skip
    if not isinstance(module, nn.Module):
        raise FreemlError(f"compress: expected a torch.nn.Module, found {type(module).__name__}")
    if out is not None and (out.is_dir() or not out.absolute().parent.is_dir()):
        raise OutputFolderError(f"{out}: expected the name of a file in a folder that exists; choose another out")
    arrays = collected(data)
    tested = "x_test" in arrays
    if not tested:  # something of the right shape, which is never read
        arrays = {**arrays, **{f"{axis}_test": arrays[f"{axis}_train"] for axis in "xy" if f"{axis}_train" in arrays}}
    graph = imported(module, arrays)
    dataset = load_dataset(arrays, graph.types[graph.inputs[0]].shape, seed=seed)
    evaluate.check_dataset(graph, dataset)
    keep = None if out is None else out.resolve().with_name(f"{out.name}.search")
    checkpoints = Checkpoints(folder=keep, search=_name(graph, dataset, limits, seed))
    found = compress(
        graph, dataset, limits, attempt=float_net, estimator=FloatEstimator(), seed=seed, show=progress,
        checkpoints=checkpoints, storage=storage, on_round=on_round,
    )  # fmt: skip
    content = to_onnx(found.graph)
    report = _report(graph, found.graph, dataset, tested, found.rounds, found.notes)
    if out is not None:
        try:
            out.write_bytes(content)
        except OSError as error:
            raise OutputFolderError(f"{out}: cannot be written: {error.strerror}; choose another out") from error
    checkpoints.clear()
    return CompressedModule(GraphModule(found.graph), content, report)


def _report(
    before: Graph, after: Graph, dataset: Dataset, tested: bool, rounds: tuple[CompressionRound, ...],
    notes: tuple[str, ...],
) -> ModuleReport:  # fmt: skip
    def right(graph: Graph, part: str) -> Array:
        samples = getattr(dataset, part)
        return np.asarray(evaluate.float_predictions(graph, samples.x) == samples.y)

    one, two = right(before, "val"), right(after, "val")
    return ModuleReport(
        weight_bytes_before=weight_bytes(before), weight_bytes_after=weight_bytes(after),
        activation_bytes_before=peak_activation_bytes(before), activation_bytes_after=peak_activation_bytes(after),
        accuracy_before=float(one.mean()), accuracy_after=float(two.mean()), drop=float(one.mean() - two.mean()),
        interval=drop_interval(one, two),
        test_before=float(right(before, "test").mean()) if tested else None,
        test_after=float(right(after, "test").mean()) if tested else None,
        rounds=rounds, notes=notes,
    )  # fmt: skip


def imported(module: nn.Module, arrays: Mapping[str, Array]) -> Graph:
    """The module's float graph after the passes, by way of an ONNX file; the module stays as it is."""
    if "x_train" not in arrays:
        raise DataError(
            f"data: expected samples to train with, x_train, found {', '.join(sorted(arrays)) or 'nothing'}"
        )
    if not arrays["x_train"].ndim or not len(arrays["x_train"]):
        raise DataError(f"x_train: expected samples, found an array of shape {arrays['x_train'].shape}")
    example = torch.from_numpy(np.ascontiguousarray(arrays["x_train"][:1], dtype=np.float32))
    still = copy.deepcopy(module).cpu().eval()
    name = type(module).__name__
    with tempfile.TemporaryDirectory(prefix="freeml-module-") as folder, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        logger = logging.getLogger("torch.onnx")
        level = logger.level
        logger.setLevel(logging.ERROR)
        path = Path(folder) / f"{name}.onnx"
        try:
            torch.onnx.export(still, (example,), str(path), dynamo=True, verbose=False)
        except Exception as error:
            reason = (str(error).strip() or type(error).__name__).splitlines()[0]
            raise FreemlError(
                f"{name}: torch cannot export it for samples of shape {tuple(example.shape[1:])}: {reason}"
            ) from error
        finally:
            logger.setLevel(level)
        return run_passes(import_onnx(path), PASSES)


def collected(data: Any) -> dict[str, Array]:  # noqa: ANN401 - checked here
    """Arrays by name (x_train, y_train, ...) from such a mapping, a .npz file, a loader of (samples, labels) batches to
    train with, or such loaders by part (train, val, test). Raises DataError."""
    if isinstance(data, (str, Path)):
        read = read_arrays(Path(data))
        if not isinstance(read, dict):
            raise DataError(f"{data}: expected a .npz archive, found a single array")
        return read
    if isinstance(data, Mapping) and set(data) & set(PARTS):
        if strangers := sorted(set(map(str, data)) - set(PARTS)):
            raise DataError(f"data: expected loaders called {', '.join(PARTS)}, found {', '.join(strangers)}")
        return {name: array for part, loader in data.items() for name, array in _gathered(loader, part).items()}
    if isinstance(data, Mapping):
        return {str(name): _array(value) for name, value in data.items()}
    return _gathered(data, "train")


def _gathered(loader: Any, part: str) -> dict[str, Array]:  # noqa: ANN401 - checked here
    """All batches of a loader, one after the other."""
    if not isinstance(loader, Iterable):
        raise DataError(f"data: expected arrays, a .npz file or loaders, found {type(loader).__name__}")
    xs: list[Array] = []
    ys: list[Array] = []
    for batch in loader:
        if not isinstance(batch, (tuple, list)) or len(batch) != 2:
            raise DataError(f"data: expected batches (samples, labels) for {part}, found {type(batch).__name__}")
        xs.append(_array(batch[0]))
        ys.append(np.atleast_1d(_array(batch[1])))
    if not xs:
        raise DataError(f"data: expected at least one batch for {part}, found none")
    try:
        return {f"x_{part}": np.concatenate(xs), f"y_{part}": np.concatenate(ys)}
    except ValueError as error:
        raise DataError(f"data: expected batches of one shape for {part}, found several ({error})") from None


def _array(value: Any) -> Array:  # noqa: ANN401 - an array, a tensor, or what numpy makes one of
    if isinstance(value, Tensor):
        return value.detach().cpu().numpy()
    try:
        found = np.asarray(value)
    except ValueError as error:
        raise DataError(f"data: expected arrays, found lists of several lengths ({error})") from None
    if found.dtype.kind not in "biuf":
        raise DataError(f"data: expected numbers, found elements of type {found.dtype}")
    return found


def _size(value: int | str, what: str) -> int:
    return parse_size(value, what) if isinstance(value, str) else value


def _name(graph: Graph, dataset: Dataset, limits: ModuleBudget, seed: int) -> str:
    """The hash of the search."""
    asked = {**asdict(limits), "trials": None, "seed": seed}
    parts = [array for part in (dataset.train, dataset.val) for array in (part.x, part.y)]
    return search_hash(VERSION, to_text(graph), asked, *({"array": array} for array in parts))

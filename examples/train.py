"""Train the example nets and export them: ``python -m examples.train har`` writes ``examples/models/har.onnx``.

One thread, fixed seeds and deterministic kernels: on one machine the same command gives the same bytes. A run keeps the
last epoch's weights; validation accuracy is only printed, and the test split is measured once, at the end. How the
settings came about, and what that does to the accuracies, is told in ``models/README.md``.
"""

from __future__ import annotations

import argparse
import io
import logging
import sys
import time
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import numpy as np
import onnx
import torch
from torch import nn

from examples.data import LOADERS, MODEL_DATA, DataError, LabelArray, Split
from examples.nets import NETS

MODELS = Path(__file__).resolve().parent / "models"
_SIZE_LIMIT_BYTES = 200_000

Exporter = Literal["torchscript", "dynamo", "dynamo folded"]
"""The older exporter; the newer as it stands, with its shape arithmetic; the newer with constants folded."""

Augment = Callable[[torch.Tensor, torch.Generator], torch.Tensor]


@dataclass(frozen=True, slots=True, kw_only=True)
class Recipe:
    """How one net is trained and exported. ``learning_rate`` is the peak of a one-cycle schedule of AdamW."""

    epochs: int
    batch: int
    learning_rate: float
    weight_decay: float
    label_smoothing: float
    augment: Augment
    outputs: tuple[str, ...]
    exporter: Exporter
    opset: int


def rewear_watch(x: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
    """Wear the watch differently, ``x`` being ``(n, 6, length)``: accelerometer x y z, gyroscope x y z.

    Half of the windows change arms: mirrored along the forearm's axis x, which negates the acceleration along x and,
    angular velocity being an axial vector, the gyroscope's y and z. Then the watch is turned about a random axis
    (normal, 0.2 rad a component) and the exercise done harder or softer (log-normal gain, 0.2).
    """
    mirror = torch.tensor([-1.0, 1.0, 1.0, 1.0, -1.0, -1.0])[:, None]
    x = torch.where(torch.rand(len(x), 1, 1, generator=generator) < 0.5, mirror * x, x)
    axis = 0.2 * torch.randn(len(x), 3, generator=generator)
    skew = torch.zeros(len(x), 3, 3)
    skew[:, 2, 1], skew[:, 0, 2], skew[:, 1, 0] = axis.T
    turn = torch.matrix_exp(skew - skew.transpose(1, 2))
    gain = torch.exp(0.2 * torch.randn(len(x), 1, 1, generator=generator))
    return gain * torch.cat([turn @ x[:, :3], turn @ x[:, 3:]], dim=1)


def warp_image(x: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
    """Turn, scale, shear (each normal, 0.1) and shift (normal, one pixel) square images ``(n, c, size, size)``."""
    noise = torch.randn(len(x), 2, 3, generator=generator)
    scale = torch.tensor([0.1, 0.1, 2.0 / x.shape[-1]])
    grid = nn.functional.affine_grid(torch.eye(2, 3) + noise * scale, list(x.shape), align_corners=False)
    return nn.functional.grid_sample(x, grid, align_corners=False)


def flip_and_shift(x: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
    """Mirror every other image at random and shift each batch by up to one pixel, ``(n, c, height, width)``."""
    mirrored = torch.rand(len(x), 1, 1, 1, generator=generator) < 0.5
    x = torch.where(mirrored, x.flip(-1), x)
    down, right = torch.randint(0, 3, (2,), generator=generator).tolist()
    return nn.functional.pad(x, (1, 1, 1, 1))[..., down : down + x.shape[-2], right : right + x.shape[-1]]


RECIPES: dict[str, Recipe] = {
    "har": Recipe(
        epochs=20, batch=64, learning_rate=4e-3, weight_decay=1e-2, label_smoothing=0.1,
        augment=rewear_watch, outputs=("logits",), exporter="torchscript", opset=17,
    ),
    "lenet5": Recipe(
        epochs=40, batch=64, learning_rate=4e-3, weight_decay=1e-2, label_smoothing=0.05,
        augment=warp_image, outputs=("logits",), exporter="dynamo", opset=18,
    ),
    "resnet": Recipe(
        epochs=7, batch=128, learning_rate=1e-2, weight_decay=1e-2, label_smoothing=0.05,
        augment=flip_and_shift, outputs=("logits",), exporter="dynamo folded", opset=20,
    ),
    "dscnn": Recipe(
        epochs=8, batch=128, learning_rate=1e-2, weight_decay=1e-2, label_smoothing=0.05,
        augment=flip_and_shift, outputs=("logits",), exporter="torchscript", opset=17,
    ),
    "twohead": Recipe(
        epochs=20, batch=64, learning_rate=4e-3, weight_decay=1e-2, label_smoothing=0.05,
        augment=warp_image, outputs=("digit", "parity"), exporter="dynamo", opset=18,
    ),
}  # fmt: skip


def _labels(split: Split, part: str, outputs: tuple[str, ...]) -> list[LabelArray]:
    """The labels of every output for ``part`` (train, val or test), in output order."""
    arrays = split.arrays()
    return [arrays[f"y_{part}" if n == 0 else f"y_{part}_{name}"] for n, name in enumerate(outputs)]  # type: ignore[misc]


def _forward(net: nn.Module, x: torch.Tensor) -> tuple[torch.Tensor, ...]:
    """The net's outputs, always as a tuple."""
    out = net(x)
    return out if isinstance(out, tuple) else (out,)


def fit(net: nn.Module, split: Split, recipe: Recipe, seed: int) -> None:
    """Train ``net`` in place on the train part alone."""
    generator = torch.Generator().manual_seed(seed)
    x = torch.from_numpy(split.x_train)
    layout = torch.channels_last if x.dim() == 4 else torch.contiguous_format  # depthwise runs twice as fast so
    net.to(memory_format=layout)  # type: ignore[call-overload]
    labels = [torch.from_numpy(y) for y in _labels(split, "train", recipe.outputs)]
    steps = len(x) // recipe.batch
    optimizer = torch.optim.AdamW(net.parameters(), lr=recipe.learning_rate, weight_decay=recipe.weight_decay)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, recipe.learning_rate, total_steps=recipe.epochs * steps)
    loss_of = nn.CrossEntropyLoss(label_smoothing=recipe.label_smoothing)
    for epoch in range(recipe.epochs):
        net.train()
        order, total = torch.randperm(len(x), generator=generator), 0.0
        for rows in order[: steps * recipe.batch].view(steps, recipe.batch):
            outputs = _forward(net, recipe.augment(x[rows], generator).contiguous(memory_format=layout))
            loss = torch.stack([loss_of(out, y[rows]) for out, y in zip(outputs, labels, strict=True)]).sum()
            optimizer.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            optimizer.step()
            schedule.step()
            total += loss.item()
        scores = _percent(recipe, accuracy(net, split, "val", recipe.outputs))
        print(f"  epoch {epoch + 1}/{recipe.epochs}: loss {total / steps:.4f}, validation {scores}", flush=True)
    net.to(memory_format=torch.contiguous_format)  # type: ignore[call-overload]


def _percent(recipe: Recipe, scores: Sequence[float]) -> str:
    """Accuracies as text, named where there are several outputs."""
    named = zip(recipe.outputs, scores, strict=True)
    return ", ".join(f"{score:.2%}" if len(scores) == 1 else f"{name} {score:.2%}" for name, score in named)


@torch.no_grad()
def accuracy(net: nn.Module, split: Split, part: str, outputs: tuple[str, ...]) -> list[float]:
    """The share of right answers on ``part`` (train, val or test), for every output."""
    net.eval()
    x = torch.from_numpy({"train": split.x_train, "val": split.x_val, "test": split.x_test}[part])
    answers = [[out.argmax(1) for out in _forward(net, x[start : start + 500])] for start in range(0, len(x), 500)]
    labels = _labels(split, part, outputs)
    columns = zip(*answers, strict=True)
    return [float(np.mean(torch.cat(column).numpy() == y)) for column, y in zip(columns, labels, strict=True)]


def export(
    net: nn.Module, example: torch.Tensor, recipe: Recipe, path: Path, limit_bytes: int | None = _SIZE_LIMIT_BYTES
) -> None:
    """Write ``net`` as one ONNX file: input ``input``, first axis ``batch``, batch norms kept, nothing machine-bound.

    The exporters write different graphs for the same net, and the examples show freeml all of them.
    """
    net.eval()
    path.parent.mkdir(parents=True, exist_ok=True)
    logging.getLogger("torch.onnx").setLevel(logging.ERROR)  # or it says that torchvision is not installed
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # about the age of one exporter and a deprecated call inside the other
        model = _to_onnx(net, example, recipe)
    _forget_source(model)
    onnx.checker.check_model(model, full_check=True)
    data = model.SerializeToString(deterministic=True)
    if limit_bytes is not None and len(data) > limit_bytes:
        raise ValueError(f"{path.name}: {len(data)} bytes, more than {limit_bytes}")
    path.write_bytes(data)


def _to_onnx(net: nn.Module, example: torch.Tensor, recipe: Recipe) -> onnx.ModelProto:
    """Run the recipe's exporter."""
    from onnxscript.optimizer import fold_constants, remove_unused_nodes

    if recipe.exporter != "torchscript":
        # optimize=True would merge each batch norm into its convolution
        program = torch.onnx.export(
            net, (example,), dynamo=True, optimize=False, opset_version=recipe.opset, verbose=False,
            input_names=["input"], output_names=list(recipe.outputs),
            dynamic_shapes=({0: torch.export.Dim("batch")},),
        )  # fmt: skip
        assert program is not None
        if recipe.exporter == "dynamo folded":
            fold_constants(program.model)
            remove_unused_nodes(program.model)
        return program.model_proto
    file = io.BytesIO()
    torch.onnx.export(
        net, (example,), file, dynamo=False, opset_version=recipe.opset,  # type: ignore[arg-type]  # it takes files
        # PRESERVE with the net in eval mode: EVAL would merge each batch norm into its convolution
        training=torch.onnx.TrainingMode.PRESERVE, do_constant_folding=False,
        input_names=["input"], output_names=list(recipe.outputs),
        dynamic_axes={name: {0: "batch"} for name in ("input", *recipe.outputs)},
    )  # fmt: skip
    return onnx.load_from_string(file.getvalue())


def _forget_source(model: onnx.ModelProto) -> None:
    """Drop what the exporters note about the Python source (stack traces with local paths)."""
    model.ClearField("metadata_props")
    graph = model.graph
    for item in (graph, *graph.node, *graph.input, *graph.output, *graph.value_info, *graph.initializer):
        item.ClearField("metadata_props")
        item.ClearField("doc_string")


def train(name: str, *, epochs: int | None = None, models: Path = MODELS, seed: int = 0) -> Path:
    """Train one net from scratch and export it; returns the ONNX file's path. ``epochs`` overrides the recipe's."""
    print(f"{name}: on {MODEL_DATA[name]}", flush=True)
    path, split = models / f"{name}.onnx", LOADERS[MODEL_DATA[name]]()
    return train_net(name, NETS[name], split, RECIPES[name], path, epochs=epochs, seed=seed)


def train_net(
    name: str,
    make: Callable[[], nn.Module],
    split: Split,
    recipe: Recipe,
    path: Path,
    *,
    epochs: int | None = None,
    seed: int = 0,
    limit_bytes: int | None = _SIZE_LIMIT_BYTES,
) -> Path:
    """Train a net that ``make`` makes and export it to ``path``, which it returns."""
    if epochs is not None:
        recipe = replace(recipe, epochs=epochs)
    torch.set_num_threads(1)
    torch.use_deterministic_algorithms(True)
    torch.manual_seed(seed)
    net = make()
    parameters = sum(p.numel() for p in net.parameters())
    print(f"{name}: {parameters} parameters, {len(split.x_train)} samples", flush=True)
    began = time.monotonic()
    fit(net, split, recipe, seed)
    for part in ("val", "test"):
        print(f"{name}: {part} accuracy {_percent(recipe, accuracy(net, split, part, recipe.outputs))}")
    export(net, torch.from_numpy(split.x_train[:2]), recipe, path, limit_bytes)
    print(f"{name}: {path.name}, {path.stat().st_size} bytes, {time.monotonic() - began:.0f} s", flush=True)
    return path


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line; returns the exit status."""
    parser = argparse.ArgumentParser(prog="python -m examples.train", description="Train and export example nets.")
    parser.add_argument("name", choices=(*RECIPES, "all"))
    parser.add_argument("--epochs", type=int, help="instead of the recipe's number")
    parser.add_argument("--models", type=Path, default=MODELS, help="folder for NAME.onnx")
    options = parser.parse_args(arguments)
    try:
        for name in RECIPES if options.name == "all" else (options.name,):
            train(name, epochs=options.epochs, models=options.models)
    except DataError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    raise SystemExit(main())

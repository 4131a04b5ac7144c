"""Measure the example nets with onnxruntime: ``python -m examples.evaluate`` prints the table of ``models/README.md``.

Needs onnx, onnxruntime and the data; no torch.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from math import prod
from pathlib import Path

import numpy as np
import onnx

from examples.data import LOADERS, MODEL_DATA, DataError, Split

MODELS = Path(__file__).resolve().parent / "models"


def count_parameters(model: onnx.ModelProto) -> int:
    """Trained numbers: the elements of the float initializers, batch norm's running statistics left out."""
    statistics = {name for n in model.graph.node if n.op_type == "BatchNormalization" for name in n.input[3:5]}
    floats = (t for t in model.graph.initializer if t.data_type == onnx.TensorProto.FLOAT)
    return sum(prod(tensor.dims) for tensor in floats if tensor.name not in statistics)


def count_macs(model: onnx.ModelProto) -> int:
    """Multiply-accumulates of the convolutions and dense layers for one sample, padding counted as data."""
    single = onnx.ModelProto()
    single.CopyFrom(model)
    for value in single.graph.input:
        value.type.tensor_type.shape.dim[0].dim_value = 1
    for value in single.graph.output:
        value.type.tensor_type.shape.dim[0].dim_value = 1
    del single.graph.value_info[:]
    inferred = onnx.shape_inference.infer_shapes(single, strict_mode=True, data_prop=True)
    shapes = {v.name: [d.dim_value for d in v.type.tensor_type.shape.dim] for v in inferred.graph.value_info}
    weights = {tensor.name: prod(tensor.dims) for tensor in model.graph.initializer}
    macs = 0
    for node in model.graph.node:
        if node.op_type == "Conv":
            macs += weights[node.input[1]] * prod(shapes[node.output[0]][2:])
        elif node.op_type in ("Gemm", "MatMul"):
            macs += weights[node.input[1]]  # one row of input
    return macs


def measure(path: Path, split: Split) -> dict[str, float]:
    """Accuracy of every output of a net on the test split; the first output has the split's own labels."""
    import onnxruntime as ort

    options = ort.SessionOptions()
    options.intra_op_num_threads = 1
    session = ort.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    names = [output.name for output in session.get_outputs()]
    arrays = split.arrays()
    right = dict.fromkeys(names, 0)
    for start in range(0, len(split.x_test), 500):
        rows = slice(start, start + 500)
        for number, answer in enumerate(session.run(names, {"input": split.x_test[rows]})):
            labels = arrays["y_test" if number == 0 else f"y_test_{names[number]}"]
            right[names[number]] += int(np.sum(answer.argmax(1) == labels[rows]))
    return {name: count / len(split.x_test) for name, count in right.items()}


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line; returns the exit status."""
    parser = argparse.ArgumentParser(prog="python -m examples.evaluate", description="Print the table of example nets.")
    parser.add_argument("name", nargs="*", help=f"of {', '.join(MODEL_DATA)}; all when none is given")
    options = parser.parse_args(arguments)
    unknown = sorted(set(options.name) - set(MODEL_DATA))
    if unknown:
        parser.error(f"no such net: {', '.join(unknown)}; there are {', '.join(MODEL_DATA)}")
    print("| net | data | parameters | MACs | ONNX bytes | float accuracy, test split |")
    print("|---|---|---:|---:|---:|---|")
    try:
        for name in options.name or MODEL_DATA:
            path, data = MODELS / f"{name}.onnx", MODEL_DATA[name]
            model = onnx.load(path)
            scores = measure(path, LOADERS[data]())
            named = (f"{score:.2%}" if len(scores) == 1 else f"{key} {score:.2%}" for key, score in scores.items())
            print(
                f"| {name} | {data} | {count_parameters(model):,} | {count_macs(model):,} "
                f"| {path.stat().st_size:,} | {', '.join(named)} |",
                flush=True,
            )
    except (DataError, FileNotFoundError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    raise SystemExit(main())

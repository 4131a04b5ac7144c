"""Compiling small nets and holding their QDQ files against the integer reference."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np
import onnx
import onnx.checker

from freeml.frontend.onnx_reader import import_model
from freeml.frontend.qdq import to_qdq
from freeml.ir.graph import Graph, QGraph
from freeml.ir.types import Array
from freeml.passes.driver import run_passes
from freeml.passes.fuse import fusion_groups
from freeml.passes.standard import PASSES
from freeml.quant.quantize import Precision, dequantize, quantize, quantize_input
from freeml.quant.ranges import observe
from freeml.sim.onnx_run import differences, run_onnx
from freeml.sim.trace import Trace, run_reference

Width = Literal["int8", "int16"]


@dataclass(frozen=True, kw_only=True)
class Compiled:
    """A net as integers, real inputs for it, and every value that the reference computes from them."""

    qgraph: QGraph
    inputs: Mapping[str, Array]
    reference: Trace


def compiled(
    graph: Graph, inputs: Mapping[str, Array], width: Width, *, bits: Literal[8, 16] = 8, fuse: bool = True
) -> Compiled:
    """Quantize for these inputs; run the reference on them, rounded to the formats of the net's inputs.

    onnxruntime divides by the scale in float32, so that it rounds some 16-bit inputs to the next integer.
    """
    graph = run_passes(graph, PASSES)
    groups = fusion_groups(graph) if fuse else ()
    precision = Precision(default=width, weight_bits=bits)
    qgraph = quantize(graph, observe(graph, inputs), precision=precision, method="minmax", groups=groups)
    return on_grid(qgraph, inputs)


def on_grid(qgraph: QGraph, inputs: Mapping[str, Array]) -> Compiled:
    """The net with inputs that its formats represent exactly."""
    types = qgraph.types
    rounded = {name: dequantize(quantize_input(array, types[name]), types[name]) for name, array in inputs.items()}
    return Compiled(qgraph=qgraph, inputs=rounded, reference=reference(qgraph, rounded))


def reference(qgraph: QGraph, inputs: Mapping[str, Array]) -> Trace:
    integers = {name: quantize_input(array, qgraph.types[name]) for name, array in inputs.items()}
    return run_reference(qgraph, integers, every_value=True)


def random_inputs(graph: Graph, samples: int = 40, seed: int = 5) -> dict[str, Array]:
    rng = np.random.default_rng(seed)
    return {n: rng.normal(size=(samples, *graph.types[n].shape)).astype(np.float32) for n in graph.inputs}


def exported(qgraph: QGraph) -> onnx.ModelProto:
    """The file, deterministic and accepted by ONNX's checker with shape inference."""
    data = to_qdq(qgraph)
    assert data == to_qdq(qgraph)
    model = onnx.load_from_string(data)
    onnx.checker.check_model(model, full_check=True)
    return model


def with_every_value(model: onnx.ModelProto) -> bytes:
    """The model with every described value as an output."""
    result = onnx.ModelProto()
    result.CopyFrom(model)
    result.graph.output.extend(model.graph.value_info)
    return result.SerializeToString()


def largest_steps(net: Compiled, model: onnx.ModelProto) -> float:
    """The largest error of onnxruntime over all values of the integer graph, in output steps; the shapes are equal."""
    found = run_onnx(with_every_value(model), net.inputs)
    produced = {value for stage in net.qgraph.stages() for value in stage.outputs}
    assert set(found) == produced
    for name, array in found.items():
        assert array.shape == net.reference.values[name].shape, name
        assert array.dtype == (np.int64 if net.qgraph.types[name].dtype == "int32" else np.float32), name
    return max(d.largest_steps for d in differences(net.qgraph, net.reference, found))


def round_trip(net: Compiled, model: onnx.ModelProto, width: Width, bits: Literal[8, 16] = 8) -> Compiled:
    """Compile the file; inputs and outputs keep the formats it brings."""
    again = compiled(import_model(model, None), net.inputs, width, bits=bits)
    for name in (*net.qgraph.inputs, *net.qgraph.outputs):
        assert again.qgraph.types[name] == net.qgraph.types[name]
    return again


def output_steps(first: Compiled, second: Compiled) -> int:
    """Largest difference of two references over the outputs."""
    pairs = ((first.reference.values[name], second.reference.values[name]) for name in first.qgraph.outputs)
    return max(int(np.abs(a - b).max()) for a, b in pairs)


def shapes(model: onnx.ModelProto) -> dict[str, list[int | str]]:
    """Declared shapes of inputs and outputs."""
    values = (*model.graph.input, *model.graph.output)
    return {v.name: [d.dim_param or d.dim_value for d in v.type.tensor_type.shape.dim] for v in values}

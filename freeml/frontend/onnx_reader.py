"""`import_onnx`: a trained ONNX model becomes the float graph, or one error that lists everything in its way."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import onnx

from freeml.errors import ModelFileError, UnsupportedModelError
from freeml.frontend.loading import prepare, read_model
from freeml.frontend.tensors import first_non_finite
from freeml.frontend.walk import ModelBuilder, Walk, walk
from freeml.ir.graph import Graph, Node, Op, Stage, verify
from freeml.ops.importing import SourceNode
from freeml.ops.reshape import Reshape


def import_onnx(path: Path, *, keep_batch: bool = False) -> Graph:
    """The float graph of a model file.

    Every shape is static, with batch 1; shape arithmetic is folded; unread nodes, constants and inputs are dropped.
    `keep_batch` leaves a fixed batch as it is (ONNX's own test cases). Raises ModelFileError or UnsupportedModelError.
    """
    model = read_model(path)
    return _import(model, path.parent, model.graph.name or path.stem, keep_batch)


def import_model(model: onnx.ModelProto, base_dir: Path | None, *, keep_batch: bool = False) -> Graph:
    """`import_onnx` of a model in memory. `base_dir` is the folder of its external data; None allows none."""
    return _import(model, base_dir, model.graph.name or "model", keep_batch)


def _import(model: onnx.ModelProto, base_dir: Path | None, name: str, keep_batch: bool) -> Graph:
    prepared = prepare(model, base_dir)
    if not prepared.graph.output:
        raise ModelFileError(f"the model {name} has no outputs; export it again")
    state = walk(prepared, keep_batch=keep_batch)
    outputs = tuple(value.name for value in prepared.graph.output)
    renamed = name_outputs(state, outputs)
    if state.problems:
        raise UnsupportedModelError(state.problems)
    graph = assemble(state.builder, name, tuple(value.name for value in prepared.graph.input), outputs, renamed)
    problems = [
        f"tensor {constant} holds {array[index]} at index {list(index)}; expected finite numbers"
        for constant, array in graph.constants.items()
        if (index := first_non_finite(array)) is not None
    ]
    if problems:
        raise UnsupportedModelError(problems)
    initializers = {tensor.name for tensor in prepared.graph.initializer}
    declared = (value.name for value in prepared.graph.input if value.name not in initializers)
    graph = replace(graph, unread=tuple(name for name in declared if name not in graph.inputs))
    verify(graph)
    return graph


def name_outputs(state: Walk, outputs: tuple[str, ...]) -> dict[str, str]:
    """Old name -> graph output name, for outputs that are another name of a value.

    An output that is an input, or the same value as another output, becomes a copy. Problems go to `state.problems`.
    """
    builder = state.builder
    produced = {output for node in builder.nodes for output in node.outputs}
    renamed: dict[str, str] = {}
    taken = {name for name in outputs if builder.resolve(name) == name}
    for name in dict.fromkeys(outputs):
        value = builder.resolve(name)
        if name in state.unknown:
            continue
        if outputs.count(name) > 1:
            state.problems.append(f"output {name} is listed twice; remove it from the model")
        elif name in state.quantized:
            state.problems.append(f"output {name} holds quantized integers; end the model with DequantizeLinear")
        elif value in builder.constants:
            state.problems.append(f"output {name} does not depend on any input; remove it from the model")
        elif value not in builder.types:
            state.problems.append(f"output {name} is not produced by any node; export the model again")
        elif value == name:
            if value not in produced:
                state.problems.append(f"output {name} is an input; remove it from the model")
        elif value in produced and value not in taken:
            taken.add(value)
            renamed[value] = name
        else:
            del builder.aliases[name]
            copy = SourceNode(op_type="Identity", name=name, opset=1, inputs=(value,), outputs=(name,), attributes={})
            builder.emit(Reshape(shape=builder.types[value].shape), (value,), (name,), copy)
    return renamed


def assemble(
    builder: ModelBuilder, name: str, inputs: tuple[str, ...], outputs: tuple[str, ...], renamed: Mapping[str, str]
) -> Graph:
    """The graph of everything the outputs depend on, with values renamed."""

    def final(value: str) -> str:
        return renamed.get(value, value)

    def finalize(node: Node[Op]) -> Node[Op]:
        stages = tuple(
            Stage(op=s.op, inputs=tuple(map(final, s.inputs)), outputs=tuple(map(final, s.outputs)))
            for s in node.stages
        )
        return Node(name=node.name, stages=stages, source=node.source)

    needed = set(outputs)
    nodes: list[Node[Op]] = []
    for node in map(finalize, reversed(builder.nodes)):
        if any(output in needed for output in node.outputs):
            nodes.append(node)
            needed.update(node.inputs)
    values = needed | {output for node in nodes for output in node.outputs}
    return Graph(
        name=name,
        inputs=tuple(value for value in inputs if value in needed and value not in builder.constants),
        outputs=outputs,
        nodes=tuple(reversed(nodes)),
        types={final(value): type_ for value, type_ in builder.types.items() if final(value) in values},
        constants={value: array for value, array in builder.constants.items() if value in needed},
        brought={final(value): format_ for value, format_ in builder.brought.items() if final(value) in values},
        statistics={final(value): pair for value, pair in builder.statistics.items() if final(value) in values},
    )

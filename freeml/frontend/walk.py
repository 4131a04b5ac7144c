"""Walks over the nodes of a checked ONNX model and hands each to its importer, collecting every problem."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

import numpy as np
import onnx

from freeml.frontend.loading import DEFAULT_DOMAINS, defines, opset_of
from freeml.frontend.tensors import (
    FLOAT_TYPES,
    dtype_name,
    first_non_finite,
    node_names,
    source_node,
    tensor_array,
    tensor_shape,
)
from freeml.ir.graph import Op, Stage
from freeml.ir.types import Shape, TensorType
from freeml.ops.importing import Builder, SourceNode, Unsupported
from freeml.ops.onnx_map import FOLDERS, IMPORTERS, INTEGER_OPERATORS
from freeml.ops.onnx_values import MAX_ELEMENTS, set_constant

MAX_FOLDED_MACS = 2**28
"""Multiply-accumulates spent on a node that reads only constants; more is no sensible export."""

# Operators that give an infinite constant a meaning, or pass it on to the one that reads it.
TAKES_INFINITY = frozenset({"Cast", "CastLike", "Clip", "Dropout", "Identity", "Max", "Min", "Shape", "Size"})

OPERATORS = frozenset(IMPORTERS) | frozenset(FOLDERS)

_QDQ = "export the quantized model in QDQ format (QuantizeLinear and DequantizeLinear around float operators)"
_FLOW = "control flow is not supported; export the model with the branch or the number of steps fixed"
WAYS_OUT: Mapping[str, str] = {
    **dict.fromkeys(("QLinearConv", "QLinearMatMul", "ConvInteger", "MatMulInteger", "QGemm", "QLinearAdd"), _QDQ),
    "DynamicQuantizeLinear": "formats are chosen while compiling; quantize statically or not at all",
    **dict.fromkeys(("If", "Loop", "Scan"), _FLOW),
}


@dataclass(slots=True)
class ModelBuilder(Builder):
    """A builder that keeps names of the model free for the model's own values."""

    reserved: frozenset[str] = frozenset()

    def fresh(self, base: str) -> str:
        """A value name used neither so far nor by the model."""
        name, count = base, 1
        while name in self.types or name in self.aliases or name in self.reserved:
            count += 1
            name = f"{base}_{count}"
        return name


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What became of one node. `reason` says why it is not supported, or why it was not looked at.

    `shapes` are those of its outputs, None where nothing is known of one; `macs` and `params` count what it computes at
    run time: multiply-accumulates of one inference, and elements of the constants it reads.
    """

    name: str
    op_type: str
    supported: bool
    reason: str = ""
    shapes: tuple[Shape | None, ...] = ()
    macs: int = 0
    params: int = 0


@dataclass(slots=True)
class Walk:
    """State of an import: the graph so far, the problems so far, and the values whose types a problem left unknown."""

    model: onnx.ModelProto
    keep_batch: bool
    builder: ModelBuilder
    problems: list[str] = field(default_factory=list)
    outcomes: list[Outcome] = field(default_factory=list)
    unknown: set[str] = field(default_factory=set)
    quantized: set[str] = field(default_factory=set)
    live: frozenset[str] = frozenset()


def walk(model: onnx.ModelProto, *, keep_batch: bool) -> Walk:
    """Import every node that an output depends on. Problems are collected, none is raised."""
    graph = model.graph
    reserved = frozenset(name for node in graph.node for name in node.output)
    state = Walk(model=model, keep_batch=keep_batch, builder=ModelBuilder(reserved=reserved), live=live_values(graph))
    initializers = {tensor.name for tensor in graph.initializer} | {s.values.name for s in graph.sparse_initializer}
    for tensor in graph.initializer:
        if tensor.name in state.live:
            try:
                set_constant(state.builder, tensor.name, tensor_array(tensor))
            except Unsupported as problem:
                _give_up(state, f"{problem}", (tensor.name,))
    for sparse in graph.sparse_initializer:
        if sparse.values.name in state.live:
            _give_up(state, f"tensor {sparse.values.name}: sparse tensors are not supported", (sparse.values.name,))
    for value in graph.input:
        if value.name in state.live and value.name not in initializers:
            _declare_input(state, value)
    opset = opset_of(model)
    for node, name in zip(graph.node, node_names(graph), strict=True):
        _visit(state, node, name, opset)
    return state


def live_values(graph: onnx.GraphProto) -> frozenset[str]:
    """Values that some graph output depends on."""
    live = {value.name for value in graph.output}
    for node in reversed(graph.node):
        if any(name in live for name in node.output):
            live.update(name for name in node.input if name)
    return frozenset(live)


def _give_up(state: Walk, problem: str, values: Iterable[str]) -> None:
    """Record a problem; nothing is known of `values` from here on."""
    state.problems.append(problem)
    state.unknown.update(values)


def _declare_input(state: Walk, value: onnx.ValueInfoProto) -> None:
    """Give a graph input its type; the batch, its first axis, becomes 1."""
    name = value.name
    elem_type = value.type.tensor_type.elem_type
    if not value.type.HasField("tensor_type"):
        _give_up(state, f"input {name}: expected a tensor, found a sequence, map or optional; pass tensors", (name,))
        return
    if elem_type not in FLOAT_TYPES:
        problem = f"input {name}: expected floats, found {dtype_name(elem_type)}; export the model with a float input"
        _give_up(state, f"{problem}, without a Cast behind it", (name,))
        return
    declared = tensor_shape(value)
    if declared is None:
        _give_up(state, f"input {name}: its shape is not declared; export the model with fixed shapes", (name,))
        return
    shape, problems = static_shape(declared, state.keep_batch)
    if problems:
        for problem in problems:
            _give_up(state, f"input {name}: {problem}", (name,))
        return
    state.builder.types[name] = TensorType(shape=shape)


def static_shape(declared: tuple[int | str, ...], keep_batch: bool) -> tuple[Shape, list[str]]:
    """The shape with batch 1 and what stands against it. `keep_batch` leaves a fixed batch as it is."""
    shape = tuple(1 if axis == 0 and isinstance(dim, str) else dim for axis, dim in enumerate(declared))
    problems = []
    if not shape and not keep_batch:
        problems.append("it is a scalar; expected a batch as its first axis")
    for axis, dim in enumerate(shape):
        if isinstance(dim, str):
            symbol = f' ("{dim}")' if dim else ""
            problems.append(f"axis {axis} is dynamic{symbol}; export the model with that axis fixed")
        elif dim < 1:
            problems.append(f"axis {axis} has extent {dim}; expected at least 1")
        elif axis == 0 and dim != 1 and not keep_batch:
            problems.append(f"axis 0, the batch, is fixed at {dim}; export the model with batch 1 or a dynamic batch")
    sizes = tuple(dim for dim in shape if isinstance(dim, int))
    if not problems and TensorType(shape=sizes).size > MAX_ELEMENTS:
        problems.append(f"shape {list(sizes)} is too large: at most {MAX_ELEMENTS} elements are supported")
    return sizes, problems


def _visit(state: Walk, proto: onnx.NodeProto, name: str, opset: int) -> None:
    """Import one node, or note why not."""
    outputs = tuple(output for output in proto.output if output)
    missing = [value for value in proto.input if value in state.unknown]
    if not any(output in state.live for output in outputs):
        state.outcomes.append(_outcome(proto, name, "no output depends on it", supported=True))
        return
    if missing:
        state.unknown.update(outputs)
        supported = proto.domain in DEFAULT_DOMAINS and proto.op_type in OPERATORS
        reason = f"not examined: nothing is known of its input {missing[0]}" if supported else _not_an_operator(proto)
        state.outcomes.append(_outcome(proto, name, reason, supported=supported))
        if not supported:
            state.problems.append(f"node {name} ({proto.op_type}): {reason}")
        return
    first = len(state.builder.nodes)
    try:
        _import(state, proto, name, opset)
    except Unsupported as problem:
        _give_up(state, f"node {name} ({proto.op_type}): {problem}", outputs)
        state.outcomes.append(_outcome(proto, name, str(problem), supported=False))
    else:
        state.outcomes.append(_examined(state.builder, proto, name, first))


def _outcome(proto: onnx.NodeProto, name: str, reason: str, *, supported: bool) -> Outcome:
    return Outcome(name=name, op_type=proto.op_type, supported=supported, reason=reason)


def _examined(builder: Builder, proto: onnx.NodeProto, name: str, first: int) -> Outcome:
    """What a node became: the builder's nodes since `first`, or constants."""
    made = builder.nodes[first:]
    read = {value for node in made for value in node.inputs if value in builder.constants}
    shapes = (builder.types.get(builder.resolve(value)) for value in proto.output)
    return Outcome(
        name=name,
        op_type=proto.op_type,
        supported=True,
        shapes=tuple(None if type_ is None else type_.shape for type_ in shapes),
        macs=sum(
            node.op.macs(tuple(builder.types[v] for v in node.inputs), tuple(builder.types[v] for v in node.outputs))
            for node in made
        ),
        params=sum(builder.constants[value].size for value in read),
    )


def _not_an_operator(proto: onnx.NodeProto) -> str:
    """Why a node's operator is unknown, and a way out."""
    if proto.domain not in DEFAULT_DOMAINS:
        return f"operators of domain {proto.domain} are not supported; express it with ONNX's own operators"
    return f"the operator is not supported; {WAYS_OUT.get(proto.op_type, 'replace it in the model before exporting')}"


def _import(state: Walk, proto: onnx.NodeProto, name: str, opset: int) -> None:
    """Import or fold a node whose inputs are all known. Raises Unsupported."""
    builder = state.builder
    if proto.domain not in DEFAULT_DOMAINS or proto.op_type not in OPERATORS:
        raise Unsupported(_not_an_operator(proto))
    if not defines(opset, proto.op_type):
        raise Unsupported(f"opset {opset}, which the model uses, does not define the operator; export the model again")
    node = _with_read_outputs(source_node(proto, name, opset), state.live)
    _check_inputs(state, node)
    constants = [builder.value(value) is not None for value in node.inputs if value]
    folds = bool(constants) and all(constants)
    with np.errstate(all="ignore"):  # what is not finite is reported where it is read
        if folds and node.op_type in FOLDERS:
            FOLDERS[node.op_type](node, builder)
        else:
            _emit(builder, node)
    if node.op_type == "QuantizeLinear" and not folds:
        state.quantized.update(node.outputs)


def _emit(builder: Builder, node: SourceNode) -> None:
    """Run the importer of a node and evaluate what of it reads only constants. Raises Unsupported."""
    if node.op_type not in IMPORTERS:
        running = next((value for value in node.inputs if value and builder.value(value) is None), "nothing")
        raise Unsupported(f"it is supported on constants only, but reads {running}, which is computed at run time")
    _check_finite(builder, node)
    first = len(builder.nodes)
    IMPORTERS[node.op_type](node, builder)
    _check_sizes(builder, first)
    _fold_new_nodes(builder, first)


def _with_read_outputs(node: SourceNode, live: frozenset[str]) -> SourceNode:
    """The node without the names of optional outputs that nobody reads."""
    outputs = tuple(output if index == 0 or output in live else "" for index, output in enumerate(node.outputs))
    return SourceNode(
        op_type=node.op_type,
        name=node.name,
        opset=node.opset,
        inputs=node.inputs,
        outputs=outputs,
        attributes=node.attributes,
    )


def _check_inputs(state: Walk, node: SourceNode) -> None:
    """Refuse required inputs left out, run-time integers, quantized values that are not dequantized."""
    formal = onnx.defs.get_schema(node.op_type, node.opset, "").inputs
    for index, value in enumerate(node.inputs):
        expected = formal[min(index, len(formal) - 1)]
        if not value:
            if expected.option != onnx.defs.OpSchema.FormalParameterOption.Optional:
                raise Unsupported(f"its input {index} ({expected.name}) is left out")
            continue
        if state.builder.resolve(value) not in state.builder.types:
            raise Unsupported(f"its input {value} is not produced by any node")
        if value in state.quantized and node.op_type not in ("DequantizeLinear", "Shape", "Size"):
            raise Unsupported(f"it reads {value}, which is quantized; {_QDQ}")
        run_time = state.builder.value(value) is None
        if run_time and state.builder.type(value).dtype != "float32" and node.op_type not in INTEGER_OPERATORS:
            raise Unsupported(f"it reads {value}, an integer computed at run time; only floats are computed with")


def _check_finite(builder: Builder, node: SourceNode) -> None:
    """Refuse NaN and infinity in the constants of a layer."""
    if node.op_type in TAKES_INFINITY:
        return
    for value in node.inputs:
        array = builder.value(value) if value else None
        index = None if array is None else first_non_finite(array)
        if array is not None and index is not None:
            found = array[index]
            raise Unsupported(f"tensor {value} holds {found} at index {list(index)}; expected finite numbers")


def _check_sizes(builder: Builder, first: int) -> None:
    """Refuse values without elements or with absurdly many."""
    for node in builder.nodes[first:]:
        for output in node.outputs:
            shape, size = builder.types[output].shape, builder.types[output].size
            if not 0 < size <= MAX_ELEMENTS:
                raise Unsupported(f"{output} would have shape {list(shape)}; expected 1 to {MAX_ELEMENTS} elements")


def _fold_new_nodes(builder: Builder, first: int) -> None:
    """Evaluate nodes emitted since `first` that read only constants."""
    emitted = builder.nodes[first:]
    del builder.nodes[first:]
    for node in emitted:
        if not all(value in builder.constants for value in node.inputs):
            builder.nodes.append(node)
            _check_float_constants(builder, node.inputs)
            continue
        for stage in node.stages:
            _evaluate(builder, stage)


def _check_float_constants(builder: Builder, values: tuple[str, ...]) -> None:
    """Refuse integer constants as operands of a layer."""
    for value in values:
        array = builder.constants.get(value)
        if array is not None and array.dtype != np.float32:
            raise Unsupported(f"it reads {value}, which holds {array.dtype}; expected floats")


def _evaluate(builder: Builder, stage: Stage[Op]) -> None:
    """Make the outputs of an operator on constants constants."""
    inputs = tuple(builder.types[value] for value in stage.inputs)
    outputs = tuple(builder.types[value] for value in stage.outputs)
    if stage.op.macs(inputs, outputs) > MAX_FOLDED_MACS:
        raise Unsupported("it reads only constants, and is too large to be evaluated while compiling")
    arrays = tuple(np.asarray(builder.constants[value], dtype=np.float32)[np.newaxis] for value in stage.inputs)
    for output, array in zip(stage.outputs, stage.op.run(arrays), strict=True):
        set_constant(builder, output, array[0])

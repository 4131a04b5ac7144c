"""Integer graph and memory plan -> CProgram."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace

from freeml.codegen.program import (
    RESULT_ALIGNMENT_BYTES,
    CData,
    CExit,
    CExits,
    CLayer,
    CProgram,
    CTensor,
    Pointer,
    rounded,
)
from freeml.errors import UnsupportedModelError
from freeml.ir.exits import Reliability
from freeml.ir.graph import Node, QGraph, QOp, Stage
from freeml.ir.text import type_text
from freeml.ir.types import ITEM_BYTES, QType
from freeml.ops.answer import QAnswer
from freeml.ops.averagepool import QAveragePool
from freeml.ops.base import Kernel, LoweredOp, Lowering, Operand, Scratch
from freeml.ops.conv import QConv
from freeml.ops.dense import QDense
from freeml.ops.maxpool import QMaxPool
from freeml.ops.storage import Sparse
from freeml.plan.memory import ALIGNMENT_BYTES, MemoryPlan, is_view
from freeml.targets import Board

C_KEYWORDS = frozenset(
    "auto break case char const continue default do double else enum extern float for goto if inline int long register "
    "restrict return short signed sizeof static struct switch typedef union unsigned void volatile while".split()
)
ROLES = {1: "weights", 2: "bias"}


def c_names(names: tuple[str, ...]) -> dict[str, str]:
    """A distinct, readable C identifier for each name of the model."""
    result: dict[str, str] = {}
    used: set[str] = set(C_KEYWORDS)
    for name in names:
        base = re.sub(r"[^0-9a-z]+", "_", name.lower()).strip("_")[-40:].strip("_") or "layer"
        result[name] = _unused(f"n{base}" if base[0].isdigit() else base, used)
    return result


def _unused(base: str, used: set[str]) -> str:
    """`base`, numbered where it is in `used` already; added to it."""
    candidate, count = base, 1
    while candidate in used:
        count += 1
        candidate = f"{base}_{count}"
    used.add(candidate)
    return candidate


def data_names(graph: QGraph, names: Mapping[str, str]) -> dict[str, tuple[str, ...]]:
    """The prefix that each stage's constants have, by node; `names` are the C names of the layers by node.

    A constant is `fm_PREFIX_ROLE` and no role holds an underscore, so distinct prefixes make distinct constants. The
    function of a layer is `fm_layer_NAME`, which must not look like a constant of another layer.
    """
    functions = (f"layer_{name}" for name in names.values())
    used = {function.rpartition("_")[0] for function in functions}
    heads = {node: _unused(name, used) for node, name in names.items()}  # first, so that most have their layer's name
    return {
        node.name: (
            heads[node.name],
            *(_unused(f"{heads[node.name]}_{stage.op.kind.lower()}", used) for stage in node.stages[1:]),
        )
        for node in graph.nodes
        if node.name in names
    }


def ctype(type_: QType) -> str:
    """C element type."""
    return f"{type_.dtype}_t"


def lower(
    graph: QGraph,
    memory: MemoryPlan,
    far: Mapping[str, int] | None = None,
    board: Board | None = None,
) -> CProgram:
    """The program that computes `graph` at the addresses of `memory`; `far` holds addresses of far constants by name.

    Each layer is one region. Without a board, activations are taken to live in non-volatile memory of 16-bit words.

    Raises UnsupportedModelError when there is nothing to compute.
    """
    run = tuple(n for n in graph.nodes if not is_view(n.op))
    if not run:
        problem = f"{graph.name}: expected something to compute, found that every output is an input, at most reshaped"
        raise UnsupportedModelError((problem,))
    names = c_names(tuple(n.name for n in run))
    prefixes = data_names(graph, names)
    data: list[CData] = []
    layers = tuple(_layer(graph, memory, node, names[node.name], prefixes[node.name], data, far or {}) for node in run)
    scratch = max((_scratch_bytes(layer) for layer in layers), default=0)
    inputs = tuple(_tensor(graph, memory, i, name) for i, name in enumerate(graph.inputs))
    ends = _ends(graph)
    exits = _exits(graph, memory, ends)
    outputs = tuple(
        replace(_tensor(graph, memory, i, name), layer=ends.get(name, 0)) for i, name in enumerate(graph.outputs)
    )
    return CProgram(
        name=graph.name, layers=layers, data=tuple(sorted(data, key=lambda d: d.far_address or 0)),
        inputs=inputs, outputs=outputs, arena_bytes=memory.arena_bytes, scratch_bytes=scratch,
        granule_bytes=2 if board is None else board.nv_granule_bytes,
        mirrored=board is not None and board.activations == "sram", exits=exits,
        region_nj=(0,) * len(layers) if exits is not None else (),
    )  # fmt: skip


def _ends(graph: QGraph) -> dict[str, int]:
    """The number of the layer that computes each value; a view's is that of what it views."""
    ends: dict[str, int] = {}
    count = 0
    for node in graph.nodes:
        if is_view(node.op) and len(node.stages) == 1:
            if node.inputs[0] in ends:
                ends[node.outputs[0]] = ends[node.inputs[0]]
            continue
        ends.update((value, count) for value in node.outputs)
        count += 1
    return ends


def _exits(graph: QGraph, memory: MemoryPlan, ends: Mapping[str, int]) -> CExits | None:
    """The tables of a graph that ends in its answer."""
    last = graph.nodes[-1].stages[0] if graph.nodes else None
    if last is None or not isinstance(last.op, QAnswer):
        return None
    exits = last.op.exits
    final, *scores = last.inputs

    def entry(name: str, value: str, steps: int, reliability: Reliability) -> CExit:
        return CExit(
            name=name, layer=ends[value], offset=memory.offset(value), wide=graph.types[value].dtype == "int16",
            steps=steps, reliability=reliability,
        )  # fmt: skip

    entries = [entry(e.name, v, e.steps, e.reliability) for e, v in zip(exits.exits, scores, strict=True)]
    end = entry("the end", final, 0, exits.final)
    return CExits(classes=graph.types[final].size, entries=(*entries, end), policy=exits.policy)


def _tensor(graph: QGraph, memory: MemoryPlan, index: int, name: str) -> CTensor:
    type_ = graph.types[name]
    return CTensor(index=index, name=name, type=type_, ctype=ctype(type_), offset=memory.offset(name))


def result_layout(graph: QGraph, board: Board) -> tuple[dict[str, int], int]:
    """Where each output lies in a result, in bytes, and the bytes of a result: `CProgram.result_offset` for a graph."""
    offsets, position = {}, 0
    for name in graph.outputs:
        offsets[name] = position
        position += rounded(graph.types[name].size_bytes, max(RESULT_ALIGNMENT_BYTES, board.nv_granule_bytes))
    return offsets, position


def arena(type_: QType, offset: int) -> str:
    """Expression for a tensor's first element in the arena."""
    member = {"int8": "s8", "int16": "s16", "int32": "s32"}[type_.dtype]
    return f"&fm_arena.{member}[{offset // ITEM_BYTES[type_.dtype]}]"


def _layer(
    graph: QGraph,
    memory: MemoryPlan,
    node: Node[QOp],
    name: str,
    prefixes: tuple[str, ...],
    data: list[CData],
    far: Mapping[str, int],
) -> CLayer:
    activations = graph.activations(node)
    pointer_of = {value: f"in{i}" for i, value in enumerate(activations)}
    internal = set(node.internal)
    kernels: list[Kernel] = []
    others: list[str] = []
    for position, (stage, prefix) in enumerate(zip(node.stages, prefixes, strict=True)):
        operands = []
        flowing = 0
        for index, value in enumerate(stage.inputs):
            if value in graph.constants:
                operand, stored = _constant(graph, node, stage, index, prefix, name, far.get(value))
                operands.append(operand)
                data.extend(stored)
                continue
            if value in internal:
                expr, flowing = "v", index
            else:
                expr = pointer_of[value]
            operands.append(Operand(expr=expr, ctype=ctype(graph.types[value]), type=graph.types[value]))
        out_type = graph.types[stage.outputs[0]]
        out = Operand(expr="out", ctype=ctype(out_type), type=out_type)
        if position == 0 and operands[0].is_constant:
            flowing = 1
        assert isinstance(stage.op, LoweredOp), f"{stage.op.kind} has no C form"
        kernel = stage.op.lower(Lowering(layer=prefix, inputs=tuple(operands), outputs=(out,), flowing=flowing))
        for table in kernel.tables:
            assert "_" not in table.suffix, "data_names relies on it"
            data.append(
                CData(
                    name=f"fm_{prefix}_{table.suffix}", ctype=table.ctype, values=table.values,
                    comment=f"{table.suffix} of {node.name}", layer=name,
                )
            )  # fmt: skip
        kernels.append(kernel)
        others.append(_other(kernel))
    pool = kernels[-1] if len(kernels) > 1 and isinstance(node.stages[-1].op, (QMaxPool, QAveragePool)) else None
    members = list(zip(kernels, others, strict=True))[1 : -1 if pool else None]
    head = kernels[0]
    if pool is not None:
        channels = graph.types[node.outputs[0]].shape[-1]
        head = replace(head, scratch=(*head.scratch, Scratch(name="pixel", ctype="int32_t", count=channels)))
    value = node.outputs[0]
    wide = bool(getattr(node.op, "wide", False))
    return CLayer(
        name=name,
        comment=_comment(graph, node),
        pointers=_pointers(graph, memory, node, head, activations),
        head=head,
        elementwise=tuple(members),
        pool=pool,
        pool_accumulators=bool(pool and not members and isinstance(node.stages[-1].op, QMaxPool) and not wide),
        needs_index=any("[i]" in other for _, other in members),
        out=kernels[-1].outputs[0],
        value=value,
        value_bytes=graph.types[value].size_bytes,
        value_offset=memory.offset(value),
    )


def _constant(
    graph: QGraph, node: Node[QOp], stage: Stage[QOp], index: int, prefix: str, layer: str, far: int | None
) -> tuple[Operand, list[CData]]:
    """A constant input of a stage as C sees it, and its arrays."""
    value, linear = stage.inputs[index], isinstance(stage.op, (QConv, QDense))
    type_, array = graph.types[value], graph.constants[value]
    role = ROLES.get(index, "operand") if linear else "operand"
    expr, comment = f"fm_{prefix}_{role}", f"{role} of {node.name}, {type_text(type_)}"
    packed = stage.op.packed if isinstance(stage.op, (QConv, QDense)) and index == 1 else None
    if packed is None:
        data = CData(
            name=expr, ctype=ctype(type_), values=tuple(array.ravel().tolist()), comment=comment, layer=layer,
            far_address=far,
        )  # fmt: skip
        return Operand(expr=expr, ctype=ctype(type_), type=type_, is_constant=True, far_address=far), [data]
    assert isinstance(stage.op, (QConv, QDense))
    rows = array.reshape(stage.op.weight_rows(array.shape), -1)
    if isinstance(packed, Sparse):
        table, how = f"fm_{prefix}_ends", f"by {packed.kind}"
        entries = f"where the rows of the weights of {node.name} end, in entries"
        extra = [CData(name=table, ctype="uint16_t", values=packed.ends(rows), comment=entries, layer=layer)]
    else:
        table, how, extra = f"fm_signed{packed.bits}", f"in {packed.bits} bits each", []
        if packed.book:
            table = f"fm_{prefix}_book"
            text = f"what {packed.bits} bits of the weights of {node.name} stand for"
            extra = [CData(name=table, ctype="int8_t", values=packed.book, comment=text, layer=layer)]
    comment = f"{comment} {how}"
    data = CData(name=expr, ctype="uint8_t", values=packed.encode(rows), comment=comment, layer=layer)
    return Operand(expr=expr, ctype=ctype(type_), type=type_, is_constant=True, packed=packed, table=table), [
        data,
        *extra,
    ]


def _other(kernel: Kernel) -> str:
    """Expression for the operand of an elementwise kernel that is not in `v`, at element i (a scalar at element 0)."""
    if not kernel.elementwise or len(kernel.inputs) != 2:
        return ""
    other = kernel.inputs[1]
    return f"(int32_t){other.expr}[{'0' if other.type.size == 1 else 'i'}]"


def _pointers(
    graph: QGraph, memory: MemoryPlan, node: Node[QOp], head: Kernel, activations: tuple[str, ...]
) -> tuple[Pointer, ...]:
    pointers = []
    for index, value in enumerate(activations):
        type_ = graph.types[value]
        expr = arena(type_, memory.offset(value))
        pointers.append(Pointer(name=f"in{index}", ctype=ctype(type_), expr=expr, reads=True, moves=True))
    type_ = graph.types[node.outputs[0]]
    expr = arena(type_, memory.offset(node.outputs[0]))
    pointers.append(Pointer(name="out", ctype=ctype(type_), expr=expr, reads=False, moves=True))
    offset = 0
    for scratch in head.scratch:
        member, width = {"int8_t": ("s8", 1), "int16_t": ("s16", 2), "int32_t": ("s32", 4)}[scratch.ctype]
        place = f"&fm_scratch.{member}[{offset // width}]"
        pointers.append(Pointer(name=scratch.name, ctype=scratch.ctype, expr=place, reads=False, moves=False))
        offset += -(-scratch.count * width // ALIGNMENT_BYTES) * ALIGNMENT_BYTES
    return tuple(pointers)


def _scratch_bytes(layer: CLayer) -> int:
    total = 0
    for scratch in layer.head.scratch:
        width = {"int8_t": 1, "int16_t": 2, "int32_t": 4}[scratch.ctype]
        total += -(-scratch.count * width // ALIGNMENT_BYTES) * ALIGNMENT_BYTES
    return total


def _comment(graph: QGraph, node: Node[QOp]) -> tuple[str, ...]:
    """What the layer is and where it came from, one line each."""
    kinds = " + ".join(stage.op.kind for stage in node.stages)
    lines = [f"{node.name}: {kinds}"]
    if node.source not in ("", node.name):
        lines[0] += f" (from {node.source})"
    lines += [f"reads  {value}: {type_text(graph.types[value])}" for value in graph.activations(node)]
    lines.append(f"writes {node.outputs[0]}: {type_text(graph.types[node.outputs[0]])}")
    return tuple(lines)

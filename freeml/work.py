"""What the layers of a net do, and what that is predicted to cost."""

from __future__ import annotations

from dataclasses import replace

from freeml.codegen.program import CLayer, CProgram
from freeml.ir.graph import Graph, QGraph, QOp, Stage
from freeml.ops.conv import QConv
from freeml.ops.dense import QDense
from freeml.ops.storage import Packed, form_name
from freeml.plan.cost import CostModel
from freeml.plan.counting import Events
from freeml.plan.events import events_by_layer, per_region, per_window
from freeml.regions.cutting import LayerWork
from freeml.report import figures


def macs_by_value(graph: Graph) -> dict[str, int]:
    """Multiply-accumulates of every stage, by its first output."""
    return {
        stage.outputs[0]: stage.op.macs(
            tuple(graph.types[v] for v in stage.inputs), tuple(graph.types[v] for v in stage.outputs)
        )
        for stage in graph.stages()
    }


def work_by_value(graph: Graph, qgraph: QGraph) -> dict[str, float]:
    """Multiply-accumulates and elements stored of every emitted function, by the value that it stores."""
    macs = macs_by_value(graph)
    return {
        node.outputs[0]: float(
            sum(macs.get(v, 0) + qgraph.types[v].size for stage in node.stages for v in stage.outputs)
        )
        for node in qgraph.nodes
    }


def layer_table(graph: Graph, qgraph: QGraph, program: CProgram, costs: CostModel | None) -> tuple[figures.Layer, ...]:
    """One row per emitted function."""
    plain = events_by_layer([_plain(layer) for layer in program.layers])
    macs = macs_by_value(graph)
    weights: dict[str, int] = {}
    for data in program.data:
        weights[data.layer] = weights.get(data.layer, 0) + data.size_bytes
    nodes = {node.outputs[0]: node for node in qgraph.nodes}
    return tuple(
        figures.Layer(
            name=layer.name,
            op=" + ".join(stage.op.kind for stage in nodes[layer.value].stages),
            shape=qgraph.types[layer.value].shape,
            dtype=qgraph.types[layer.value].dtype,
            macs=sum(macs.get(v, 0) for s in nodes[layer.value].stages for v in s.outputs),
            weight_bytes=weights.get(layer.name, 0),
            predicted_cost=_predicted(layer, events, costs),
            stored=_stored(qgraph, nodes[layer.value].stages[0], layer, events, without, costs),
        )
        for layer, events, without in zip(program.layers, events_by_layer(program.layers), plain, strict=True)
    )


def layer_costs(program: CProgram, costs: CostModel | None) -> list[float | None]:
    """What each layer is predicted to cost, as it is cut, in the order of the program."""
    return [
        _predicted(layer, events, costs)
        for layer, events in zip(program.layers, events_by_layer(program.layers), strict=True)
    ]


def better_plain(
    graph: Graph, qgraph: QGraph, program: CProgram, costs: CostModel | None, spare_bytes: int
) -> tuple[str, ...]:
    """Layers that may have plain weights for so many bytes more, by the value of their first stage: those first whose
    bytes save most time. Weights that are unpacked once stay packed: read from SRAM they take less energy."""
    heads = {node.outputs[0]: node.stages[0] for node in qgraph.nodes}
    slow = []
    for layer, row in zip(program.layers, layer_table(graph, qgraph, program, costs), strict=True):
        form = getattr(heads[layer.value].op, "packed", None)
        once = isinstance(form, Packed) and form.whole
        if not once and row.stored is not None and (cost := row.stored.cost_added or 0) > 0:
            slow.append((cost / max(1, row.stored.bytes_saved), row.stored.bytes_saved, heads[layer.value].outputs[0]))
    found = []
    for _, size, value in sorted(slow, reverse=True):
        if size <= spare_bytes:
            spare_bytes -= size
            found.append(value)
    return tuple(found)


def _plain(layer: CLayer) -> CLayer:
    """The same layer with its weights as they are."""
    if len(layer.head.inputs) < 2:
        return layer
    x, weights, *rest = layer.head.inputs
    return replace(layer, head=replace(layer.head, inputs=(x, replace(weights, packed=None, table=""), *rest)))


def _stored(
    qgraph: QGraph, head: Stage[QOp], layer: CLayer, events: Events, plain: Events, costs: CostModel | None
) -> figures.Stored | None:
    """What the form of a layer's weights saves and costs, cut as it is."""
    if not isinstance(head.op, (QConv, QDense)) or head.op.packed is None:
        return None
    weights = qgraph.constants[head.inputs[1]]
    now, before = _predicted(layer, events, costs), _predicted(_plain(layer), plain, costs)
    rows = weights.reshape(head.op.weight_rows(weights.shape), -1)
    return figures.Stored(
        form=form_name(head.op.packed),
        bytes_saved=weights.size - head.op.packed.stored_bytes(rows),
        cost_added=None if now is None or before is None else now - before,
    )


def _predicted(layer: CLayer, events: Events, costs: CostModel | None) -> int | None:
    """What the model says of the layer as it is cut."""
    cost = costs.predict(events) if costs else None
    if costs is None or cost is None:
        return None
    repeated, each = costs.predict(per_window(events)) or 0.0, costs.predict(per_region(layer)) or 0.0
    return round(LayerWork(cycles=cost, repeated=repeated, each_region=each).total(layer.split, layer))

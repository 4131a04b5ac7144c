"""What the layers of a net do, and what that is predicted to cost."""

from __future__ import annotations

from freeml.codegen.program import CLayer, CProgram
from freeml.ir.graph import Graph, QGraph
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
        )
        for layer, events in zip(program.layers, events_by_layer(program.layers), strict=True)
    )


def _predicted(layer: CLayer, events: Events, costs: CostModel | None) -> int | None:
    """What the model says of the layer as it is cut."""
    cost = costs.predict(events) if costs else None
    if costs is None or cost is None:
        return None
    repeated, each = costs.predict(per_window(events)) or 0.0, costs.predict(per_region(layer)) or 0.0
    return round(LayerWork(cycles=cost, repeated=repeated, each_region=each).total(layer.split, layer))
